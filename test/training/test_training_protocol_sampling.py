"""Sampled features against dense grids and hand-computed answers."""

from dataclasses import replace

import pytest
import torch
from test_pretended_cuda import pretended_cuda  # noqa: F401  # a fixture
from torch.nn.functional import grid_sample, normalize, pad

from concerto_ros.errors import ConcertoError, ConfigError
from training.protocol import nearest_places
from training.protocol.cell_table import CellTable
from training.protocol.hierarchy import Hierarchy, Level
from training.protocol.level_set import make_level_set
from training.protocol.nearest_places import PlaceSearch
from training.protocol.sampling import SampledFeatures

MODES = ('nearest', 'trilinear', 'trilinear_occupied', 'released')


def lattice_level(name, cells, stride=1, channels=3, seed=0):
    coord = torch.as_tensor(cells, dtype=torch.int64).reshape(-1, 3)
    generator = torch.Generator().manual_seed(seed)
    feat = torch.randn(len(coord), channels, generator=generator)
    return Level(name=name, feat=feat, coord=coord, stride=stride)


def scattered_cells(size, share, seed=0):
    axes = [torch.arange(n) for n in size]
    cells = torch.cartesian_prod(*axes)
    kept = torch.rand(len(cells), generator=torch.Generator().manual_seed(seed)) < share
    kept[-1] = True  # so that the extent is known
    return cells[kept]


def hierarchy_of(*levels, voxel_size=0.02, origin=(0, 0, 0)):
    origin = torch.tensor(origin, dtype=torch.float64)
    return Hierarchy(levels=levels, voxel_size=voxel_size, origin=origin)


def on_device(hierarchy, device):
    levels = tuple(
        replace(level, feat=level.feat.to(device), coord=level.coord.to(device))
        for level in hierarchy.levels
    )
    return replace(hierarchy, levels=levels, origin=hierarchy.origin.to(device))


def all_rows(sampled):
    return sampled.select(torch.arange(sampled.num_points))


def positions(count, low, high, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(count, 3, generator=generator, dtype=torch.float64)


def dense_grid(level, size):
    """Return (1, C, X, Y, Z) float64 with zeros where no cell is occupied."""
    grid = torch.zeros(level.feat.shape[1], *size, dtype=torch.float64)
    x, y, z = level.coord.unbind(1)
    grid[:, x, y, z] = level.feat.t().double()
    return grid[None]


def read_dense(grid, place, align_corners):
    """Return (V, C) at places (V, 3) in -1..1, x first."""
    asked = place.flip(1)[None, :, None, None]
    found = grid_sample(grid, asked, align_corners=align_corners, padding_mode='zeros')
    return found[0, :, :, 0, 0].t().float()


def bordered_hierarchy():
    """Levels of strides that are powers of two, and that are not."""
    return hierarchy_of(
        lattice_level('a', scattered_cells((12, 9, 10), 0.3), 1, channels=2),
        lattice_level('b', scattered_cells((5, 4, 6), 0.5, seed=1), 2.5, channels=3),
        lattice_level('c', scattered_cells((4, 3, 3), 0.4, seed=2), 3, channels=4),
    )


def every_kind_of_level():
    place = Level(name='d', feat=torch.randn(9, 2), coord=torch.rand(9, 3), stride=None)
    return hierarchy_of(*bordered_hierarchy().levels, place)


@pytest.mark.parametrize('stride', [1, 2, 3, 2.5])
def test_trilinear_is_that_of_a_dense_grid(stride):
    size = (5, 7, 4)
    level = lattice_level('a', scattered_cells(size, 0.5), stride)
    position = positions(300, -3, 8 * stride)
    grid = pad(dense_grid(level, size), [1] * 6)  # so that the border is as empty as a gap
    wide = torch.tensor(size) + 2
    expected = read_dense(grid, (position / stride + 1) / wide * 2 - 1, align_corners=False)
    found = all_rows(SampledFeatures(hierarchy_of(level), position, 'trilinear'))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)  # float32 weights


