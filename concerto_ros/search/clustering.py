"""Connected components of voxels on their lattice."""

import numpy as np
from numpy.typing import NDArray


def connected_components(grid_coord: NDArray[np.integer], gap: int) -> NDArray[np.int64]:
    """Number the groups of voxels that hang together.

    Two voxels hang together when they differ by at most `gap` along every axis: 1 is the
    26-neighbourhood, 2 bridges one empty voxel. The cost is O(N log N) times `gap` squared.

    Args:
        grid_coord: (N, 3) integers; rows may repeat. Less than 2 million voxels along each axis.
        gap: At least 1.

    Returns:
        (N,) int64 component of each row, from 0 in the order of the components' lowest voxels
        (by x, then y, then z), so it does not depend on the order of the rows.
    """
    if not len(grid_coord):
        return np.zeros(0, dtype=np.int64)
    x, y, z = (grid_coord.astype(np.int64) - grid_coord.min(axis=0)).T
    # Columns are padded, so a window of +-gap around a voxel never reaches into another column.
    stride_y = int(z.max()) + 1 + 2 * gap
    stride_x = (int(y.max()) + 1 + 2 * gap) * stride_y
    keys, row_to_key = np.unique(x * stride_x + y * stride_y + z, return_inverse=True)
    run = np.concatenate([[0], np.cumsum(np.diff(keys) > gap)])  # stretches within one column
    root = np.arange(run[-1] + 1)
    for shift in _half_window(gap, stride_x, stride_y):
        # A window of 2 * gap + 1 holds voxels of two runs at most: the first's and the last's.
        first = np.searchsorted(keys, keys + (shift - gap))
        last = np.searchsorted(keys, keys + (shift + gap), side='right') - 1
        near = np.flatnonzero(first <= last)
        merge(root, run[near], run[first[near]])
        merge(root, run[near], run[last[near]])
    # A root is the lowest run of its group, so sorting the roots sorts the groups.
    of_run = np.unique(root, return_inverse=True)[1]
    component: NDArray[np.int64] = of_run[run[row_to_key]].astype(np.int64)
    return component


def _half_window(gap: int, stride_x: int, stride_y: int) -> list[int]:
    """Return the key offsets of the columns around one; of two opposite ones only one."""
    reach = range(-gap, gap + 1)
    return [
        dx * stride_x + dy * stride_y
        for dx in range(gap + 1)
        for dy in reach
        if (dx, dy) > (0, 0)
    ]  # fmt: skip


def merge(root: NDArray[np.int64], a: NDArray[np.int64], b: NDArray[np.int64]) -> None:
    """Join the groups of `a` and `b` pairwise, in place; a group's root is its lowest member.

    Args:
        root: (R,) root of each member, with `root[root] == root` before and after.
        a: (E,) members.
        b: (E,) members to join with those of `a`.
    """
    while True:
        root_a, root_b = root[a], root[b]
        differ = root_a != root_b
        if not differ.any():
            return
        a, b = a[differ], b[differ]
        # Roots only ever point to lower ones, so there are no cycles.
        high = np.maximum(root_a, root_b)[differ]
        root[high] = np.minimum(root_a, root_b)[differ]
        while not np.array_equal(root, above := root[root]):
            root[:] = above
