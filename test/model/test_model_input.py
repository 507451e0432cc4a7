import numpy as np
import pytest
import torch

from concerto_ros.errors import ConcertoError
from concerto_ros.model import INDOOR, OUTDOOR, lattice_origin, prepare_cloud, prepare_map
from concerto_ros.model.input import voxel_grid, voxel_hash


def random_cloud(num_points=4000, size=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coord = torch.rand(num_points, 3, generator=generator) * size + torch.tensor([3.0, -2.0, 0.5])
    color = torch.randint(0, 256, (num_points, 3), generator=generator, dtype=torch.uint8)
    normal = torch.nn.functional.normalize(torch.randn(num_points, 3, generator=generator))
    return coord, color, normal


# --- cells -------------------------------------------------------------------------------


def test_cells_are_taken_in_float32(device):
    millimetres = torch.arange(20_000, device=device)
    coord = torch.stack([millimetres / 1000] * 3, dim=1)
    expected = np.floor(coord.cpu().numpy() / np.float32(0.02)).astype(np.int64)
    assert np.array_equal(voxel_grid(coord, 0.02).cpu(), expected)
    in_double = np.floor(coord.cpu().numpy().astype(float) / 0.02)
    assert 0.01 < (expected != in_double).mean() < 0.05


def test_cells_count_from_the_lowest():
    grid = voxel_grid(torch.tensor([[-0.03, 0.0, 5.0], [0.05, 0.021, 5.1]]), 0.02)
    assert grid.tolist() == [[0, 0, 0], [4, 1, 5]]


def test_hash_of_the_published_transform():
    cells = np.array([[0, 0, 0], [1, 2, 3], [10, 20, 30]])
    expected = [15658191375538532279, 15657232601398921515, 15648638818514527391]
    assert voxel_hash(cells).tolist() == expected


# --- voxels of a cloud -------------------------------------------------------------------


def test_points_of_a_voxel_are_averaged(device):
    coord = torch.tensor([[0.0, 0.0, 1.0], [0.002, 0.0, 1.0], [0.1, 0.1, 1.2]], device=device)
    color = torch.tensor([[0, 0, 0], [255, 51, 0], [255, 255, 255]], device=device)
    normal = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], device=device)
    cloud = prepare_cloud(coord, color, normal)
    assert cloud.inverse.tolist() == [0, 0, 1]
    assert cloud.points.grid_coord.tolist() == [[0, 0, 0], [5, 5, 10]]
    assert cloud.points.offset.tolist() == [2]
    expected = [
        [-0.049, -0.05, 0.0, 0.5, 0.1, 0.0, 0.0, 0.5, 0.5],
        [0.05, 0.05, 0.2, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0],
    ]
    torch.testing.assert_close(cloud.points.feat.cpu(), torch.tensor(expected))
    torch.testing.assert_close(cloud.points.coord, cloud.points.feat[:, :3])


@pytest.mark.parametrize('recipe', [INDOOR, OUTDOOR])
def test_points_lie_in_their_voxels_on_the_lattice(recipe, device):
    coord = random_cloud()[0].to(device)
    cloud = prepare_cloud(coord, recipe=recipe)
    place = (coord.double() - lattice_origin(coord, recipe)) * recipe.scale / recipe.voxel_size
    from_corner = place - cloud.points.grid_coord[cloud.inverse]
    assert from_corner.min() > -1e-4  # voxels; cells are taken in float32
    assert from_corner.max() < 1 + 1e-4


def test_the_lattice_of_no_points_begins_at_zero():
    assert lattice_origin(torch.zeros(0, 3)).tolist() == [0, 0, 0]


def test_the_order_of_points_does_not_matter():
    coord, color, normal = random_cloud()
    turn = torch.randperm(len(coord))
    one = prepare_cloud(coord, color, normal)
    other = prepare_cloud(coord[turn], color[turn], normal[turn])
    assert torch.equal(one.points.grid_coord, other.points.grid_coord)
    assert torch.equal(one.inverse[turn], other.inverse)
    torch.testing.assert_close(one.points.feat, other.points.feat)


