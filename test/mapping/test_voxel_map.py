import dataclasses
from collections import defaultdict

import numpy as np
import pytest
import torch

from concerto_ros.geometry.rgbd import SurfacePoints
from concerto_ros.mapping import GROUP_VOXELS, VoxelMap

VOXEL = 0.02
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


def test_nearest_rows_are_whole_groups_up_to_a_limit():
    edge = GROUP_VOXELS
    voxel_map = build(points_at(centers((0, 0, 0), (1, 0, 0), (edge, 0, 0), (2 * edge, 0, 0))))
    origin = torch.zeros(3)
    taken = [voxel_map.nearest_rows(origin, limit).tolist() for limit in (1, 2, 3, 4, 99)]
    assert [len(rows) for rows in taken] == [2, 2, 3, 4, 4]
    at_end = voxel_map.nearest_rows(centers((2 * edge, 0, 0))[0], 1)
    assert voxel_map.grid_coord(at_end).tolist() == [[2 * edge, 0, 0]]


def test_labels_mark_only_blocks_in_which_they_changed():
    edge = GROUP_VOXELS
    voxel_map = build(points_at(centers((0, 0, 0), (edge, 0, 0))))
    rows = torch.tensor([0, 1])
    revisions = []
    for labels, confidence in (
        ([40000, 7], [0.5, 0.25]),
        ([40000, 8], [0.51, 0.25]),
        ([40000, 8], [0.5, 0.75]),
    ):
        revisions.append(voxel_map.revision)
        voxel_map.write_labels(
            rows, torch.tensor(labels).to(torch.uint16), torch.tensor(confidence), column=1
        )
        if len(revisions) > 1:
            groups = voxel_map.changed_groups(revisions[-1])
            assert voxel_map.grid_coord(groups.rows).tolist() == [[edge, 0, 0]]
    cloud = surface(voxel_map)
    assert cloud.language_label.tolist() == [40000, 8]
    assert cloud.language_confidence.tolist() == [0.5, 0.75]
    assert cloud.label.tolist() == [0, 0]
    assert len(voxel_map.changed_groups(revisions[0]).key) == 2


def test_equal_labels_change_nothing():
    voxel_map = build(points_at(centers((0, 0, 0))))
    label, confidence = torch.tensor([3]).to(torch.uint16), torch.tensor([0.5])
    voxel_map.write_labels(torch.tensor([0]), label, confidence, column=0)
    revision = voxel_map.revision
    voxel_map.write_labels(torch.tensor([0]), label, confidence, column=0)
    assert voxel_map.revision == revision
    assert len(voxel_map.changed_groups(revision).key) == 0


def test_an_empty_map_answers_everything():
    voxel_map = VoxelMap(VOXEL)
    assert len(voxel_map) == len(surface(voxel_map)) == 0
    assert len(voxel_map.changed_groups(0).key) == 0
    assert voxel_map.coord(everything(voxel_map)).shape == (0, 3)


def test_a_voxel_costs_less_than_a_hundred_bytes():
    x, y = torch.meshgrid(torch.arange(400), torch.arange(400), indexing='ij')
    floor = torch.stack([x, y, torch.zeros_like(x)], dim=-1).view(-1, 3)
    voxel_map = build(points_at((floor + 0.5) * VOXEL))
    assert voxel_map.num_bytes / len(voxel_map) == pytest.approx(78, abs=20)


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