@pytest.mark.parametrize('stride', [1, 2, 4, 3])
def test_released_is_the_dense_grid_of_the_released_code(stride):
    size = (5, 7, 4)
    level = lattice_level('a', scattered_cells(size, 0.5), stride)
    position = positions(300, 0, 4 * stride)
    place = (position.floor() + 0.5) / stride / torch.tensor(size) * 2 - 1
    expected = read_dense(dense_grid(level, size), place, align_corners=True)
    found = all_rows(SampledFeatures(hierarchy_of(level), position, 'released'))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_released_reads_the_known_places():
    # A line of five cells whose feature is their number tells where it is read.
    line = torch.zeros(5, 3, dtype=torch.int64)
    line[:, 0] = torch.arange(5)
    level = Level(name='a', feat=line[:, :1].float(), coord=line, stride=1)
    found = all_rows(SampledFeatures(hierarchy_of(level), line.double() + 0.5, 'released'))
    torch.testing.assert_close(found[:, 0], torch.tensor([0.4, 1.2, 2.0, 2.8, 3.6]))


def test_released_knows_only_whole_voxels():
    sampled = [
        SampledFeatures(bordered_hierarchy(), torch.full((1, 3), x).double(), 'released')
        for x in (3.1, 3.9)
    ]
    torch.testing.assert_close(all_rows(sampled[0]), all_rows(sampled[1]))


@pytest.mark.parametrize('mode', MODES)
def test_far_apart_parts_cost_no_more_than_near_ones(mode):
    cells = torch.tensor([[0, 0, 0], [2**40, 2**41, 7]])  # a dense grid would hold 2 ** 84
    level = lattice_level('a', cells)
    found = all_rows(SampledFeatures(hierarchy_of(level), cells.double() + 0.5, mode))
    if mode != 'released':
        torch.testing.assert_close(found, level.feat)


@pytest.mark.parametrize('mode', ['nearest', 'trilinear', 'trilinear_occupied'])
def test_the_centre_of_an_occupied_cell_has_its_feature(mode):
    level = lattice_level('a', scattered_cells((6, 6, 6), 0.4), 2.5)
    center = (level.coord.double() + 0.5) * 2.5
    found = all_rows(SampledFeatures(hierarchy_of(level), center, mode))
    torch.testing.assert_close(found, level.feat, atol=1e-5, rtol=0)


def test_nearest_is_the_parent_where_it_is_occupied():
    level = lattice_level('a', scattered_cells((4, 4, 4), 1.0), 3)
    position = positions(200, 0, 12)
    parent = (position // 3).long()
    row = (parent[:, 0] * 4 + parent[:, 1]) * 4 + parent[:, 2]
    found = all_rows(SampledFeatures(hierarchy_of(level), position, 'nearest'))
    torch.testing.assert_close(found, level.feat[row])


def test_nearest_goes_one_cell_far_and_no_further():
    level = lattice_level('a', [[0, 0, 0], [2, 0, 0]], stride=2)
    position = torch.tensor([[2.9, 1, 1], [3.1, 1, 1], [2.5, 3, 3], [6.5, 1, 1], [8.5, 1, 1]])
    found = all_rows(SampledFeatures(hierarchy_of(level), position.double(), 'nearest'))
    left, right = level.feat
    expected = torch.stack([left, right, left, right, torch.zeros(3)])
    torch.testing.assert_close(found, expected)


def test_empty_cells_have_no_say_among_occupied_ones():
    level = lattice_level('a', [[0, 0, 0], [1, 0, 0]])
    # A quarter from the left centre, a fifth up into what is empty.
    position = torch.tensor([[0.75, 0.7, 0.5]], dtype=torch.float64)
    left, right = level.feat
    whole = 0.75 * left + 0.25 * right
    for mode, expected in (('trilinear', 0.8 * whole), ('trilinear_occupied', whole)):
        found = all_rows(SampledFeatures(hierarchy_of(level), position, mode))
        torch.testing.assert_close(found[0], expected)


def test_without_an_occupied_corner_the_nearest_cell_counts():
    level = lattice_level('a', [[0, 0, 0]])
    position = torch.tensor([[1.6, 0.5, 0.5], [2.5, 0.5, 0.5]], dtype=torch.float64)
    found = all_rows(SampledFeatures(hierarchy_of(level), position, 'trilinear_occupied'))
    torch.testing.assert_close(found, torch.stack([level.feat[0], torch.zeros(3)]))


@pytest.mark.parametrize('mode', MODES)
def test_places_are_read_by_inverse_distance(mode):
    place = torch.tensor([[1.0, 0, 0], [0, 2, 0], [0, 0, 4], [9, 9, 9]])
    level = Level(name='a', feat=torch.eye(4), coord=place, stride=None)
    hierarchy = hierarchy_of(level, voxel_size=0.5, origin=(-1, -1, -1))
    position = torch.tensor([[2.0, 2, 2], [2, 6, 2]], dtype=torch.float64)  # 0 0 0 and 0 2 0 [m]
    found = all_rows(SampledFeatures(hierarchy, position, mode))
    expected = torch.tensor([[4, 2, 1, 0], [0, 7, 0, 0]]) / 7
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_fewer_than_three_places_share_the_weight():
    level = Level(name='a', feat=torch.eye(2), coord=torch.eye(3)[:2], stride=None)
    found = all_rows(SampledFeatures(hierarchy_of(level), torch.zeros(1, 3).double(), 'nearest'))
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5]]))


