import numpy as np
import pytest

from concerto_ros.search.splitting import split

VOXEL = 0.02
ANGLES = (0, 20)  # [deg]


def block(low, high):
    """Points on the faces of a box, 1.4 cm apart; corners in metres."""
    low, high = np.array(low, float), np.array(high, float)
    steps = np.maximum(np.round((high - low) / 0.014), 1).astype(int)
    shell = np.ones(steps + 1, bool)
    shell[1:-1, 1:-1, 1:-1] = False
    return low + np.argwhere(shell) * (high - low) / steps


def moved(points, x=0.0, y=0.0, degrees=0.0):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return points @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + [x, y, 0]


def chair():
    seat, back = (
        block((0, 0, 0.43), (0.45, 0.45, 0.47)),
        block((0.05, 0.41, 0.47), (0.4, 0.45, 0.9)),
    )
    legs = [block((x, y, 0), (x + 0.04, y + 0.04, 0.43)) for x in (0, 0.41) for y in (0, 0.41)]
    return np.concatenate([seat, back, *legs])


def sofa():
    arms = [block((x, 0, 0.1), (x + 0.15, 0.8, 0.62)) for x in (0, 2.05)]
    return np.concatenate(
        [block((0, 0, 0.1), (2.2, 0.8, 0.42)), block((0, 0.6, 0.1), (2.2, 0.8, 0.85)), *arms]
    )


def desk(length=1.6):
    legs = [
        block((x, y, 0), (x + 0.05, y + 0.05, 0.7)) for x in (0, length - 0.05) for y in (0, 0.65)
    ]
    return np.concatenate([block((0, 0, 0.7), (length, 0.7, 0.74)), *legs])


def l_desk():
    return np.concatenate([desk(1.8), moved(desk(1.8), 0.7, 0, 90)])


def pedestal_desk():
    pedestals = [block((x, 0.05, 0), (x + 0.42, 0.65, 0.7)) for x in (0.03, 1.15)]
    return np.concatenate([block((0, 0, 0.7), (1.6, 0.7, 0.74)), *pedestals])


def bed():
    boards = [block((0, -0.06, 0), (1.6, 0, 1.1)), block((0, 2, 0), (1.6, 2.06, 0.8))]
    return np.concatenate([block((0, 0, 0.1), (1.6, 2, 0.5)), *boards])


def shelf():
    sides = [block((x, 0, 0), (x + 0.02, 0.3, 1.9)) for x in (0, 0.88)]
    boards = [block((0, 0, z), (0.9, 0.3, z + 0.02)) for z in (0, 0.45, 0.9, 1.35, 1.8)]
    return np.concatenate([*sides, *boards])


def wall_with_window():
    parts = [((0, 0), (3, 0.8)), ((0, 0.8), (1, 1.8)), ((2, 0.8), (3, 1.8)), ((0, 1.8), (3, 2.4))]
    return np.concatenate([block((a, 0, b), (c, 0.02, d)) for (a, b), (c, d) in parts])


def together(*things):
    return np.concatenate(things)


def parts(points, degrees):
    turned = moved(points, 0.013, 0.007, degrees)
    grid = np.unique(np.floor(turned / VOXEL).astype(int), axis=0)
    return grid, split(grid, VOXEL)


@pytest.mark.parametrize('degrees', ANGLES)
@pytest.mark.parametrize(
    'thing', [chair, sofa, desk, l_desk, pedestal_desk, bed, shelf, wall_with_window]
)
def test_one_thing_stays_whole(thing, degrees):
    _, part = parts(thing(), degrees)
    assert part.max() == 0


@pytest.mark.parametrize('degrees', ANGLES)
@pytest.mark.parametrize(
    'other',
    [
        moved(chair(), 0.46),  # side by side, backs 11 cm apart
        moved(chair(), 0.49),  # only near
        moved(chair(), 0.46, 0.22),  # half of a side
    ],
)
def test_two_things_that_touch_are_parted_where_they_touch(other, degrees):
    first = chair()
    _, part = parts(together(first, other), degrees)
    assert part.max() == 1
    one, _ = parts(first, degrees)
    sizes = np.bincount(part)
    assert abs(sizes.min() - min(len(one), sizes.sum() - len(one))) < 0.15 * len(one)


def test_a_row_of_chairs_becomes_as_many():
    row = together(*(moved(chair(), 0.46 * number) for number in range(4)))
    _, part = parts(row, 0)
    assert part.max() == 3
    assert np.ptp(np.bincount(part)) < 0.2 * np.bincount(part).mean()


def test_small_and_long_things_are_left_alone():
    cups = np.array([[0, 0, 0], [1, 0, 0], [10, 0, 0]])
    assert split(cups, VOXEL).tolist() == [0, 0, 0]
    assert split(cups[:1], VOXEL).tolist() == [0]
    rooms = np.argwhere(np.ones((150, 150, 1)))
    floor = np.concatenate(
        [rooms, rooms + np.array([160, 0, 0]), [[x, 70, 0] for x in range(150, 160)]]
    )
    assert split(floor, VOXEL).max() == 0


def test_the_order_of_rows_does_not_matter():
    grid, part = parts(together(chair(), moved(chair(), 0.46)), 20)
    order = np.random.default_rng(0).permutation(len(grid))
    np.testing.assert_array_equal(split(grid[order], VOXEL), part[order])


def test_stripes_of_nothing_and_narrow_integers_do_no_harm():
    plate = np.argwhere(np.ones((40, 30, 1))).astype(np.int8)
    striped = plate[(plate[:, 0] < 20) | (plate[:, 0] > 21)] - np.int8(60)
    assert split(striped, VOXEL).max() == 1  # as documented
    assert split(plate - np.int8(60), VOXEL).max() == 0
