"""Smooth random warps of coordinates."""

import numpy as np
import torch
from torch.nn import functional

from training.views.crop import Planes

_MAX_CELLS = 100  # of the noise per axis: stray points must not fill the memory


def warp(coord: Planes, spacing: float, amplitude: float, rng: np.random.Generator) -> Planes:
    """Move points by smooth noise.

    The noise is Gaussian on the nodes of a lattice, smoothed by two box filters of three nodes,
    and linear between nodes.

    Args:
        coord: (3, N) float32 [m], N > 0.
        spacing: Of the nodes [m]; more if the cloud spans over a hundred of them.
        amplitude: Standard deviation of the noise before it is smoothed [m].
        rng: Draws the noise.

    Source: Simard et al. 2003; in the form used by PointGroup (CVPR 2020) for point clouds.
    """
    low = coord.min(axis=1, keepdims=True)
    extent = coord.max(axis=1) - low[:, 0]
    spacing = max(spacing, float(extent.max()) / _MAX_CELLS)
    num_nodes = (extent // spacing).astype(np.int64) + 3  # one before and one after
    noise = rng.standard_normal((3, *num_nodes), dtype=np.float32)
    for axis in (1, 2, 3, 1, 2, 3):
        noise = _box_filter(noise, axis)
    node = (coord - low) / np.float32(spacing) + 1
    return coord + np.float32(amplitude) * interpolate(noise, node)


def interpolate(values: Planes, node: Planes) -> Planes:
    """Read a lattice between its nodes, linearly.

    Args:
        values: (C, X, Y, Z) float32, at least two nodes per axis.
        node: (3, N) float32, where to read, in nodes from the first one.

    Returns:
        (C, N) float32.
    """
    last = np.array(values.shape[1:], dtype=np.float32)[:, None] - 1
    place = np.ascontiguousarray((node * (2 / last) - 1)[::-1].T)  # in -1..1, last axis first
    grid = torch.from_numpy(place)[None, None, None]
    found = functional.grid_sample(torch.from_numpy(values)[None], grid, align_corners=True)
    read: Planes = found[0, :, 0, 0].numpy()
    return read


def _box_filter(values: Planes, axis: int) -> Planes:
    """Average three neighbours along an axis; beyond the ends there is zero."""
    total = values.copy()
    source, target = np.moveaxis(values, axis, 0), np.moveaxis(total, axis, 0)
    target[1:] += source[:-1]
    target[:-1] += source[1:]
    total /= 3
    return total
