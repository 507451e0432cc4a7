import dataclasses
from collections import defaultdict

import numpy as np
import pytest
import torch

from concerto_ros.geometry.rgbd import SurfacePoints
from concerto_ros.mapping import GROUP_VOXELS, CellLayout, VoxelMap
from concerto_ros.mapping.voxel_keys import pack_voxels, submap_of, unpack_voxels

VOXEL = 0.02
LAYOUT = CellLayout(voxels_per_cell=2)
MS = 1_000_000


def points_at(coord, color=100.0, normal=(0.0, 0.0, 0.0), weight=1.0):
    """Voxels of unknown normal all are surface."""
    coord = torch.as_tensor(coord, dtype=torch.float32).view(-1, 3)
    n = len(coord)
    return SurfacePoints(
        coord=coord,
        color=torch.full((n, 3), color),
        normal=torch.tensor(normal).expand(n, 3),
        weight=torch.full((n,), weight),
    )


def centers(*grid):
    return (torch.tensor(grid, dtype=torch.float32) + 0.5) * VOXEL


def random_points(seed, n=500, extent=1.0):
    generator = torch.Generator().manual_seed(seed)
    return points_at((torch.rand(n, 3, generator=generator) - 0.5) * extent)


def build(*clouds, max_weight=64.0, start_ns=0, device='cpu'):
    voxel_map = VoxelMap(VOXEL, device)
    for i, points in enumerate(clouds):
        moved = SurfacePoints(
            **{
                name: getattr(points, name).to(device)
                for name in ('coord', 'color', 'normal', 'weight')
            }
        )
        voxel_map.integrate(moved, start_ns + i * 100 * MS, max_weight)
        voxel_map.surface_rows()
    return voxel_map


def everything(voxel_map):
    return torch.arange(len(voxel_map), device=voxel_map.device)


def surface(voxel_map):
    return voxel_map.cloud(voxel_map.surface_rows())


def test_voxels_are_the_means_of_a_plain_dictionary(device):
    clouds = [random_points(seed) for seed in range(4)]
    voxel_map = build(*clouds, device=device)
    expected = defaultdict(list)
    for cloud in clouds:
        for p in cloud.coord:
            expected[tuple((p / VOXEL).floor().int().tolist())].append(p)
    assert len(voxel_map) == len(expected)
    found = dict(
        zip(
            map(tuple, voxel_map.grid_coord(everything(voxel_map)).tolist()),
            voxel_map.coord(everything(voxel_map)).cpu(),
            strict=True,
        )
    )
    for voxel, members in expected.items():
        # half precision holds an offset to 1/4096 voxel
        torch.testing.assert_close(
            found[voxel], torch.stack(members).mean(0), atol=VOXEL / 1000, rtol=0
        )


def test_points_stay_in_their_voxel():
    voxel_map = build(random_points(0), random_points(0), random_points(1))
    rows = everything(voxel_map)
    inside = (voxel_map.coord(rows) / VOXEL - voxel_map.grid_coord(rows)).double()
    assert inside.min() >= -1e-3
    assert inside.max() <= 1 + 1e-3


def test_the_same_frames_give_the_same_map_bit_by_bit():
    one, other = (surface(build(random_points(0), random_points(1))) for _ in range(2))
    assert (one.coord == other.coord).all()
    assert (one.normal == other.normal).all()


def test_colours_and_normals_are_weighted_means():
    place = centers((0, 0, 0))
    voxel_map = build(
        points_at(place, color=0.0, normal=(0.0, 0.0, 1.0), weight=1.0),
        points_at(place, color=200.0, normal=(1.0, 0.0, 0.0), weight=3.0),
    )
    cloud = surface(voxel_map)
    assert cloud.color.tolist() == [[150, 150, 150]]
    np.testing.assert_allclose(cloud.normal, [np.array([3, 0, 1]) / np.sqrt(10)], atol=1e-3)


def test_unknown_normals_stay_zero_and_finite():
    cloud = surface(build(points_at(centers((0, 0, 0)))))
    assert cloud.normal.tolist() == [[0, 0, 0]]


