"""Weighted running means of what was measured in a voxel: pure functions on tensors."""

import torch
from torch import Tensor

# Columns of a voxel's state. Means: offset from the voxel's centre [voxels], colour [0..255],
# normal; then the weight of what was measured.
OFFSET, COLOR, NORMAL = slice(0, 3), slice(3, 6), slice(6, 9)
WEIGHT = 9
STATE_WIDTH = 10
_LARGEST = 60000.0  # weight that half precision still holds


def mean_per_voxel(values: Tensor, weight: Tensor, voxel: Tensor, num_voxels: int) -> Tensor:
    """Average the measurements of one frame that fall into the same voxel.

    Args:
        values: (M, 9) float32: offset, colour, normal.
        weight: (M,) float32, positive.
        voxel: (M,) int64 in 0..num_voxels - 1; each of these occurs.
        num_voxels: U.

    Returns:
        (U, 10) float32 state.
    """
    rows = torch.cat([values * weight[:, None], weight[:, None]], dim=1)
    total = _sum_per_voxel(rows, voxel, num_voxels)
    total[:, :WEIGHT] /= total[:, WEIGHT:]
    return total


def fuse(state: Tensor, measured: Tensor, max_weight: float) -> Tensor:
    """Move states (U, 10) towards measurements (U, 10) by their share of the weight.

    The past counts for at most `max_weight`, so a voxel keeps following changes; its weight goes
    on growing and tells how much it was measured. A state of weight zero becomes the measurement.
    """
    past = state[:, WEIGHT:].clamp(max=max_weight)
    fused = torch.lerp(state, measured, measured[:, WEIGHT:] / (past + measured[:, WEIGHT:]))
    fused[:, WEIGHT:] = (state[:, WEIGHT:] + measured[:, WEIGHT:]).clamp(max=_LARGEST)
    return fused


def _sum_per_voxel(rows: Tensor, voxel: Tensor, num_voxels: int) -> Tensor:
    if rows.is_cuda:  # index_add_ adds in any order there, and sums of floats depend on it
        order = voxel.argsort(stable=True)
        counts = torch.bincount(voxel, minlength=num_voxels)
        return torch.segment_reduce(rows[order], 'sum', lengths=counts, axis=0)
    return rows.new_zeros(num_voxels, rows.shape[1]).index_add_(0, voxel, rows)