def uneven_places():
    """Places of very different density: spread out, in two clumps, coinciding, and alone."""
    spread = positions(300, 0, 5)
    clumps = torch.cat([positions(200, 0, 1e-3, seed=2), positions(200, 50, 50.01, seed=3)])
    same = torch.full((40, 3), 2.5, dtype=torch.float64)
    return torch.cat([spread, clumps, same, torch.tensor([[-900.0, 0, 0]]).double()])


@pytest.mark.parametrize('count', [1, 3])
def test_nearest_places_are_those_of_all_distances(count):
    place = uneven_places()
    near = place[::3] + positions(len(place[::3]), -0.3, 0.3, seed=4)
    far = torch.tensor([[1e4, -1e4, 0], [-400, 3, 3]]).double()
    position = torch.cat([near, far, place[:5]])
    distance, row = PlaceSearch(place).nearest(position, count)
    every = (position[:, None] - place).norm(dim=2)
    torch.testing.assert_close(distance, every.sort(dim=1).values[:, :count])
    torch.testing.assert_close(every.gather(1, row), distance)
    assert all(len(set(rows)) == count for rows in row.tolist())


def test_few_pairs_are_formed_at_once(monkeypatch):
    place, position = positions(200, 0, 0.1), positions(300, 5, 50, seed=2)
    expected = PlaceSearch(place).nearest(position, 3)
    formed = []
    pairs = nearest_places._Grid._pairs

    def counted(*args):
        found = pairs(*args)
        formed.append(len(found[0]))
        return found

    monkeypatch.setattr(nearest_places._Grid, '_pairs', counted)
    monkeypatch.setattr(nearest_places, '_PAIRS', 1000)
    found = PlaceSearch(place).nearest(position, 3)
    assert max(formed) <= 1000 + len(place)  # all places are as good as one for far positions
    assert sum(formed) > 10000
    for mine, want in zip(found, expected, strict=True):
        assert torch.equal(mine, want)


def test_nearest_of_places_that_coincide():
    search = PlaceSearch(torch.zeros(3, 3).double())
    distance, row = search.nearest(torch.ones(2, 3).double(), 3)
    torch.testing.assert_close(distance, torch.full((2, 3), 3**0.5, dtype=torch.float64))
    assert row.tolist() == [[0, 1, 2]] * 2


