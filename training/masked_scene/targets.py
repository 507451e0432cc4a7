"""What the student shall say at hidden cells: the mean over the points that lie in them.

Lattices of two views are turned against each other, so cells correspond by points, not by place.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from concerto_ros.model import Plan
from concerto_ros.model.segment_ops import segment_mean
from training.masked_scene.batch import MaskedBatch
from training.masked_scene.target_norm import normed


class LevelTargets(NamedTuple):
    """Targets of one level.

    Attributes:
        rows: (R,) int64, the hidden cells of the crops' plan that hold points, growing.
        view: (R,) int64, number of the view of each.
        target: (R, C) float32 without gradient; NaN where unknown, never in all channels.
    """

    rows: Tensor
    view: Tensor
    target: Tensor


class _Pairs(NamedTuple):
    """Cells of two plans that share points: (R,) int64 each, ordered by `cell`."""

    cell: Tensor  # hidden, of the crops
    other: Tensor  # of the full plan, in the other view of the scene
    num_points: Tensor  # in both


@torch.no_grad()
def cross_view_targets(
    batch: MaskedBatch,
    crops: Plan,
    hidden: Sequence[Tensor],
    full: Plan,
    feats: Sequence[Tensor],
    norm: str,
) -> list[LevelTargets]:
    """Average what the teacher says of the points of hidden cells, where the other view has them.

    Args:
        batch: Whose points tell what corresponds.
        crops: Plan of `batch.crop`.
        hidden: (M_l,) bool at each level of it, see `hidden_cells`.
        full: Plan of `batch.full`.
        feats: (F_l, C_l) float at each level of it, of the teacher.
        norm: Of all cells of a level, before their means are taken, see `normed`.

    Returns:
        One per level, finest first.

    Source: Hermosilla et al., Masked Scene Modeling, arXiv 2504.06719; the correspondence by
        points is ours.
    """
    cell = _hidden_row(batch, crops, hidden[0])[batch.point_voxel]
    other = full.stages[0].cells.inverse[batch.point_voxel].flip(1)
    is_hidden = cell >= 0
    cell, other = cell[is_hidden], other[is_hidden]
    pairs = _merge(cell, other, torch.ones_like(cell), len(full.stages[0].cells))
    targets = [_mean_target(pairs, crops, 0, normed(feats[0], norm))]
    for level in range(1, len(feats)):
        pairs = _coarsen(pairs, crops, hidden[level], full, level)
        targets.append(_mean_target(pairs, crops, level, normed(feats[level], norm)))
    return targets


@torch.no_grad()
def shallow_targets(
    batch: MaskedBatch, crops: Plan, hidden: Sequence[Tensor], norm: str
) -> list[LevelTargets]:
    """Average colour and normal of the points of hidden cells, as their own view has them.

    Args:
        batch: With `point_target`.
        crops: Plan of `batch.crop`.
        hidden: (M_l,) bool at each level of it.
        norm: Of the means at hidden cells of a level, of colours and normals each by themselves,
            see `normed`.

    Returns:
        One per level, of 6 channels. Points of unknown colour do not count in a mean of colours,
        nor those of unknown normal in one of normals; cells without a known point are left out.
    """
    cell = _hidden_row(batch, crops, hidden[0])[batch.point_voxel]
    is_hidden = cell >= 0
    cell, value = cell[is_hidden], batch.point_target[is_hidden]
    targets = []
    for level, stage in enumerate(crops.stages):
        if level:
            cell = stage.cells.inverse[cell]
            is_hidden = hidden[level][cell]
            cell, value = cell[is_hidden], value[is_hidden]
        rows, segment = torch.unique(cell, return_inverse=True)
        mean = _known_mean(value, segment, len(rows))
        kept = ~mean.isnan().all(1)
        rows, mean = rows[kept], mean[kept]
        targets.append(LevelTargets(rows, stage.cells.batch[rows], _halves_normed(mean, norm)))
    return targets


def _known_mean(value: Tensor, segment: Tensor, num_segments: int) -> Tensor:
    """Return (S, C): the mean over the known rows of each segment, NaN where there is none."""
    is_known = ~value.isnan()
    total = segment_mean(value.where(is_known, 0), segment, num_segments)
    return total / segment_mean(is_known.to(value), segment, num_segments)


def _halves_normed(value: Tensor, norm: str) -> Tensor:
    """Norm (R, 6) colours and normals where they are known."""
    halves = []
    for half in (value[:, :3], value[:, 3:]):
        rows = ~half.isnan().any(1)
        halves.append(half.index_put((rows,), normed(half[rows], norm)))
    return torch.cat(halves, dim=1)


def _hidden_row(batch: MaskedBatch, crops: Plan, hidden: Tensor) -> Tensor:
    """Return (V,) int64: the row of each hidden voxel in the crops' plan, -1 for the others."""
    row = crops.stages[0].cells.inverse
    table = row.new_full((len(batch.full),), -1)
    table[batch.crop] = row.where(hidden[row], row.new_tensor(-1))
    return table


def _merge(cell: Tensor, other: Tensor, num_points: Tensor, num_others: int) -> _Pairs:
    """Add up the points of equal pairs."""
    key, inverse = torch.unique(cell * num_others + other, return_inverse=True)
    total = torch.zeros_like(key).index_add_(0, inverse, num_points)
    return _Pairs(key // num_others, key % num_others, total)


def _coarsen(pairs: _Pairs, crops: Plan, hidden: Tensor, full: Plan, level: int) -> _Pairs:
    """Go from the pairs of the level before to those of a level, as far as it is hidden there."""
    cell = crops.stages[level].cells.inverse[pairs.cell]
    other = full.stages[level].cells.inverse[pairs.other]
    kept = hidden[cell]
    return _merge(cell[kept], other[kept], pairs.num_points[kept], len(full.stages[level].cells))


def _mean_target(pairs: _Pairs, crops: Plan, level: int, feat: Tensor) -> LevelTargets:
    """Average (F, C) features over the points of each cell, without a copy for each pair."""
    rows, segment, sizes = torch.unique_consecutive(
        pairs.cell, return_inverse=True, return_counts=True
    )
    num_points = torch.zeros_like(rows).index_add_(0, segment, pairs.num_points)
    share = (pairs.num_points / num_points[segment]).to(feat)
    start = sizes.cumsum(0) - sizes
    mean = functional.embedding_bag(pairs.other, feat, start, mode='sum', per_sample_weights=share)
    return LevelTargets(rows, crops.stages[level].cells.batch[rows], mean)