def test_voxels_are_sorted_and_hold_their_points():
    coord, color, normal = random_cloud()
    cloud = prepare_cloud(coord, color, normal)
    rows = [tuple(cell) for cell in cloud.points.grid_coord.tolist()]
    assert rows == sorted(set(rows))
    low, high = coord.amin(0), coord.amax(0)
    middle = torch.stack([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    torch.testing.assert_close(
        voxel_grid(coord - middle, 0.02), cloud.points.grid_coord[cloud.inverse]
    )


def test_unknown_colour_and_normal_are_zeros():
    coord, color, normal = random_cloud()
    complete = prepare_cloud(coord, color, normal).points.feat
    assert torch.equal(prepare_cloud(coord, color).points.feat[:, :6], complete[:, :6])
    assert not prepare_cloud(coord, color).points.feat[:, 6:].any()
    assert not prepare_cloud(coord, normal=normal).points.feat[:, 3:6].any()
    assert not prepare_cloud(coord).points.feat[:, 3:].any()


def test_outdoor_clouds_shrink_and_keep_their_height():
    coord = torch.tensor([[10.0, 0.0, -1.0], [10.04, 0.0, -1.0], [30.0, 8.0, 3.0]])
    cloud = prepare_cloud(coord, recipe=OUTDOOR)
    assert cloud.inverse.tolist() == [0, 0, 1]  # voxels of 5 cm
    assert cloud.points.grid_coord.tolist() == [[0, 0, 0], [400, 160, 80]]
    expected = [[-1.998, -0.8, -0.2], [1.998, 0.8, 0.6]]
    torch.testing.assert_close(cloud.points.coord, torch.tensor(expected))


def test_the_callers_arrays_stay_as_they_were():
    cloud = random_cloud()
    before = [t.clone() for t in cloud]
    for recipe in (INDOOR, OUTDOOR):
        prepare_cloud(*cloud, recipe=recipe)
        prepare_cloud(*cloud, recipe=recipe, published_random=np.random.RandomState(0))
    assert all(map(torch.equal, cloud, before))


def test_nothing_and_one_point():
    for random in (None, np.random.RandomState(0)):
        empty = prepare_cloud(torch.zeros(0, 3), published_random=random)
        assert empty.points.feat.shape == (0, 9)
        assert len(empty.inverse) == 0
        one = prepare_cloud(torch.ones(1, 3), published_random=random)
        assert one.points.feat.tolist() == [[0.0] * 9]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((torch.zeros(4, 2),), r'coord must be \(4, 3\).*got \(4, 2\)'),
        ((torch.zeros(4, 3), torch.zeros(3, 3)), r'color must be \(4, 3\).*got \(3, 3\)'),
        ((torch.zeros(4, 3), None, torch.zeros(4)), r'normal must be \(4, 3\)'),
        ((torch.full((4, 3), torch.nan),), 'coord holds NaN'),
        ((torch.tensor([[0.0, 0, 0], [2000.0, 0, 0]]),), '100001 voxels wide.*metres'),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ConcertoError, match=message):
        prepare_cloud(*arguments)


# --- the published transform -------------------------------------------------------------


def published_sample(grid, seed):
    """Return representatives and inverse, one voxel after the other, as spec 2.1 tells it."""
    code = voxel_hash(grid)
    order = np.argsort(code)
    runs = {}
    for row in order:
        runs.setdefault(int(code[row]), []).append(row)
    counts = np.array([len(run) for run in runs.values()])
    np.random.seed(seed)  # noqa: NPY002 - the published transform draws from here
    drawn = np.random.randint(0, counts.max(), len(counts))  # noqa: NPY002
    rows = [run[n % len(run)] for n, run in zip(drawn, runs.values(), strict=True)]
    voxel_of = {code: voxel for voxel, code in enumerate(runs)}
    return rows, [voxel_of[int(c)] for c in code]


@pytest.mark.parametrize('seed', [0, 53124])
def test_published_transform_draws_the_published_points(seed):
    state = np.random.get_state()  # noqa: NPY002
    coord, color, normal = random_cloud(2000)
    low, high = coord.numpy().min(0), coord.numpy().max(0)
    shift = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]], np.float32)
    centred = coord.numpy() - shift
    grid = np.floor(centred / np.float32(0.02)).astype(int)
    grid -= grid.min(0)
    rows, inverse = published_sample(grid, seed)
    np.random.set_state(state)  # noqa: NPY002

    random = np.random.RandomState(seed)
    cloud = prepare_cloud(coord, color, normal, published_random=random)
    assert cloud.inverse.tolist() == inverse
    np.testing.assert_array_equal(cloud.points.grid_coord, grid[rows])
    np.testing.assert_array_equal(cloud.points.coord, centred[rows])
    expected = np.concatenate([centred, color.numpy() / np.float32(255), normal], axis=1)[rows]
    np.testing.assert_array_equal(cloud.points.feat, expected)
    assert (np.diff(voxel_hash(cloud.points.grid_coord.numpy()).astype(float)) >= 0).all()


