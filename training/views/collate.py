"""From the views of several scenes to one batch of tensors."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concerto_ros.model import PointBatch
from training.structures import SceneViews, View, ViewBatch

Item = tuple[int, SceneViews, tuple[str, ...]]


def collate(items: Sequence[Item], voxel_size: float) -> ViewBatch:
    """Join scenes, at least one.

    Args:
        items: Of each scene the slot within the step, its views, and one sentence for each scene
            that could not be read in its place. All with as many global views.
        voxel_size: Edge length of a voxel [m].
    """
    slots, scenes, skipped = zip(*items, strict=True)
    global_points, global_origin = _points([v for s in scenes for v in s.global_views], voxel_size)
    local_points, local_origin = _points([v for s in scenes for v in s.local_views], voxel_size)
    images = _joined([scene.images for scene in scenes])
    link_point, link_image = _numbered_links(scenes)
    return ViewBatch(
        names=tuple(scene.name for scene in scenes),
        slots=slots,
        global_points=global_points,
        global_origin=global_origin,
        local_points=local_points,
        local_origin=local_origin,
        images=torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, 3, 1))),
        tokens=torch.from_numpy(_joined([scene.tokens for scene in scenes])).float(),
        link_point=link_point,
        link_image=link_image,
        link_patch=torch.from_numpy(np.concatenate([scene.links.patch for scene in scenes])),
        skipped=tuple(sentence for sentences in skipped for sentence in sentences),
    )


def _points(views: Sequence[View], voxel_size: float) -> tuple[PointBatch, Tensor]:
    """Join views, and return their (N, 3) places in the scene beside them."""
    ends = np.cumsum([len(view) for view in views])
    feat = np.empty((ends[-1], 9), dtype=np.float32)
    origin = np.empty((ends[-1], 3), dtype=np.float32)
    grid_coord = np.empty((ends[-1], 3), dtype=np.int64)
    for view, end in zip(views, ends, strict=True):
        rows = slice(end - len(view), end)
        feat[rows, 0:3], feat[rows, 3:6], feat[rows, 6:9] = view.coord, view.color, view.normal
        origin[rows] = view.origin_coord
        cells = np.floor(view.coord / np.float32(voxel_size))
        grid_coord[rows] = cells - cells.min(axis=0)
    points = PointBatch(
        coord=torch.from_numpy(feat[:, :3].copy()),
        grid_coord=torch.from_numpy(grid_coord),
        feat=torch.from_numpy(feat),
        offset=torch.from_numpy(ends),
    )
    return points, torch.from_numpy(origin)


def _numbered_links(scenes: Sequence[SceneViews]) -> tuple[Tensor, Tensor]:
    """Return (M,) rows of `global_points` and (M,) numbers of images in the batch."""
    points, images, first_point, first_image = [], [], 0, 0
    for scene in scenes:
        points.append(scene.links.point + first_point)
        images.append(scene.links.image + first_image)
        first_point += sum(len(view) for view in scene.global_views)
        first_image += max(len(scene.images), len(scene.tokens))
    return torch.from_numpy(np.concatenate(points)), torch.from_numpy(np.concatenate(images))


def _joined(parts: Sequence[NDArray]) -> NDArray:
    """Join along the first axis; empty parts may differ in the other ones."""
    return np.concatenate([part for part in parts if len(part)] or parts[:1])
