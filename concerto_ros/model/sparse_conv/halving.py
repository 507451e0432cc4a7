"""Which voxels make up a cell twice as wide: the geometry of convolutions with stride two."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Halving:
    """The voxels of one stage and the cells of the next, which are twice as wide.

    Attributes:
        grid_coord: (N, 3) int64, the voxels; no two of one cloud are equal.
        batch: (N,) int64, cloud of each.
        parent: (N,) int64, the cell that holds each voxel, at `grid_coord >> 1`.
        num_parents: M; every cell holds a voxel.
    """

    grid_coord: Tensor
    batch: Tensor
    parent: Tensor
    num_parents: int

    @cached_property
    def octant(self) -> Tensor:
        """(N,) int64 in 0..7, place of each voxel in its cell, x above y above z."""
        x, y, z = (self.grid_coord & 1).unbind(1)
        return (x << 2) | (y << 1) | z

    @cached_property
    def order(self) -> Tensor:
        """(N,) int64, rows octant by octant."""
        return self.octant.argsort(stable=True)

    @cached_property
    def place(self) -> Tensor:
        """(N,) int64, where `order` has each row."""
        rows = torch.arange(len(self.order), device=self.order.device)
        return torch.empty_like(rows).scatter_(0, self.order, rows)

    @cached_property
    def counts(self) -> list[int]:
        """Voxels in each octant."""
        counts: list[int] = self.octant.bincount(minlength=8).tolist()
        return counts