def test_published_transform_moves_with_its_seed_only():
    coord, color, normal = random_cloud()
    feats = [
        prepare_cloud(
            coord, color, normal, published_random=np.random.RandomState(seed)
        ).points.feat
        for seed in (1, 1, 2)
    ]
    assert torch.equal(feats[0], feats[1])
    assert not torch.equal(feats[0], feats[2])


# --- windows of a map --------------------------------------------------------------------


def window(origin, device='cpu'):
    """Voxels of a map around an origin in voxels, one of them far below the floor."""
    generator = torch.Generator().manual_seed(0)
    cell = torch.randperm(40**3, generator=generator)[:500]
    grid = torch.stack([cell // 1600, cell // 40 % 40, cell % 40], dim=1)
    grid[0, 2] = -60
    grid = (grid + torch.tensor(origin)).to(device)
    coord = (grid + 0.5) * 0.02
    color = torch.full_like(coord, 51.0)
    return grid, coord, color, torch.zeros_like(coord)


@pytest.mark.parametrize('origin', [(0, 0, 0), (-1000, 37, 16), (5, -3, 1)])
def test_the_lattice_of_a_map_keeps_its_place_modulo_16(origin, device):
    grid, *rest = window(origin, device)
    points = prepare_map(grid, *rest).points
    shift = grid - points.grid_coord
    assert len(torch.unique(shift, dim=0)) == 1
    assert not (shift[:, :2] % 16).any()
    assert ((points.grid_coord.amin(0) >= 0) & (points.grid_coord.amin(0) < 16)).all()


@pytest.mark.parametrize('height', [0, 7, -9])
def test_the_lattice_begins_a_cell_below_the_floor(height, device):
    """Else a floor on the border of coarse cells would be two half ones to the network."""
    grid, *rest = window((3, 5, height), device)  # one stray voxel lies 60 below
    z = prepare_map(grid, *rest).points.grid_coord[:, 2]
    floor = z[grid[:, 2] == grid[:, 2].sort().values[5]]
    assert (floor % 16 == 1).all()


@pytest.mark.parametrize('origin', [(0, 0, 0), (-1000, 37, 16), (5, -3, 1)])
def test_cells_are_means_of_the_voxels_in_them(origin, device):
    grid, coord, color, normal = window(origin, device)
    normal[:, 2] = torch.linspace(-1, 1, len(normal))
    prepared = prepare_map(grid, coord, color, normal, voxels_per_cell=3)
    cell = grid // 3
    assert len(prepared.points) == len(torch.unique(cell, dim=0)) < len(grid)
    shift = cell - prepared.points.grid_coord[prepared.inverse]
    assert len(torch.unique(shift, dim=0)) == 1
    assert not (shift[:, :2] % 16).any()
    inside = prepared.inverse == prepared.inverse[0]
    first = prepared.points.feat[prepared.inverse[0]]
    torch.testing.assert_close(first[8], normal[inside, 2].mean())


def test_window_of_a_map_is_centred_with_its_floor_at_zero(device):
    points = prepare_map(*window((100, 200, 300), device)).points
    low, high = points.coord.amin(0), points.coord.amax(0)
    torch.testing.assert_close(low[:2], -high[:2])
    assert -1.3 < low[2] < -1.1
    assert (points.coord[:, 2] < -0.001).sum() == 1  # the stray voxel does not set the floor
    assert (points.coord[:, 2].abs() < 0.001).any()
    assert (points.feat[:, 3:6] == 0.2).all()
    assert torch.equal(points.feat[:, :3], points.coord)
