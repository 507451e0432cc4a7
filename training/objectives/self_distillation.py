"""What the student says of hidden or partial views, against what the teacher says of full ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.config import DistillationConfig
from training.objectives.cells import ViewCells
from training.objectives.heads import Branch
from training.objectives.losses import (
    prototype_cross_entropy,
    prototype_usage,
    sinkhorn_knopp,
    view_mean,
)
from training.objectives.matching import Matches, match

_HEADS = {'mask': 'mask_head', 'roll': 'mask_head', 'unmask': 'unmask_head'}


@dataclass(frozen=True, slots=True, kw_only=True)
class DistilledViews:
    """The cells that are compared; a pass that no term asks for is absent.

    Attributes:
        num_scenes: B.
        teacher: Of the global views s0g0, s0g1, s1g0, ...
        masked: Of the same views, partly hidden from the student.
        local: Of the local views s0l0, s0l1, ...
    """

    num_scenes: int
    teacher: ViewCells
    masked: ViewCells | None
    local: ViewCells | None


def term_weights(config: DistillationConfig) -> dict[str, float]:
    """Return the weights of the terms that are on."""
    weights = {
        'mask': config.mask_weight,
        'roll': config.roll_weight,
        'unmask': config.unmask_weight,
    }
    return {name: weight for name, weight in weights.items() if weight > 0}


def student_heads(config: DistillationConfig) -> list[str]:
    """Return the names of the student's heads in use; the teacher has the first of them."""
    return list(dict.fromkeys(_HEADS[name] for name in term_weights(config)))


def self_distillation(
    student: Branch,
    teacher: Branch,
    views: DistilledViews,
    config: DistillationConfig,
    teacher_temp: float,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Compare the views, cell by nearest cell.

    Args:
        student: Its heads are trained by this.
        teacher: Its head makes the targets.
        views: What both made of the views.
        config: Radius, temperatures, which terms are on.
        teacher_temp: Temperature of the targets.

    Returns:
        The terms `mask`, `roll` and `unmask`, () float32 each with gradient, and monitors:
        `matched`, the share of student cells that found a teacher cell, and `prototypes`, the
        share of prototypes that the teacher uses, see `prototype_usage`.

    Source: Concerto, arXiv 2510.23607, section 3, and its published code; Sonata, arXiv
        2503.16429, section 4.
    """
    pairs = {name: _pairs(name, views, config.match_radius) for name in term_weights(config)}
    target_rows, references = _compact([p.reference for p in pairs.values()], len(views.teacher))
    with torch.no_grad():
        head = teacher.head(student_heads(config)[0])
        target_logits = head(views.teacher.pyramid, views.teacher.level, target_rows)
    predictions = _predictions(student, views, pairs)
    losses = {}
    for (name, prediction), reference in zip(predictions.items(), references, strict=True):
        target = sinkhorn_knopp(target_logits[reference], teacher_temp, config.sinkhorn_iterations)
        loss = prototype_cross_entropy(prediction, target, config.student_temp)
        cells = _student_cells(name, views)
        losses[name] = view_mean(loss, cells.view[pairs[name].query], cells.num_views)
    matched = _matched(pairs, views)
    monitors = {
        'matched': target_logits.new_tensor(matched, dtype=torch.float32),
        'prototypes': prototype_usage(target_logits, teacher_temp),
    }
    return losses, monitors


def _student_cells(name: str, views: DistilledViews) -> ViewCells:
    cells = views.local if name == 'unmask' else views.masked
    assert cells is not None
    return cells


def _pairs(name: str, views: DistilledViews, radius: float) -> Matches:
    """Match the student's cells of a term with the teacher's cells of the views they answer to."""
    cells, num_scenes = _student_cells(name, views), views.num_scenes
    per_scene = views.teacher.num_views // num_scenes
    if name == 'mask':
        view = cells.view
    elif name == 'roll':
        first = cells.view - cells.view % per_scene
        view = first + (cells.view + 1 - first) % per_scene
    else:  # the principal view
        view = cells.view // (cells.num_views // num_scenes) * per_scene
    return match(cells.origin, view, views.teacher.origin, views.teacher.view, radius)


def _predictions(
    student: Branch, views: DistilledViews, pairs: Mapping[str, Matches]
) -> dict[str, Tensor]:
    """Return the (R, K) logits of each term; terms of one head share its work."""
    predictions: dict[str, Tensor] = {}
    for head in dict.fromkeys(_HEADS[name] for name in pairs):
        names = [name for name in pairs if _HEADS[name] == head]
        cells = _student_cells(names[0], views)
        rows, queries = _compact([pairs[name].query for name in names], len(cells))
        logits = student.head(head)(cells.pyramid, cells.level, rows)
        predictions |= {name: logits[query] for name, query in zip(names, queries, strict=True)}
    return predictions


def _compact(lists: Sequence[Tensor], num_rows: int) -> tuple[Tensor, list[Tensor]]:
    """Return the rows that any of the lists names, and the lists in terms of these."""
    is_named = torch.zeros(num_rows, dtype=torch.bool, device=lists[0].device)
    for rows in lists:
        is_named[rows] = True
    place = is_named.cumsum(0) - 1
    return is_named.nonzero().squeeze(1), [place[rows] for rows in lists]


def _matched(pairs: Mapping[str, Matches], views: DistilledViews) -> float:
    num_cells = sum(len(_student_cells(name, views)) for name in pairs)
    return sum(len(found.query) for found in pairs.values()) / max(1, num_cells)
