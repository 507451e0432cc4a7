"""Convolution with stride two and its transpose in plain PyTorch, on any device.

A voxel meets exactly one of the eight matrices, that of its octant, so rows are sorted by octant
and multiplied eight times.
"""

import torch
from torch import Tensor

from concerto_ros.model.sparse_conv.halving import Halving


def down(x: Tensor, weight: Tensor, bias: Tensor, halving: Halving) -> Tensor:
    """Sum up the voxels of each cell.

    Args:
        x: (N, I) float, of the voxels.
        weight: (O, 2, 2, 2, I), the checkpoint's layout; axes 1..3 follow x, y, z.
        bias: (O,).
        halving: Of the N voxels.

    Returns:
        (M, O): `bias + sum over the voxels of a cell of weight[:, voxel & 1] @ x[voxel]`.
    """
    parts = torch.split(x.index_select(0, halving.order), halving.counts)
    parents = torch.split(halving.parent[halving.order], halving.counts)
    exact = torch.promote_types(x.dtype, torch.float32)
    y = bias.to(exact).repeat(halving.num_parents, 1)
    for part, parent, tap in zip(parts, parents, _taps(weight), strict=True):
        y = y.index_add_(0, parent, (part @ tap.t()).to(exact))
    return y.to(x.dtype)


def up(x: Tensor, weight: Tensor, bias: Tensor, halving: Halving) -> Tensor:
    """Give every voxel what its cell says of its octant.

    Args:
        x: (M, I) float, of the cells.
        weight: (O, 2, 2, 2, I), as for `down`.
        bias: (O,).
        halving: Of the N voxels.

    Returns:
        (N, O): `bias + weight[:, voxel & 1] @ x[cell of the voxel]`.
    """
    rows = halving.parent[halving.order]
    parts = torch.split(x.index_select(0, rows), halving.counts)
    bias = bias.to(x.dtype)
    y = [torch.addmm(bias, part, tap.t()) for part, tap in zip(parts, _taps(weight), strict=True)]
    return torch.cat(y).index_select(0, halving.place)


def _taps(weight: Tensor) -> tuple[Tensor, ...]:
    """Return the (O, I) matrix of each octant."""
    return weight.flatten(1, 3).unbind(1)
