"""Making the views of a scene, against the steps of the published loader."""

import numpy as np
import torch
from PIL import Image

from bench.harness import paired
from bench.published_views import published_views
from concerto_ros.geometry.transforms import invert
from concerto_ros.rooms.room import SyntheticRoom
from training.config import TrainingConfig
from training.structures import Links, SceneSample, ViewBatch
from training.views.collate import collate
from training.views.multi_view import make_views

_CONFIG = TrainingConfig()
_NUM_IMAGES, _NUM_PATCHES, _IMAGE_SIZE = 4, 37, 518
_NEAR = 0.01  # how far a point may lie from the depth of its pixel [m]
_ROUNDS = 13


def main() -> None:
    """Print the comparison."""
    torch.set_num_threads(1)
    sample = room_sample()
    result = paired(
        lambda i: published_views(sample, np.random.default_rng(i)),
        lambda i: our_views(sample, np.random.default_rng(i)),
        _ROUNDS,
    )
    print(
        f'views: {result.speedup:.2f} x as fast as the published steps ({result.ours_ms:.0f} ms '
        f'against {result.reference_ms:.0f} ms, {len(sample.coord):,} points)'
    )


def our_views(sample: SceneSample, rng: np.random.Generator) -> ViewBatch:
    """Return the views of a scene as tensors."""
    views = make_views(sample, _CONFIG, rng)
    return collate([(0, views, ())], _CONFIG.data.voxel_size)


def room_sample() -> SceneSample:
    """Return a furnished room of about 160,000 points with four images."""
    room = SyntheticRoom(seed=0, kind='living_room')
    cloud = room.cloud(0.03)
    frames = room.frames(10 * _NUM_IMAGES, noise=None)
    camera = frames.camera
    side = min(camera.width, camera.height) // _NUM_PATCHES * _NUM_PATCHES
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
        patch = (pixel[rows] - corner + 0.5) / side * _NUM_PATCHES
        links.append((rows, np.full(len(rows), number), patch[:, ::-1]))
        square = frame.color[corner[1] : corner[1] + side, corner[0] : corner[0] + side]
        images.append(np.asarray(Image.fromarray(square).resize((_IMAGE_SIZE, _IMAGE_SIZE))))
    point, image, patches = (np.concatenate(parts) for parts in zip(*links, strict=True))
    return SceneSample(
        name='room',
        coord=cloud.coord,
        color=cloud.color.astype(np.float32),
        normal=cloud.normal,
        images=np.stack(images),
        tokens=np.zeros((0, 0, 0), np.float16),
        links=Links(point=point, image=image, patch=patches.astype(np.float32)),
    )


if __name__ == '__main__':
    main()
