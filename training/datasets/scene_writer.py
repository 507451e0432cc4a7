"""Writes scenes in the layout of the published archives."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from concerto_ros.errors import SourceError
from training.datasets.folders import cloud_folder, image_folder

NO_CORRESPONDENCE = np.full((1, 3), -1, dtype=np.int32)
_JPEG_QUALITY = 95


class SceneWriter:
    """Writes one scene; it appears under its name when the `with` block ends without error.

    Until then its files lie in ROOT/.unfinished, so that a process that is killed leaves no
    half scene. A scene of the same name is replaced.

    Attributes:
        root: Folder of the data set.
        split: For instance "train".
        scene: Name of the scene, also of its folders.
    """

    def __init__(self, root: Path, split: str, scene: str) -> None:
        self.root, self.split, self.scene = Path(root), split, scene
        self._aside = self.root / '.unfinished' / split / scene

    def __enter__(self) -> 'SceneWriter':
        shutil.rmtree(self._aside, ignore_errors=True)
        (self._aside / 'cloud').mkdir(parents=True)
        (self._aside / 'images').mkdir()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._publish()
        finally:
            shutil.rmtree(self._aside, ignore_errors=True)

    def _publish(self) -> None:
        if not (self._aside / 'cloud' / 'coord.npy').is_file():
            raise SourceError(f'Scene "{self.scene}" has no cloud: call write_cloud() once')
        # The cloud comes last: it marks the scene as complete.
        cloud = cloud_folder(self.root, self.split, self.scene)
        shutil.rmtree(cloud, ignore_errors=True)
        _replace(self._aside / 'images', image_folder(self.root, self.split, self.scene))
        _replace(self._aside / 'cloud', cloud)

    def write_cloud(
        self, coord: NDArray, color: NDArray, normal: NDArray, segments: Mapping[str, NDArray]
    ) -> None:
        """Write the points of the scene.

        Args:
            coord: (N, 3) float [m], z up.
            color: (N, 3) uint8 RGB.
            normal: (N, 3) float unit vectors; zero where unknown.
            segments: (N,) int each, by name of the file: "segment20" and other labels (-1: none),
                "instance".

        Raises:
            SourceError: The cloud is empty, or the arrays disagree in length.
        """
        arrays: dict[str, NDArray] = {
            'coord': coord.astype(np.float32),
            'color': color.astype(np.uint8),
            'normal': normal.astype(np.float32),
        }
        for name, label in segments.items():
            arrays[name] = label.astype(np.int32 if name == 'instance' else np.int16)
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(coord) == 0 or len(set(lengths.values())) > 1:
            raise SourceError(
                f'Scene "{self.scene}" needs equally many points in all arrays, at least one; '
                f'found {lengths}'
            )
        for name, array in arrays.items():
            np.save(self._aside / 'cloud' / f'{name}.npy', array)

    def write_image(
        self,
        name: str,
        color: NDArray[np.uint8],
        correspondence: NDArray,
        intrinsic: NDArray,
        pose: NDArray,
    ) -> None:
        """Write one image, as JPEG, and which points it sees.

        Args:
            name: Without suffix; images are ordered by name.
            color: (H, W, 3) uint8 RGB.
            correspondence: (M, 3) int rows (x_pixel, y_pixel, point_index); the centre of the
                first pixel is at (0, 0).
            intrinsic: (3, 3) or (4, 4), of this image.
            pose: (4, 4) T_map_camera, camera to world, optical frame.
        """
        image_path = self._aside / 'images' / 'color' / f'{name}.jpg'
        image_path.parent.mkdir(exist_ok=True)
        Image.fromarray(color).save(image_path, quality=_JPEG_QUALITY)
        self._save(name, 'correspondence', correspondence.astype(np.int32))
        self._save(name, 'intrinsic', intrinsic.astype(np.float32))
        self._save(name, 'pose', pose.astype(np.float32))

    def _save(self, name: str, kind: str, array: NDArray) -> None:
        path = self._aside / 'images' / kind / f'{name}.npy'
        path.parent.mkdir(exist_ok=True)
        np.save(path, array if len(array) else NO_CORRESPONDENCE)


def _replace(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(source, target)