def test_grids_of_places_are_made_once(monkeypatch):
    made = []
    grid = nearest_places._Grid
    monkeypatch.setattr(nearest_places, '_Grid', lambda *args: (made.append(1), grid(*args))[1])
    level = Level(name='a', feat=torch.randn(90, 2), coord=torch.rand(90, 3), stride=None)
    sampled = SampledFeatures(hierarchy_of(level), positions(50, 0, 60), 'nearest')
    sampled.select(torch.arange(50))
    first = len(made)
    sampled.select(torch.arange(50))
    assert len(made) == first > 0


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('stride', [2, None])
def test_an_empty_level_is_zero(mode, stride):
    level = Level(name='a', feat=torch.zeros(0, 3), coord=torch.zeros(0, 3).long(), stride=stride)
    sampled = SampledFeatures(hierarchy_of(level), positions(4, 0, 9), mode)
    assert torch.equal(all_rows(sampled), torch.zeros(4, 3))


@pytest.mark.parametrize('mode', MODES)
def test_no_position_has_no_feature(mode):
    sampled = SampledFeatures(bordered_hierarchy(), torch.zeros(0, 3).double(), mode)
    assert all_rows(sampled).shape == (0, 9)
    assert sampled.linear(torch.zeros(2, 9), torch.zeros(2)).shape == (0, 2)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('is_unit', [False, True])
def test_a_linear_map_is_that_of_the_features(mode, is_unit):
    sampled = SampledFeatures(
        every_kind_of_level(), positions(50, -2, 14), mode, unit_levels=is_unit
    )
    weight, bias = torch.randn(5, 11), torch.randn(5)
    expected = all_rows(sampled) @ weight.t() + bias
    torch.testing.assert_close(sampled.linear(weight, bias), expected, atol=1e-5, rtol=1e-5)


def sampled_on(device, hierarchy, mode, is_unit):
    """Return features and a linear map of them, computed on a device."""
    position = positions(50, -2, 14).to(device)
    sampled = SampledFeatures(on_device(hierarchy, device), position, mode, unit_levels=is_unit)
    weight, bias = torch.ones(2, 11, device=device), torch.ones(2, device=device)
    return sampled.select(torch.arange(50, device=device)), sampled.linear(weight, bias)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('is_unit', [False, True])
def test_devices_agree(mode, is_unit, device):
    hierarchy = every_kind_of_level()
    expected = sampled_on('cpu', hierarchy, mode, is_unit)
    for found, want in zip(sampled_on(device, hierarchy, mode, is_unit), expected, strict=True):
        torch.testing.assert_close(found.cpu(), want, atol=1e-5, rtol=1e-5)


def test_everything_stays_on_its_device(pretended_cuda):  # noqa: F811
    hierarchy = every_kind_of_level()
    for mode in MODES:
        expected = sampled_on('cpu', hierarchy, mode, False)
        for found, want in zip(sampled_on('cuda', hierarchy, mode, False), expected, strict=True):
            assert found.device.type == 'cuda'
            torch.testing.assert_close(found.cpu(), want, atol=1e-5, rtol=1e-5)


def test_chunks_make_no_difference(monkeypatch):
    position = positions(50, -2, 14)
    whole = [SampledFeatures(bordered_hierarchy(), position, mode) for mode in MODES]
    expected = [all_rows(sampled) for sampled in whole]
    monkeypatch.setattr('training.protocol.stencils._CHUNK', 7)
    for mode, rows in zip(MODES, expected, strict=True):
        torch.testing.assert_close(
            all_rows(SampledFeatures(bordered_hierarchy(), position, mode)), rows
        )


def test_features_of_chosen_rows_lie_side_by_side():
    position = positions(50, 0, 12)
    sampled = SampledFeatures(bordered_hierarchy(), position, 'trilinear')
    assert sampled.layout == (('a', slice(0, 2)), ('b', slice(2, 5)), ('c', slice(5, 9)))
    rows = torch.tensor([4, 40, 4])
    expected = all_rows(sampled)[rows]
    torch.testing.assert_close(sampled.select(rows), expected)


