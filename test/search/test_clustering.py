import numpy as np
import pytest

from concerto_ros.search.clustering import connected_components


def brute(grid, gap):
    """Label by flooding from row to row."""
    near = np.abs(grid[:, None] - grid[None]).max(axis=2) <= gap
    component = np.full(len(grid), -1)
    for row in range(len(grid)):
        if component[row] < 0:
            todo, number = [row], component.max() + 1
            while todo:
                i = todo.pop()
                if component[i] < 0:
                    component[i] = number
                    todo += np.flatnonzero(near[i]).tolist()
    return component


def mask_to_grid(mask):
    return np.pad(np.argwhere(mask), ((0, 0), (0, 1)))


def test_nothing_and_one():
    assert connected_components(np.zeros((0, 3), int), 1).shape == (0,)
    assert connected_components(np.array([[-5, 7, 3]]), 1).tolist() == [0]


def test_diagonal_voxels_hang_together_in_a_5x5_mask():
    mask = np.array(
        [[1, 0, 0, 0, 1],
         [0, 1, 0, 0, 0],
         [0, 0, 0, 0, 1],
         [1, 1, 0, 1, 0],
         [0, 0, 0, 0, 1]]
    )  # fmt: skip
    assert connected_components(mask_to_grid(mask), 1).tolist() == [0, 1, 0, 2, 3, 3, 2, 2]
    assert connected_components(mask_to_grid(mask), 2).tolist() == [0] * 8
    assert connected_components(mask_to_grid(mask[:, :2]), 2).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(('step', 'gap', 'count'), [(1, 1, 1), (2, 1, 2), (2, 2, 1), (3, 2, 2)])
@pytest.mark.parametrize('direction', [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, -1, 1), (-1, 1, 0)])
def test_the_gap_counts_along_every_axis(step, gap, count, direction):
    grid = np.array([[0, 0, 0], direction]) * [[1], [step]] - 10
    assert connected_components(grid, gap).max() + 1 == count


def test_the_ends_of_neighbouring_columns_do_not_touch():
    grid = np.array([[0, 0, 9], [0, 1, 0], [1, 0, 0], [0, 9, 5], [1, 0, 5]])
    np.testing.assert_array_equal(connected_components(grid, 2), brute_sorted(grid, 2))


def brute_sorted(grid, gap):
    """Number the components of `brute` by their lowest voxels."""
    order = np.lexsort(grid.T[::-1])
    expected = np.empty(len(grid), int)
    expected[order] = brute(grid[order], gap)
    return expected


@pytest.mark.parametrize('gap', [1, 2, 3])
@pytest.mark.parametrize('n', [2, 30, 120])
def test_equals_flooding_for_random_voxels_and_any_order(gap, n):
    rng = np.random.default_rng(n + gap)
    for _ in range(5):
        grid = rng.integers(-8, 8, (n, 3))
        found = connected_components(grid, gap)
        np.testing.assert_array_equal(found, brute_sorted(grid, gap))
        order = rng.permutation(n)
        np.testing.assert_array_equal(connected_components(grid[order], gap), found[order])


def test_a_snake_and_repeated_rows_are_one():
    rng = np.random.default_rng(0)
    steps = np.zeros((3000, 3), int)
    steps[np.arange(3000), rng.integers(0, 3, 3000)] = 1
    snake = np.cumsum(steps, axis=0) - 500
    snake = np.repeat(snake, 2, axis=0)[rng.permutation(6000)]
    assert (connected_components(snake, 1) == 0).all()
    assert len(np.unique(connected_components(snake * 2, 1))) == 3000


def test_narrow_integers_do_not_wrap():
    grid = np.array([[-128, 0, 0], [127, 0, 0], [126, 1, -1]], np.int8)
    assert connected_components(grid, 1).tolist() == [0, 1, 1]
