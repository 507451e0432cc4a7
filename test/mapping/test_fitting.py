import pytest
import torch

from concerto_ros.mapping.fitting import lies_on

VOXEL = 0.02


def surfaces(generator, *, walls=True, num=600, noise=0.0):
    """Return points and normals on a floor and, fewer, on two walls that meet in a corner."""
    shares = ((2, num), (0, num // 10), (1, num // 10)) if walls else ((2, num),)
    coord, normal = [], []
    for axis, count in shares:
        points = 2.0 * torch.rand(count, 3, generator=generator)
        points[:, axis] = 0.01 + noise * torch.randn(count, generator=generator)
        coord.append(points)
        normal.append(torch.eye(3)[axis].expand(count, 3))
    return torch.cat(coord), torch.cat(normal)


def held_by(coord):
    held = {tuple(voxel) for voxel in (coord / VOXEL).floor().long().tolist()}
    return lambda grid: torch.tensor([tuple(v) in held for v in grid.tolist()], dtype=torch.bool)


@pytest.fixture
def is_held():
    """Return the lookup of a floor and two walls, densely measured."""
    steps = torch.arange(0.01, 2.0, VOXEL)
    plane = torch.cartesian_prod(steps, steps, torch.tensor([0.01]))
    return held_by(torch.cat([plane, plane[:, [2, 0, 1]], plane[:, [0, 2, 1]]]))


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_what_was_measured_again_fits(is_held, generator):
    coord, normal = surfaces(generator, noise=0.01)
    assert lies_on(coord, normal, is_held, VOXEL)


@pytest.mark.parametrize('shift', [(0.06, 0, 0), (0, -0.06, 0), (0, 0, 0.06)])
def test_a_shift_along_any_axis_does_not(is_held, generator, shift):
    coord, normal = surfaces(generator, noise=0.01)
    assert not lies_on(coord + torch.tensor(shift), normal, is_held, VOXEL)


def test_what_moved_since_does_not_matter(is_held, generator):
    coord, normal = surfaces(generator)
    coord[::3] += 0.12 * normal[::3]
    assert lies_on(coord, normal, is_held, VOXEL)


def test_what_is_new_does_not_matter_while_enough_is_known(is_held, generator):
    coord, normal = surfaces(generator)
    elsewhere = coord + 7.0
    assert lies_on(torch.cat([coord, elsewhere]), torch.cat([normal, normal]), is_held, VOXEL)
    assert not lies_on(
        torch.cat([coord] + 3 * [elsewhere]), torch.cat(4 * [normal]), is_held, VOXEL
    )


def test_a_floor_alone_fits_nowhere(is_held, generator):
    assert not lies_on(*surfaces(generator, walls=False), is_held, VOXEL)


def test_points_without_normals_say_nothing(is_held, generator):
    coord, normal = surfaces(generator)
    assert not lies_on(coord, torch.zeros_like(normal), is_held, VOXEL)
    mixed = torch.cat([coord, coord + 0.1]), torch.cat([normal, torch.zeros_like(normal)])
    assert lies_on(*mixed, is_held, VOXEL)


def test_nothing_does_not_fit(is_held):
    assert not lies_on(torch.zeros(0, 3), torch.zeros(0, 3), is_held, VOXEL)


def test_of_many_points_only_some_are_looked_up(generator):
    asked = []

    def is_held(grid):
        asked.append(len(grid))
        return torch.ones(len(grid), dtype=torch.bool)

    assert lies_on(*surfaces(generator, num=30_000), is_held, VOXEL)
    assert sum(asked) <= 2000 * 21
