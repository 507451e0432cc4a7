"""A room to train on: its cloud with images and links, parts of it, and views as a batch."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from concerto_ros.geometry.transforms import invert
from concerto_ros.rooms.room import SyntheticRoom
from training.config import CrossModalConfig, TrainingConfig
from training.structures import Links, SceneSample, ViewBatch
from training.views.collate import collate
from training.views.multi_view import make_views

_NUM_IMAGES, _IMAGE_SIZE = 4, 518
_NEAR = 0.01  # how far a point may lie from the depth of its pixel [m]


class TokenShape(NamedTuple):
    """What an image encoder makes of an image.

    Attributes:
        patches: P, per side.
        channels: D of each token.
    """

    patches: int
    channels: int


def token_shape(config: TrainingConfig) -> TokenShape:
    """Return the tokens of the published image encoder, or about those of a small one."""
    cross_modal = config.cross_modal
    if cross_modal.image_encoder == CrossModalConfig().image_encoder:
        return TokenShape(cross_modal.image_size // 14, 1536)
    return TokenShape(14, 384)


def room_sample(spacing: float = 0.03, patches: int = 37) -> SceneSample:
    """Return a furnished room with four images; at 3 cm it has about 160,000 points.

    Args:
        spacing: Of the points [m].
        patches: Of the image encoder, per side.
    """
    room = SyntheticRoom(seed=0, kind='living_room')
    cloud = room.cloud(spacing)
    frames = room.frames(10 * _NUM_IMAGES, noise=None)
    camera = frames.camera
    side = min(camera.width, camera.height) // patches * patches
    corner = np.array([camera.width - side, camera.height - side]) // 2
    images, links = [], []
    for number, frame in enumerate(frames[i] for i in range(0, len(frames), 10)):
        T_camera_map = invert(frame.T_map_depth)
        in_camera = cloud.coord @ T_camera_map[:3, :3].T + T_camera_map[:3, 3]
        pixel, depth = camera.project(in_camera)
        place = np.rint(pixel).astype(int)
        inside = ((place >= corner) & (place < corner + side)).all(1) & (depth > 0)
        rows = np.flatnonzero(inside)
        rows = rows[np.abs(frame.depth[place[rows, 1], place[rows, 0]] - depth[rows]) < _NEAR]
        place = (pixel[rows] - corner + 0.5) / side * patches
        links.append((rows, np.full(len(rows), number), place[:, ::-1]))
        square = frame.color[corner[1] : corner[1] + side, corner[0] : corner[0] + side]
        images.append(np.asarray(Image.fromarray(square).resize((_IMAGE_SIZE, _IMAGE_SIZE))))
    point, image, patch = (np.concatenate(parts) for parts in zip(*links, strict=True))
    return SceneSample(
        name='room',
        coord=cloud.coord,
        color=cloud.color.astype(np.float32),
        normal=cloud.normal,
        images=np.stack(images),
        tokens=np.zeros((0, 0, 0), np.float16),
        links=Links(point=point, image=image, patch=patch.astype(np.float32)),
    )


def part(sample: SceneSample, num: int) -> SceneSample:
    """Return so many points around the middle of those in images; tokens instead of images.

    The tokens have one channel: what it takes to read them is no part of any benchmark.
    """
    middle = sample.coord[sample.links.point].mean(0)
    rows = np.argpartition(np.square(sample.coord - middle).sum(1), num - 1)[:num]
    tokens = np.zeros((len(sample.images), 1, 1), np.float16)
    return take(replace(sample, images=sample.images[:0], tokens=tokens), rows)


def take(sample: SceneSample, rows: NDArray[np.int64]) -> SceneSample:
    """Return some points of a scene, with their links."""
    place = np.full(len(sample.coord), -1)
    place[rows] = np.arange(len(rows))
    links = sample.links
    kept = place[links.point] >= 0
    return replace(
        sample,
        coord=sample.coord[rows],
        color=sample.color[rows],
        normal=sample.normal[rows],
        links=Links(
            point=place[links.point[kept]], image=links.image[kept], patch=links.patch[kept]
        ),
    )


def our_views(sample: SceneSample, rng: np.random.Generator, config: TrainingConfig) -> ViewBatch:
    """Return the views of a scene as tensors."""
    views = make_views(sample, config, rng)
    return collate([(0, views, ())], config.data.voxel_size)


def batch_of(scene: SceneSample, seed: int, config: TrainingConfig) -> ViewBatch:
    """Return the views that ours makes of a scene, with random tokens of the right size."""
    batch = our_views(scene, np.random.default_rng(seed), config)
    generator = torch.Generator().manual_seed(seed)
    patches, channels = token_shape(config)
    tokens = torch.randn(batch.num_images, patches**2, channels, generator=generator)
    return replace(batch, tokens=tokens)


def dense_patches(batch: ViewBatch) -> Tensor:
    """Return (N, V, 2) places in the images, -1 where a point is not seen."""
    patches = torch.full((len(batch.global_points), batch.num_images, 2), -1.0)
    patches[batch.link_point, batch.link_image] = batch.link_patch
    return patches
