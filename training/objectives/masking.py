"""Hiding parts of views from the student."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from concerto_ros.model import PointBatch

_AXIS_BITS = 20  # cells per axis of a view


def generator_of(*numbers: int) -> torch.Generator:
    """Return a generator on the CPU, seeded by non-negative numbers such as (seed, step, slot)."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def order_generator(seed: int, step: int) -> torch.Generator:
    """Return what draws the order of the curves in a step, alike on all ranks."""
    return generator_of(1, seed, step)


def mask_generator(seed: int, step: int, slot: int, view: int) -> torch.Generator:
    """Return what hides parts of a view of the scene in a slot of a step."""
    return generator_of(2, seed, step, slot, view)


def hide(
    points: PointBatch,
    mask: Tensor,
    jitter: float,
    voxel_size: float,
    generators: Sequence[torch.Generator],
) -> PointBatch:
    """Move masked points a little, so that their places do not tell what they are.

    Features stay as they are; `mask` hides them in the network. What does not move stays in its
    voxel, so that the cells of student and teacher are the same ones.

    Args:
        points: Views of N points.
        mask: (N,) bool.
        jitter: Standard deviation of the noise [m], cut at twice that on both sides (the
            published code cuts it above only).
        voxel_size: Edge of a voxel [m].
        generators: One per view.
    """
    parts = zip(torch.split(mask, _counts(points.offset)), generators, strict=True)
    noise = torch.cat([torch.randn(int(part.sum()), 3, generator=g) for part, g in parts])
    noise = noise.mul(jitter).clamp(-2 * jitter, 2 * jitter)
    coord = points.coord.clone()
    coord[mask] += noise.to(coord)
    moved = torch.floor(coord / voxel_size) - torch.floor(points.coord / voxel_size)
    grid_coord = (points.grid_coord + moved.to(points.grid_coord)).clamp_min(0)
    return PointBatch(coord=coord, grid_coord=grid_coord, feat=points.feat, offset=points.offset)


def draw_mask(
    points: PointBatch, size: float, ratio: float, generators: Sequence[torch.Generator]
) -> Tensor:
    """Mask a share of the cells of each view (the published code: of all views together).

    Args:
        points: Views of N points.
        size: Edge of a cell [m].
        ratio: Share of the cells of each view, rounded down.
        generators: One per view; what is drawn depends on no other view.

    Returns:
        (N,) bool, true for the points in masked cells.
    """
    cell = cells_of(points.coord, points.batch, len(points.offset), size)
    key = (cell[:, 0] << 2 * _AXIS_BITS) | (cell[:, 1] << _AXIS_BITS) | cell[:, 2]
    parts = zip(torch.split(key, _counts(points.offset)), generators, strict=True)
    return torch.cat([_draw(part, ratio, generator) for part, generator in parts])


def _draw(key: Tensor, ratio: float, generator: torch.Generator) -> Tensor:
    cells, inverse = torch.unique(key, return_inverse=True)
    chosen = torch.randperm(len(cells), generator=generator)[: int(ratio * len(cells))]
    is_masked = torch.zeros(len(cells), dtype=torch.bool)
    is_masked[chosen] = True
    return is_masked.to(key.device)[inverse]


def cells_of(coord: Tensor, view: Tensor, num_views: int, size: float) -> Tensor:
    """Return the (N, 3) int64 cell of each point, counted from the lowest of its view.

    Args:
        coord: (N, 3) float32 [m].
        view: (N,) int64 in 0..num_views-1.
        num_views: V.
        size: Edge of a cell [m].
    """
    index = view[:, None].expand_as(coord)
    low = coord.new_full((num_views, 3), torch.inf).scatter_reduce(0, index, coord, 'amin')
    return ((coord - low[view]) / size).long()


def _counts(offset: Tensor) -> list[int]:
    counts: list[int] = offset.diff(prepend=offset.new_zeros(1)).tolist()
    return counts
