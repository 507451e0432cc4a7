"""Two large and several small views of a scene, each augmented on its own."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import SourceError
from training.config import AugmentationConfig, TrainingConfig, ViewsConfig
from training.structures import Links, SceneSample, SceneViews, View
from training.views.augmentation import augment_space, center
from training.views.color import augment_color, drop
from training.views.crop import Cloud, Planes, Rows, nearest
from training.views.image_augmentation import augment_images, to_float
from training.views.links import common_center, linked_images, view_links, voxel_links
from training.views.voxels import sample_voxels


def make_views(
    sample: SceneSample, config: TrainingConfig, rng: np.random.Generator
) -> SceneViews:
    """Draw the views of a scene; the same arguments give the same views.

    Args:
        sample: One scene.
        config: Of which `data.voxel_size`, `views` and `augmentation` matter.
        rng: Draws everything.

    Raises:
        SourceError: The scene has no point, one that is not finite, or spans too far.

    Source: Concerto (arXiv 2510.23607) and its published loader; training/README.md lists what
        is done in another way, and why.
    """
    augmentation = config.augmentation
    cloud, links = _voxelized(sample, config.data.voxel_size, rng)
    cloud = _dropped(cloud, augmentation, rng)
    middle = common_center(cloud.coord, links, rng)
    principal = nearest(cloud.coord, middle, config.views.max_points)
    images, links = linked_images(view_links(links, principal, cloud.num_points))
    tinted = cloud
    if augmentation.color:
        tinted = cloud._replace(color=augment_color(cloud.color, rng))
    second = _second(cloud.coord, principal, config.views, rng)
    parts = [tinted.take(rows) for rows in (principal, second)]
    small = [
        _recolored(cloud.take(rows), augmentation, rng)
        for rows in _local_rows(cloud.coord, principal, config.views, rng)
    ]
    return SceneViews(
        name=sample.name,
        global_views=tuple(_view(part, augmentation, rng) for part in parts),
        local_views=tuple(_view(part, augmentation, rng) for part in small),
        images=_chosen_images(sample.images, images, augmentation, rng),
        tokens=sample.tokens[images] if len(sample.tokens) else sample.tokens,
        links=links,
    )


def _voxelized(
    sample: SceneSample, voxel_size: float, rng: np.random.Generator
) -> tuple[Cloud, Links]:
    """Keep one point per voxel, with the links of all that are in it."""
    coord = np.ascontiguousarray(sample.coord.T)
    try:
        rows, voxel = sample_voxels(coord, voxel_size, rng)
    except SourceError as err:
        raise SourceError(f'{sample.name}: {err}') from err
    cloud = Cloud(
        coord=coord.take(rows, axis=1),
        color=_planes(sample.color, rows) * np.float32(1 / 255),
        normal=_planes(sample.normal, rows),
    )
    num_images = max(len(sample.images), len(sample.tokens))
    return cloud, voxel_links(sample.links, voxel, len(rows), num_images)


def _planes(values: NDArray[np.float32], rows: Rows) -> Planes:
    return np.ascontiguousarray(values.take(rows, axis=0).T)


def _dropped(cloud: Cloud, config: AugmentationConfig, rng: np.random.Generator) -> Cloud:
    """Make colours and normals unknown, for all views of the scene alike."""
    share, chance = config.drop_share, config.drop_share_chance
    return cloud._replace(
        color=drop(cloud.color, config.drop_color, share, chance, rng),
        normal=drop(cloud.normal, config.drop_normal, share, chance, rng),
    )


def _second(coord: Planes, principal: Rows, config: ViewsConfig, rng: np.random.Generator) -> Rows:
    """Choose the points of the second global view."""
    middle = coord[:, rng.choice(principal)]
    return nearest(coord, middle, _count(len(principal), config.second_low, 1.0, rng))


def _local_rows(
    coord: Planes, principal: Rows, config: ViewsConfig, rng: np.random.Generator
) -> Iterator[Rows]:
    """Choose the points of each local view, around one that no earlier of them covers."""
    is_covered = np.zeros(coord.shape[1], dtype=bool)
    for _ in range(config.num_local):
        candidates = principal[~is_covered[principal]]
        if not len(candidates):
            is_covered[:] = False
            candidates = principal
        count = _count(len(principal), config.local_low, config.local_high, rng)
        rows = nearest(coord, coord[:, rng.choice(candidates)], count)
        is_covered[rows] = True
        yield rows


def _count(num_points: int, low: float, high: float, rng: np.random.Generator) -> int:
    return max(1, int(rng.uniform(low, high) * num_points))


def _recolored(part: Cloud, config: AugmentationConfig, rng: np.random.Generator) -> Cloud:
    return part._replace(color=augment_color(part.color, rng)) if config.color else part


def _view(part: Cloud, config: AugmentationConfig, rng: np.random.Generator) -> View:
    coord, normal = center(part.coord), part.normal
    if config.spatial:
        coord, normal = augment_space(coord, normal, rng)
    return View(coord=coord.T, origin_coord=part.coord.T, color=part.color.T, normal=normal.T)


def _chosen_images(
    images: NDArray[np.uint8],
    rows: Rows,
    config: AugmentationConfig,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return some images with values in 0..1; none if their tokens are given instead."""
    if not len(images):
        return to_float(images)
    return augment_images(images[rows], rng) if config.image else to_float(images[rows])
