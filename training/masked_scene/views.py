"""Two full views of a scene in voxels, and the crop of each that the student is given.

Clouds are planes (3, N) here, as in `training.views`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concerto_ros.errors import SourceError
from concerto_ros.model import PointBatch
from training.masked_scene.batch import MaskedBatch
from training.masked_scene.config import MaskedConfig, MaskedViewsConfig
from training.structures import SceneSample
from training.views.augmentation import augment_space, center, draw_scale
from training.views.color import augment_color, drop
from training.views.crop import Cloud, Planes, nearest
from training.views.voxels import sample_voxels


@dataclass(frozen=True, slots=True, kw_only=True)
class FullView:
    """A whole scene of N points in V voxels, augmented.

    Attributes:
        feat: (V, 9) float32: coordinates [m], colours in 0..1, normals of the point that was
            drawn for each voxel.
        grid_coord: (V, 3) int64, from the view's own minimum.
        voxel: (N,) int64, voxel of each point of the scene.
        target: (N, 6) float32, colour in -1..1 and normal of each point, NaN where unknown;
            (0, 6) if nobody asks.
        crop: (K,) int64, voxels nearest to one of them, growing.
    """

    feat: NDArray[np.float32]
    grid_coord: NDArray[np.int64]
    voxel: NDArray[np.int64]
    target: NDArray[np.float32]
    crop: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedViews:
    """Both views of one scene.

    Attributes:
        name: Of the scene.
        pair: View A and view B.
    """

    name: str
    pair: tuple[FullView, FullView]


def make_masked_views(
    sample: SceneSample, config: MaskedConfig, rng: np.random.Generator
) -> MaskedViews:
    """Draw the views of a scene; the same arguments give the same views.

    Args:
        sample: One scene of a data set; its images are not read.
        config: Of which `data.voxel_size`, `views` and `target` matter.
        rng: Draws everything.

    Raises:
        SourceError: The scene spans too far.

    Source: Masked Scene Modeling, arXiv 2504.06719, method figure; the README of this folder
        tells which choices are ours.
    """
    cloud = _part(sample, config.views.max_points, rng)
    scale = draw_scale(rng)
    try:
        views = [_view(cloud, config, scale, rng) for _ in range(2)]
    except SourceError as err:
        raise SourceError(f'{sample.name}: {err}') from err
    return MaskedViews(name=sample.name, pair=(views[0], views[1]))


def _part(sample: SceneSample, max_points: int, rng: np.random.Generator) -> Cloud:
    """Return the points that the views are made of, centred."""
    cloud = Cloud(
        coord=np.ascontiguousarray(sample.coord.T),
        color=np.ascontiguousarray(sample.color.T) * np.float32(1 / 255),
        normal=np.ascontiguousarray(sample.normal.T),
    )
    if max_points and cloud.num_points > max_points:
        middle = cloud.coord[:, rng.integers(cloud.num_points)]
        cloud = cloud.take(nearest(cloud.coord, middle, max_points))
    return cloud._replace(coord=center(cloud.coord))


def _augmented(
    cloud: Cloud, config: MaskedViewsConfig, scale: np.float32, rng: np.random.Generator
) -> Cloud:
    coord, color, normal = cloud
    if config.spatial:
        coord, normal = augment_space(coord, normal, rng, scale=scale, elastic=config.elastic)
    if config.color:
        color = augment_color(color, rng)
    return Cloud(
        coord=coord,
        color=drop(color, config.drop_color, 0.0, 0.0, rng),
        normal=drop(normal, config.drop_normal, 0.0, 0.0, rng),
    )


def _view(
    original: Cloud, config: MaskedConfig, scale: np.float32, rng: np.random.Generator
) -> FullView:
    voxel_size = config.data.voxel_size
    cloud = _augmented(original, config.views, scale, rng)
    rows, voxel = sample_voxels(cloud.coord, voxel_size, rng)
    kept = cloud.take(rows)
    cells = np.floor(kept.coord / np.float32(voxel_size)).astype(np.int64)
    middle = kept.coord[:, rng.integers(len(rows))]
    return FullView(
        feat=np.concatenate(kept).T,
        grid_coord=(cells - cells.min(axis=1, keepdims=True)).T,
        voxel=voxel,
        target=(
            _target(cloud, original)
            if config.target == 'shallow'
            else np.empty((0, 6), np.float32)
        ),
        crop=nearest(kept.coord, middle, config.views.crop_size),
    )


def _target(cloud: Cloud, original: Cloud) -> Planes:
    """Return (N, 6) float32, colours in -1..1 and normals; NaN where unknown in the original."""
    color, normal = (
        np.where(before.any(axis=0), now, np.float32(np.nan))
        for before, now in ((original.color, cloud.color), (original.normal, cloud.normal))
    )
    target: Planes = np.concatenate([2 * color - 1, normal]).T
    return target


Item = tuple[int, MaskedViews, tuple[str, ...]]


def collate_masked(items: Sequence[Item]) -> MaskedBatch:
    """Join scenes, at least one.

    Args:
        items: Of each scene the slot within the step, its views, and one sentence for each scene
            that could not be read in its place.
    """
    slots, scenes, skipped = zip(*items, strict=True)
    views = [view for scene in scenes for view in scene.pair]
    ends = np.cumsum([len(view.feat) for view in views])
    starts = ends - [len(view.feat) for view in views]
    voxel = [view.voxel + start for view, start in zip(views, starts, strict=True)]
    crop = [view.crop + start for view, start in zip(views, starts, strict=True)]
    feat = _joined([view.feat for view in views])
    return MaskedBatch(
        names=tuple(scene.name for scene in scenes),
        slots=slots,
        full=PointBatch(
            coord=feat[:, :3].contiguous(),
            grid_coord=_joined([view.grid_coord for view in views]),
            feat=feat,
            offset=torch.from_numpy(ends),
        ),
        point_voxel=_paired(voxel),
        point_target=_paired([view.target for view in views]),
        crop=_joined(crop),
        skipped=tuple(sentence for sentences in skipped for sentence in sentences),
    )


def _joined(parts: Sequence[NDArray]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.concatenate(parts)))


def _paired(parts: Sequence[NDArray]) -> Tensor:
    """Return (P, 2, ...) from what views A and B of each scene have in turn."""
    return torch.stack([_joined(parts[0::2]), _joined(parts[1::2])], dim=1)
