"""Clips without depth as scenes, lifted to points by a provider."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concerto_ros.config.schema import DepthConfig
from concerto_ros.errors import SourceError
from concerto_ros.io.images import decode_compressed_color
from training.datasets.layout import SceneWriter
from training.prepare.ground import upright
from training.prepare.point_maps import PointMaps, lift
from training.prepare.scene import SceneReport, evenly

_SUFFIXES = ('.jpg', '.jpeg', '.png')
_REACH = 2  # px between a pixel and the neighbours that its normal is taken from


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoJob:
    """One clip.

    Attributes:
        folder: With images, in the order of their names.
        provider: As of `load_provider`.
        num_images: Of them, evenly chosen, that are lifted together.
    """

    folder: Path
    provider: str
    num_images: int = 4

    @property
    def name(self) -> str:
        """Name of the scene: that of the folder."""
        return self.folder.resolve().name

    def write(self, writer: SceneWriter) -> SceneReport:
        """Lift the frames and set them upright; each valid pixel is a point and its link."""
        files = image_files(self.folder)
        chosen = [files[i] for i in sorted(evenly(len(files), self.num_images))]
        maps = lift(self.provider, [_read(file) for file in chosen])
        if not maps.is_valid.any():
            raise SourceError(f'{self.provider} found no point in the frames of {self.folder}')
        _write_maps(writer, maps, [file.stem for file in chosen])
        num_points = int(maps.is_valid.sum())
        return SceneReport(num_points=num_points, num_images=len(chosen), num_links=num_points)


def image_files(folder: Path) -> list[Path]:
    """Return the images of a folder, by name.

    Raises:
        SourceError: There are none.
    """
    files = sorted(f for f in folder.glob('*') if f.suffix.lower() in _SUFFIXES)
    if not files:
        raise SourceError(
            f'expected a folder with images ({", ".join(_SUFFIXES)}), found none in {folder}; '
            'cut videos into images first'
        )
    return files


def map_normals(
    points: NDArray, is_valid: NDArray[np.bool_], camera: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return normals of a point map (H, W, 3), towards the camera.

    Args:
        points: (H, W, 3) float.
        is_valid: (H, W) bool.
        camera: (3,) float64, its position.

    Returns:
        (H, W, 3) float32 unit vectors; zero at the rim, where a neighbour is not valid, and at
        jumps in depth.
    """
    normal = np.zeros(points.shape, dtype=np.float32)
    before, middle, after = (
        slice(None, -2 * _REACH),
        slice(_REACH, -_REACH),
        slice(2 * _REACH, None),
    )
    right, left = points[middle, after], points[middle, before]
    down, up = points[after, middle], points[before, middle]
    is_good = is_valid[middle, middle].copy()
    for rows, columns in ((middle, after), (middle, before), (after, middle), (before, middle)):
        is_good &= is_valid[rows, columns]
    sight = camera - points[middle, middle]
    distance = np.linalg.norm(sight, axis=-1)
    for one, other in ((right, left), (down, up)):
        jump = np.linalg.norm(one - camera, axis=-1) - np.linalg.norm(other - camera, axis=-1)
        is_good &= np.abs(jump) <= 2 * _REACH * DepthConfig().edge * distance
    raw = np.cross(down - up, right - left)
    length = np.linalg.norm(raw, axis=-1)
    is_good &= length > 0
    sign = np.where((raw * sight).sum(axis=-1) >= 0, 1.0, -1.0)
    factor = np.where(is_good, sign / np.where(is_good, length, 1.0), 0.0)
    normal[middle, middle] = np.nan_to_num(raw) * factor[..., None]
    return normal


def _write_maps(writer: SceneWriter, maps: PointMaps, names: Sequence[str]) -> None:
    is_valid = maps.is_valid
    # One seed for all: the ground of a clip does not depend on which others are prepared.
    move = upright(maps.points[is_valid], np.random.default_rng(0))
    points = move.points(maps.points)
    poses = [move.pose(T) for T in maps.T_world_camera]
    normal = np.stack(
        [map_normals(p, v, T[:3, 3]) for p, v, T in zip(points, is_valid, poses, strict=True)]
    )
    writer.write_cloud(points[is_valid], maps.color[is_valid], normal[is_valid], {})
    frame, y, x = is_valid.nonzero()  # in the order of the cloud
    rows = np.stack([x, y, np.arange(len(x))], axis=1).astype(np.int32)
    for k, name in enumerate(names):
        writer.write_image(name, maps.color[k], rows[frame == k], maps.intrinsics[k], poses[k])


def _read(file: Path) -> NDArray[np.uint8]:
    try:
        return decode_compressed_color(str(file), file.read_bytes())
    except OSError as err:
        raise SourceError(f'{file} cannot be read: {err.strerror}') from err
