"""The published steps between the backbone and the gradients, on the networks of our objective.

Restated from Concerto's published code (arXiv 2510.23607):

- masked cells are drawn over all views at once, by unique rows and `isin`;
- all features of a level are carried to its rows, and heads map every row of every pass;
- nearest neighbours come from all distances within a pair of views, one pair after the other;
- Sinkhorn-Knopp divides the whole transposed matrix, twice per round;
- the student's log-softmax is taken for each term;
- places in images are a dense (N, V, 2) array that is averaged over cells, and the projection
  maps all tokens of all images, most of which are empty.

The backbone is a choice: as published (`bench.published_backbone`), or ours.

Left out, to its favour: the two unused prototype heads, the pickled exchange between ranks, deep
copies and loops over images.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from bench.published_backbone import Backbone, MakeBackbone
from concerto_ros.model import FeaturePyramid, PointBatch
from training.objectives.cells import cell_of_points, view_cells
from training.objectives.heads import PrototypeHead
from training.objectives.joint import JointObjective
from training.objectives.masking import cells_of, order_generator
from training.structures import DistillationValues, ViewBatch

Pairs = tuple[Tensor, Tensor]


class Backbones(NamedTuple):
    """What computes features."""

    student: Backbone
    teacher: Backbone

    @classmethod
    def of(cls, objective: JointObjective, make: MakeBackbone) -> 'Backbones':
        """Return backbones on the weights of an objective."""
        assert objective.teacher is not None
        return cls(make(objective.student.backbone), make(objective.teacher.backbone))


def published_total(
    objective: JointObjective,
    backbones: Backbones,
    batch: ViewBatch,
    values: DistillationValues,
    patch_of_points: Tensor,
    hidden: tuple[PointBatch, Tensor] | None = None,
) -> Tensor:
    """Return the loss of a batch with images.

    Args:
        objective: Whose heads and settings are taken.
        backbones: On the weights of the objective.
        batch: Views.
        values: Of the step.
        patch_of_points: (N, V, 2) float32 (row, column), -1 where a point is not seen.
        hidden: Masked views and their (N,) mask; drawn as published by default.
    """
    config, level = objective.config.distillation, 2
    points, mask = hidden or _hide(objective, batch.global_points, values)
    student, teacher = objective.student, objective.teacher
    assert teacher is not None
    # So that the curves take the order that they have in ours.
    torch.set_rng_state(order_generator(objective.config.run.seed, values.step).get_state())
    masked = backbones.student(points, mask)
    with torch.no_grad():
        full = backbones.teacher(batch.global_points, None)
        target_logits = _logits(teacher.head('mask_head'), full, level)
    local = backbones.student(batch.local_points, None)
    targets = view_cells(full, batch.global_origin, level)
    masked_cells = view_cells(masked, batch.global_origin, level)
    local_cells = view_cells(local, batch.local_origin, level)
    masked_logits = _logits(student.head('mask_head'), masked, level)
    local_logits = _logits(student.head('unmask_head'), local, level)
    same, swapped, principal = _answers(targets.num_views, local_cells.num_views)
    total = torch.zeros(())
    for cells, logits, answer, weight in (
        (masked_cells, masked_logits, same, config.mask_weight),
        (masked_cells, masked_logits, swapped, config.roll_weight),
        (local_cells, local_logits, principal, config.unmask_weight),
    ):
        pairs = all_distances(cells.origin, cells.view, targets.origin, targets.view, answer)
        rows, references = pairs
        q = divided_sinkhorn(target_logits[references], values.teacher_temp)
        log_p = functional.log_softmax(logits[rows] / config.student_temp, dim=1)
        loss = -(q * log_p).sum(1)
        views, counts = cells.view[rows], cells.view[rows].bincount(minlength=cells.num_views)
        mean = loss.new_zeros(cells.num_views).index_add(0, views, loss) / counts.clamp_min(1)
        total = total + weight * mean.mean()
    seen = _cross_modal(objective, masked, batch, patch_of_points)
    return total + objective.config.cross_modal.weight * seen


def all_distances(
    query: Tensor, query_view: Tensor, reference: Tensor, reference_view: Tensor, answer: list[int]
) -> Pairs:
    """Return the nearest references within 0.32 m, view by view; `answer` names the other view."""
    rows, references = [], []
    for view, other in enumerate(answer):
        own = (query_view == view).nonzero().squeeze(1)
        others = (reference_view == other).nonzero().squeeze(1)
        if len(own) and len(others):
            distance, nearest = torch.cdist(query[own], reference[others]).min(1)
            rows.append(own[distance < 0.32])
            references.append(others[nearest[distance < 0.32]])
    return torch.cat(rows), torch.cat(references)


@torch.no_grad()
def divided_sinkhorn(logits: Tensor, temp: float) -> Tensor:
    """Return the (R, K) targets after three rounds of divisions."""
    q = (logits.float() / temp).exp().t()
    num_prototypes, num_rows = q.shape
    q /= q.sum()
    for _ in range(3):
        q /= q.sum(1, keepdim=True)
        q /= num_prototypes
        q /= q.sum(0, keepdim=True)
        q /= num_rows
    q *= num_rows
    return q.t()


def _answers(num_global: int, num_local: int) -> tuple[list[int], list[int], list[int]]:
    views = range(num_global)
    per_scene = num_local // (num_global // 2)
    return list(views), [v ^ 1 for v in views], [v // per_scene * 2 for v in range(num_local)]


def _logits(head: PrototypeHead, pyramid: FeaturePyramid, level: int) -> Tensor:
    x = head.mlp(pyramid.upcast(to_level=level))
    logits: Tensor = head.prototype(functional.normalize(x, dim=1))
    return logits


def _hide(
    objective: JointObjective, points: PointBatch, values: DistillationValues
) -> tuple[PointBatch, Tensor]:
    num_views = len(points.offset)
    cell = cells_of(points.coord, points.batch, num_views, values.mask_size)
    cell = torch.cat([points.batch[:, None], cell], dim=1)
    cells, inverse = torch.unique(cell, dim=0, return_inverse=True)
    chosen = torch.randperm(len(cells))[: int(values.mask_ratio * len(cells))]
    mask = torch.isin(inverse, chosen)
    coord = points.coord.clone()
    jitter = objective.config.distillation.mask_jitter
    coord[mask] += torch.randn(int(mask.sum()), 3).mul(jitter).clamp(max=2 * jitter)
    grid_coord = cells_of(coord, points.batch, num_views, objective.config.data.voxel_size)
    hidden = PointBatch(coord=coord, grid_coord=grid_coord, feat=points.feat, offset=points.offset)
    return hidden, mask


def _cross_modal(
    objective: JointObjective, masked: FeaturePyramid, batch: ViewBatch, patch: Tensor
) -> Tensor:
    level, proj = 1, objective.patch_proj
    assert proj is not None
    num_images, num_tokens, channels = batch.tokens.shape
    side = int(num_tokens**0.5)
    cell, feat = cell_of_points(masked, level), masked.upcast(to_level=level)
    is_seen = (patch >= 0).all(2).to(feat)
    count = feat.new_zeros(len(feat), num_images).index_add(0, cell, is_seen)
    place = feat.new_zeros(len(feat), num_images, 2).index_add(0, cell, patch * is_seen[..., None])
    rows, images = count.nonzero().unbind(1)
    place = (place[rows, images] / count[rows, images, None]).long()
    token = images * num_tokens + place[:, 0] * side + place[:, 1]
    hits = token.bincount(minlength=num_images * num_tokens)
    mean = feat.new_zeros(len(hits), feat.shape[1]).index_add(0, token, feat[rows])
    predicted = proj(mean / hits.clamp_min(1)[:, None])[hits > 0]
    wanted = batch.tokens.reshape(-1, channels)[hits > 0]
    predicted = predicted - predicted.mean(1, keepdim=True)
    wanted = wanted - wanted.mean(1, keepdim=True)
    cosine = functional.cosine_similarity(predicted, wanted, eps=1e-6)
    return objective.config.cross_modal.scale * (1 - cosine).mean()