def test_only_what_is_asked_for_is_looked_up(monkeypatch):
    sampled = SampledFeatures(bordered_hierarchy(), positions(50, 0, 12), 'trilinear')
    asked = []
    find = CellTable.find
    monkeypatch.setattr(
        CellTable, 'find', lambda table, c: (asked.append(len(c)), find(table, c))[1]
    )
    sampled.select(torch.tensor([3, 7]))
    assert asked == [2 * 8] * 3
    monkeypatch.setattr('training.protocol.sampling.CellTable', lambda coord: pytest.fail('again'))
    sampled.select(torch.tensor([5]))


def test_lengths_are_made_equal_by_level():
    hierarchy, position = bordered_hierarchy(), positions(20, 0, 12)
    plain = all_rows(SampledFeatures(hierarchy, position, 'trilinear'))
    level = all_rows(SampledFeatures(hierarchy, position, 'trilinear', unit_levels=True))
    parts = [normalize(part, dim=1) for part in plain.split([2, 3, 4], dim=1)]
    torch.testing.assert_close(level, torch.cat(parts, dim=1))


def test_labels_of_coarse_cells_are_read_from_the_coarse_level_alone():
    """Fine features are noise, coarse ones tell the class: level masks must matter."""
    fine = torch.cartesian_prod(*[torch.arange(16)] * 3)
    coarse = torch.cartesian_prod(*[torch.arange(4)] * 3)
    label = torch.randint(0, 2, (64,), generator=torch.Generator().manual_seed(0))
    hierarchy = hierarchy_of(
        lattice_level('fine', fine, 1, channels=2),
        Level(name='coarse', feat=torch.eye(2)[label], coord=coarse, stride=4),
    )
    parent = fine // 4
    truth = label[(parent[:, 0] * 4 + parent[:, 1]) * 4 + parent[:, 2]]
    feat = all_rows(SampledFeatures(hierarchy, fine.double() + 0.5, 'nearest'))
    sets = [make_level_set('', levels, (2, 2), is_unit=False) for levels in ((0,), (1,), (0, 1))]
    feats = [levels.take(feat) for levels in sets]
    right = [(feat[:, -2:].argmax(1) == truth).float().mean() for feat in feats]
    assert right[0] < 0.6
    assert right[1] == right[2] == 1


@pytest.mark.parametrize(
    ('mode', 'share'), [('nearest', 0.25), ('trilinear', 0.5), ('trilinear_occupied', 0.25)]
)
def test_places_that_read_nothing_are_counted(mode, share):
    place = Level(name='b', feat=torch.zeros(1, 1), coord=torch.zeros(1, 3), stride=None)
    position = torch.tensor([[0.5] * 3, [1.4] * 3, [1.6] * 3, [9.5] * 3], dtype=torch.float64)
    hierarchy = hierarchy_of(lattice_level('a', [[0, 0, 0]]), place)
    found = SampledFeatures(hierarchy, position, mode).unread(torch.arange(4))
    assert found.tolist() == [share, 0]


def test_equal_cells_are_told_with_their_level():
    level = lattice_level('fine', [[0, 0, 0], [1, 0, 0], [0, 0, 0]])
    with pytest.raises(ConcertoError, match=r'level "fine": rows 0 and 2 are the same cell'):
        SampledFeatures(hierarchy_of(level), torch.zeros(1, 3).double(), 'nearest')


def test_no_gradient_is_kept():
    level = lattice_level('a', [[0, 0, 0]])
    level.feat.requires_grad_()
    sampled = SampledFeatures(hierarchy_of(level), torch.zeros(1, 3).double(), 'trilinear')
    assert not all_rows(sampled).requires_grad
    assert not sampled.linear(torch.zeros(2, 3), torch.zeros(2)).requires_grad


def test_unknown_modes_are_refused():
    with pytest.raises(ConfigError, match=r"features are sampled by .* got 'cubic'"):
        SampledFeatures(bordered_hierarchy(), torch.zeros(1, 3).double(), 'cubic')
