"""Cells of one stage of a network: where they lie in the scene, and their features."""

from dataclasses import dataclass

import torch
from torch import Tensor

from concerto_ros.model import FeaturePyramid
from concerto_ros.model.segment_ops import segment_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewCells:
    """The cells at which views are compared.

    Attributes:
        pyramid: Features of all levels.
        level: The one whose R rows are the cells.
        origin: (R, 3) float32 [m], mean place of their points in the scene.
        view: (R,) int64, number of the view.
        num_views: V, views that are empty included.
    """

    pyramid: FeaturePyramid
    level: int
    origin: Tensor
    view: Tensor
    num_views: int

    def __len__(self) -> int:
        return len(self.origin)


def view_cells(pyramid: FeaturePyramid, origin: Tensor, level: int) -> ViewCells:
    """Collect the cells of a level.

    Args:
        pyramid: Of N points.
        origin: (N, 3) float32 [m], places of the points in the scene.
        level: Of the pyramid.
    """
    offset = pyramid.levels[level].offset
    counts = offset.diff(prepend=offset.new_zeros(1))
    views = torch.arange(len(offset), device=offset.device)
    num_cells = len(pyramid.levels[level].feat)
    return ViewCells(
        pyramid=pyramid,
        level=level,
        origin=segment_mean(origin, cell_of_points(pyramid, level), num_cells),
        view=views.repeat_interleave(counts, output_size=num_cells),
        num_views=len(offset),
    )


def cell_of_points(pyramid: FeaturePyramid, level: int) -> Tensor:
    """Return the (N,) int64 row of a level that holds each point."""
    cell = pyramid.levels[0].inverse
    for coarser in pyramid.levels[1 : level + 1]:
        cell = coarser.inverse[cell]
    return cell


def upcast_rows(pyramid: FeaturePyramid, level: int, rows: Tensor) -> Tensor:
    """Return (R, C): some rows of `pyramid.upcast(to_level=level)`, without forming the others."""
    parts = [pyramid.levels[level].feat[rows]]
    for coarser in pyramid.levels[level + 1 :]:
        rows = coarser.inverse[rows]
        parts.append(coarser.feat[rows])
    return torch.cat(parts, dim=1)