def test_voxels_at_faces_and_below_zero_are_told_apart():
    voxel_map = build(points_at([[0.0, 0.0, 0.0], [-1e-6, 0.0, 0.0], [0.0199999, 0.0, 0.0]]))
    assert sorted(voxel_map.grid_coord(everything(voxel_map)).tolist()) == [[-1, 0, 0], [0, 0, 0]]


def test_points_out_of_reach_are_left_out():
    far = points_at([[1e6, 0.0, 0.0], [0.01, 0.01, 0.01], [0.0, -1e9, 0.0]])
    voxel_map = build(far)
    assert voxel_map.grid_coord(everything(voxel_map)).tolist() == [[0, 0, 0]]


def test_views_and_stamps_are_kept():
    a, b = centers((0, 0, 0)), centers((1, 0, 0))
    both = points_at(torch.cat([a, b, b]))
    voxel_map = build(points_at(a), both, points_at(a), start_ns=1_700_000_000 * 10**9)
    num_views, seen_ns = voxel_map.observations(everything(voxel_map))
    assert num_views.tolist() == [3, 1]
    since = (seen_ns - 1_700_000_000 * 10**9) // MS
    assert since.tolist() == [[0, 200], [100, 100]]


def test_a_bag_in_reverse_keeps_first_and_last():
    voxel_map = VoxelMap(VOXEL)
    for stamp in (500, 100, 300):
        voxel_map.integrate(points_at(centers((0, 0, 0))), stamp * MS, 64.0)
    assert (voxel_map.observations(everything(voxel_map))[1] // MS).tolist() == [[100, 500]]


def test_stamps_that_lie_ages_apart_are_fused_all_the_same():
    voxel_map = VoxelMap(VOXEL)
    for i, seconds in enumerate((0, 1_700_000_000, 1_500_000_000, -5)):
        voxel_map.integrate(points_at(centers((0, 0, 0), (i, 0, 1))), seconds * 10**9, 64.0)
    num_views, seen_ns = voxel_map.observations(everything(voxel_map))
    assert num_views.max() == 4
    assert len(surface(voxel_map)) == len(voxel_map) == 5
    assert seen_ns.min() == -5 * 10**9


def test_changed_groups_are_given_in_full():
    edge = GROUP_VOXELS
    left, right = centers((0, 0, 0), (1, 2, 3)), centers((edge, 0, 0))
    voxel_map = build(points_at(left), points_at(right), points_at(left[:1]))
    groups = voxel_map.changed_groups(0)
    assert groups.key.tolist() == [[0, 0, 0], [1, 0, 0]]
    assert groups.revision[0] > groups.revision[1]
    assert groups.num_rows.tolist() == [2, 1]
    assert sorted(groups.rows.tolist()) == [0, 1, 2]
    newest = voxel_map.changed_groups(int(groups.revision[1]))
    assert newest.key.tolist() == [[0, 0, 0]]
    assert sorted(newest.rows.tolist()) == [0, 1]
    nothing = voxel_map.changed_groups(voxel_map.revision)
    assert len(nothing.key) == len(nothing.rows) == 0


def test_all_changes_in_order_rebuild_the_surface():
    voxel_map, held, mark = VoxelMap(VOXEL), {}, 0
    for seed in range(6):
        cloud = random_points(seed)
        cloud = dataclasses.replace(cloud, normal=torch.tensor([[0.0, 0.6, 0.8]]).expand(500, 3))
        voxel_map.integrate(cloud, 0, 64.0)
        groups = voxel_map.changed_groups(mark)
        mark = voxel_map.revision
        parts = voxel_map.coord(groups.rows).split(groups.num_rows.tolist())
        for key, part in zip(groups.key.tolist(), parts, strict=True):
            inside = (part / (GROUP_VOXELS * VOXEL) - torch.tensor(key)).double()
            assert (inside >= -1e-4).all()
            assert (inside <= 1 + 1e-4).all()
            held[tuple(key)] = part
    rebuilt = sorted(torch.cat(list(held.values())).tolist())
    assert rebuilt == sorted(surface(voxel_map).coord.tolist())
    assert len(rebuilt) < len(voxel_map)
    assert len(voxel_map.changed_groups(mark).key) == 0


def labelled(*grid):
    """A map of voxels in which the network has looked at every cell."""
    voxel_map = VoxelMap(VOXEL, cells=LAYOUT)
    voxel_map.integrate(points_at(centers(*grid)), 0, 64.0)
    look_at(voxel_map)
    return voxel_map


def look_at(voxel_map, chunk_key=None):
    """Do what a labeler does with the window of some chunks; return the cells by level."""
    chunk_key = voxel_map.chunks().key if chunk_key is None else chunk_key
    voxel_map.mark_looked_at(chunk_key)
    rows = voxel_map.surface_rows(chunk_key)
    key = voxel_map.key(rows)
    grid = unpack_voxels(key) // LAYOUT.voxels_per_cell
    keys, inverses = [], []
    for level in range(LAYOUT.num_levels):
        if level:
            grid = grid // 2
        grid, inverse = torch.unique(grid, dim=0, return_inverse=True)
        first = torch.full((len(grid),), len(inverse)).scatter_reduce(
            0, inverse, torch.arange(len(inverse)), 'amin'
        )
        key = key[first]
        keys.append(key)
        inverses.append(inverse)
    slots = voxel_map.claim_cells(keys, inverses[1:])
    freed = voxel_map.keep_cells(voxel_map.key(rows), chunk_key, slots)
    return slots, freed


def name(voxel_map, cell, label, confidence, column=1):
    voxel_map.write_labels(
        torch.as_tensor(cell), torch.tensor(label).to(torch.uint16), torch.tensor(confidence),
        column=column,
    )  # fmt: skip


def test_labels_mark_only_blocks_in_which_they_changed():
    edge = GROUP_VOXELS
    voxel_map = labelled((0, 0, 0), (edge, 0, 0))
    cell = voxel_map.cell(voxel_map.surface_rows())
    revisions = []
    for labels, confidence in (
        ([40000, 7], [0.5, 0.25]),
        ([40000, 8], [0.51, 0.25]),
        ([40000, 8], [0.5, 0.75]),
    ):
        revisions.append(voxel_map.revision)
        name(voxel_map, cell, labels, confidence)
        if len(revisions) > 1:
            groups = voxel_map.changed_groups(revisions[-1])
            assert voxel_map.grid_coord(groups.rows).tolist() == [[edge, 0, 0]]
    cloud = surface(voxel_map)
    assert cloud.language_label.tolist() == [40000, 8]
    assert cloud.language_confidence.tolist() == [0.5, 0.75]
    assert cloud.label.tolist() == [0, 0]
    assert len(voxel_map.changed_groups(revisions[0]).key) == 2


def test_equal_labels_change_nothing():
    voxel_map = labelled((0, 0, 0))
    name(voxel_map, [0], [3], [0.5], column=0)
    revision = voxel_map.revision
    name(voxel_map, [0], [3], [0.5], column=0)
    assert voxel_map.revision == revision
    assert len(voxel_map.changed_groups(revision).key) == 0


def test_a_new_voxel_in_a_known_cell_has_its_label_at_once():
    voxel_map = labelled((0, 0, 0), (4, 0, 0))
    name(voxel_map, [0, 1], [5, 6], [0.5, 0.5])
    voxel_map.integrate(points_at(centers((1, 1, 0), (6, 0, 0))), 0, 64.0)
    rows = torch.arange(4)
    label, _ = voxel_map.labels(rows)
    assert label[:, 1].tolist() == [5, 6, 5, 0]


def test_a_voxel_that_nobody_has_looked_at_is_dirty_until_somebody_has():
    voxel_map = VoxelMap(VOXEL, cells=LAYOUT)
    voxel_map.integrate(points_at(centers((0, 0, 0), (9, 0, 0), (64, 0, 0))), 0, 64.0)
    assert voxel_map.chunks().num_surface.tolist() == [2, 1]
    assert voxel_map.chunks().num_dirty.tolist() == [2, 1]
    look_at(voxel_map, voxel_map.chunks().key[:1])
    assert voxel_map.chunks().num_dirty.tolist() == [0, 1]
    voxel_map.integrate(points_at(centers((1, 0, 0), (2, 0, 0), (9, 0, 0))), 0, 64.0)
    assert voxel_map.chunks().num_surface.tolist() == [4, 1]
    assert voxel_map.chunks().num_dirty.tolist() == [1, 1]  # one is in a known cell


def test_what_the_network_saw_and_is_gone_is_dirty_and_its_cell_goes_with_the_next_look():
    voxel_map = labelled((0, 0, 0), (4, 0, 0), (64, 0, 0))
    assert voxel_map.cells.num_used(0) == 3
    voxel_map.remove(torch.tensor([1]))
    assert voxel_map.chunks().num_dirty.tolist() == [1, 0]
    assert voxel_map.chunks().num_surface.tolist() == [1, 1]
    look_at(voxel_map)
    assert voxel_map.chunks().num_dirty.tolist() == [0, 0]
    assert voxel_map.cells.num_used(0) == 2


def test_cells_of_all_levels_are_those_of_plain_division():
    generator = torch.Generator().manual_seed(0)
    for n in (1, 2, 4):
        voxel_map = VoxelMap(VOXEL, cells=CellLayout(voxels_per_cell=n))
        grid = torch.randint(-99, 99, (300, 3), generator=generator)
        voxel_map.integrate(points_at((grid + 0.5) * VOXEL), 0, 64.0)
        key = voxel_map.key(voxel_map.surface_rows())
        for level in range(5):
            edge = n << level
            cell = torch.unique(unpack_voxels(key) // edge, dim=0)
            assert (voxel_map.cells.slots(level, key) < 0).all()
            own = torch.stack([key[(unpack_voxels(key) // edge == c).all(1)][0] for c in cell])
            slot, is_new = voxel_map.cells.claim(level, own)
            assert is_new.all()
            assert sorted(slot.tolist()) == list(range(len(cell)))
            found = voxel_map.cells.slots(level, key)
            by_cell = {tuple(c): s for c, s in zip(cell.tolist(), slot.tolist(), strict=True)}
            expected = [by_cell[tuple(c)] for c in (unpack_voxels(key) // edge).tolist()]
            assert found.tolist() == expected
            assert len(cell) == voxel_map.cells.num_used(level)


def test_a_chunk_goes_and_comes_back_as_it_was():
    cloud = random_points(1, n=3000, extent=4.0)
    voxel_map = VoxelMap(VOXEL, cells=LAYOUT)
    for stamp in (0, 10**9):
        voxel_map.integrate(cloud, stamp, 64.0)
    look_at(voxel_map)
    generator = torch.Generator().manual_seed(0)
    cells = torch.arange(voxel_map.cells.num_used(0))
    label = torch.randint(1, 9, (len(cells),), generator=generator).tolist()
    name(voxel_map, cells, label, [0.5] * len(cells))
    voxel_map.remove(torch.arange(0, 300, 7))
    before, chunks = by_voxel(voxel_map), voxel_map.chunks()
    revision, used = voxel_map.revision, [voxel_map.cells.num_used(s) for s in range(5)]
    size = voxel_map.num_bytes
    records = {}
    for key in chunks.key.tolist()[::2]:
        records[key] = voxel_map.record(key)[0]
        voxel_map.evict(key)
    assert voxel_map.chunks().key.tolist() == chunks.key.tolist()[1::2]
    assert len(voxel_map) < len(before)
    for key, record in list(records.items())[::-1]:
        voxel_map.insert(key, record)
    assert by_voxel(voxel_map) == before
    assert all(voxel_map.cells.num_used(s) <= used[s] for s in range(5))
    after = voxel_map.chunks()
    for field in ('key', 'num_surface', 'num_dirty', 'revision'):
        assert torch.equal(getattr(after, field), getattr(chunks, field)), field
    assert voxel_map.revision == revision
    assert len(voxel_map.changed_groups(revision).key) == 0
    assert sum(voxel_map.num_bytes.values()) <= sum(size.values())


def by_voxel(voxel_map):
    """All that is told of each voxel of the surface."""
    rows = voxel_map.surface_rows()
    cloud, (num_views, seen) = voxel_map.cloud(rows), voxel_map.observations(rows)
    columns = [getattr(cloud, field.name).tolist() for field in dataclasses.fields(cloud)]
    columns += [num_views.tolist(), seen.tolist()]
    return dict(zip(voxel_map.key(rows).tolist(), zip(*columns, strict=True), strict=True))


def test_submaps_do_not_meet():
    voxel_map = VoxelMap(VOXEL)
    for submap in (0, 5):
        voxel_map.integrate(points_at(centers((0, 0, 0), (1, 0, 0))), 0, 64.0, submap)
    rows = voxel_map.surface_rows()
    assert voxel_map.submap(rows).tolist() == [0, 0, 5, 5]
    groups = voxel_map.changed_groups(0)
    assert groups.submap.tolist() == [0, 5]
    assert groups.num_rows.tolist() == [2, 2]


def test_voxels_that_are_looked_through_wear_down_and_a_measurement_makes_up_for_it():
    voxel_map = build(points_at(centers((0, 0, 0), (1, 0, 0))))
    block = voxel_map.blocks_near(torch.zeros(3), 1.0, 0)

    def look_through():
        rows = voxel_map.rows_of_blocks(block)
        through = torch.ones_like(rows, dtype=torch.bool)
        return voxel_map.wear(block, rows, through, max_misses=3)

    assert voxel_map.is_worn(block).tolist() == [False]
    assert look_through() == look_through() == 0
    assert voxel_map.is_worn(block).tolist() == [True]
    voxel_map.integrate(points_at(centers((1, 0, 0))), 0, 64.0)
    mark = voxel_map.revision
    assert look_through() == 1
    assert voxel_map.grid_coord(voxel_map.surface_rows()).tolist() == [[1, 0, 0]]
    assert len(voxel_map) == 1
    assert voxel_map.changed_groups(mark).num_rows.tolist() == [1]
    voxel_map.integrate(points_at(centers((5, 5, 5))), 0, 64.0)
    assert voxel_map.observations(torch.tensor([0]))[0].tolist() == [1]
    voxel_map.wear(block, torch.empty(0).long(), torch.empty(0).bool(), max_misses=3)
    assert voxel_map.is_worn(block).tolist() == [False]


def test_a_submap_is_shifted_with_all_that_was_measured_and_is_new_to_the_network():
    voxel_map = VoxelMap(VOXEL, cells=LAYOUT)
    grid = [(0, 0, 0), (0, 0, 1), (9, 9, 62), (9, 9, 63), (70, 0, 5)]
    for submap in (0, 1):
        voxel_map.integrate(points_at(centers(*grid)), 0, 64.0, submap)
    look_at(voxel_map, voxel_map.chunks().key[:2])
    seen = {key: (value[0], value[1:3]) for key, value in by_voxel(voxel_map).items()}
    freed = voxel_map.shift(0, 3)
    assert [len(slots) for slots in freed] == [3, 3, 3, 3, 3]
    after = by_voxel(voxel_map)
    assert len(after) == 10
    for key, (coord, rest) in seen.items():
        grid = unpack_voxels(torch.tensor([key]))
        steps = 0 if int(submap_of(torch.tensor([key]))) else 3
        moved = int(pack_voxels(grid + torch.tensor([0, 0, steps]), 0 if steps else 1))
        assert after[moved][0] == pytest.approx([coord[0], coord[1], coord[2] + steps * VOXEL])
        assert after[moved][1:3] == rest
    chunks = voxel_map.chunks()
    held = chunks.num_surface > 0
    assert torch.equal(chunks.num_dirty[held], chunks.num_surface[held])


@pytest.mark.parametrize('share', [0.0, 0.01, 0.3, 1.0])
def test_low_rows_hold_the_height_below_which_a_share_lies(share):
    voxel_map = VoxelMap(VOXEL)
    for submap in (0, 1):
        voxel_map.integrate(random_points(submap, n=900, extent=3.0), 0, 64.0, submap)
    rows = voxel_map.surface_rows()
    height = voxel_map.coord(rows[voxel_map.submap(rows) == 1])[:, 2].sort().values
    low, rank = voxel_map.low_rows(1, share)
    assert len(low) < len(height)
    found = voxel_map.coord(low)[:, 2].sort().values[rank]
    assert found == height[int(share * (len(height) - 1))]
    assert len(voxel_map.low_rows(7, share)[0]) == 0


def test_chunks_of_points_are_those_of_their_voxels():
    cloud = random_points(3, extent=5.0)
    voxel_map = build(cloud)
    assert torch.equal(voxel_map.chunks_of(cloud.coord, 0), voxel_map.chunks().key)
    grid = voxel_map.grid_coord(everything(voxel_map))
    assert voxel_map.holds(grid, 0).all()
    assert not voxel_map.holds(grid, 1).any()


def test_blocks_near_a_point_are_those_of_chunks_that_a_ball_touches():
    far = 3 * 64
    voxel_map = build(points_at(centers((0, 0, 0), (60, 0, 0), (70, 0, 0), (far, 0, 0))))
    block = voxel_map.blocks_near(torch.tensor([0.1, 0.1, 0.1]), 1.0, 0)
    assert voxel_map.grid_coord(voxel_map.rows_of_blocks(block)).tolist() == [
        [0, 0, 0],
        [60, 0, 0],
    ]
    assert len(voxel_map.blocks_near(torch.tensor([0.1, 0.1, 0.1]), 1.3, 0)) == 3
    assert len(voxel_map.blocks_near(torch.tensor([0.1, 0.1, 0.1]), 1.3, 1)) == 0
    assert voxel_map.last_seen_ns(block).tolist() == [0, 0]
    torch.testing.assert_close(voxel_map.block_centers(block)[0], torch.full((3,), 0.08))


def test_an_empty_map_answers_everything():
    voxel_map = VoxelMap(VOXEL)
    assert len(voxel_map) == len(surface(voxel_map)) == 0
    assert len(voxel_map.changed_groups(0).key) == 0
    assert voxel_map.coord(everything(voxel_map)).shape == (0, 3)


def test_a_voxel_costs_less_than_a_hundred_bytes():
    x, y = torch.meshgrid(torch.arange(400), torch.arange(400), indexing='ij')
    floor = torch.stack([x, y, torch.zeros_like(x)], dim=-1).view(-1, 3)
    voxel_map = build(points_at((floor + 0.5) * VOXEL))
    assert sum(voxel_map.num_bytes.values()) / len(voxel_map) == pytest.approx(85, abs=10)


def noisy_floor(frames, spread=0.015):
    """A floor at z = 0.01 seen many times with noise across it."""
    x, y = torch.meshgrid(torch.arange(20), torch.arange(20), indexing='ij')
    generator = torch.Generator().manual_seed(0)
    for _ in range(frames):
        z = 0.01 + spread * torch.randn(20, 20, generator=generator)
        coord = torch.stack([(x + 0.5) * VOXEL, (y + 0.5) * VOXEL, z], dim=-1)
        yield points_at(coord.view(-1, 3), normal=(0.1, 0.0, 0.9))


@pytest.mark.parametrize('frames', [20, 400])
def test_noise_spreads_over_layers_but_the_surface_stays_thin(frames):
    voxel_map = build(*noisy_floor(frames), max_weight=8.0)
    cloud = surface(voxel_map)
    assert len(voxel_map) > 2 * 400
    assert 380 <= len(cloud) <= 450  # two layers may be measured equally often
    assert np.abs(cloud.coord[:, 2] - 0.01).mean() < 0.005


def test_both_sides_of_a_thin_board_are_surface():
    top, bottom = centers((0, 0, 1)), centers((0, 0, 0))
    voxel_map = build(
        points_at(top, normal=(0.0, 0.0, 1.0), weight=3.0),
        points_at(bottom, normal=(0.0, 0.0, -1.0)),
    )
    assert len(surface(voxel_map)) == 2


def test_a_voxel_that_is_measured_more_in_another_block_hides_its_neighbour():
    weak, strong = centers((0, 0, 7)), centers((0, 0, 8))
    up = (0.0, 0.0, 1.0)
    voxel_map = build(points_at(weak, normal=up))
    assert len(surface(voxel_map)) == 1
    mark = voxel_map.revision
    for _ in range(2):
        voxel_map.integrate(points_at(strong, normal=up), 0, 64.0)
    groups = voxel_map.changed_groups(mark)
    assert voxel_map.grid_coord(groups.rows).tolist() == [[0, 0, 8]]
