"""Official ScanNet scenes: the mesh as cloud, the frames of the .sens file as images."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import SourceError
from training.datasets.layout import SceneWriter
from training.prepare.correspondence import MEASURED
from training.prepare.mesh import read_mesh, read_vertex_labels
from training.prepare.scene import SceneCloud, SceneReport, write_frames
from training.prepare.sens_file import SensFile
from training.structures import IGNORED

# NYU40 ids of the twenty classes of the benchmark, in its order (`rooms.classes.SCANNET20`).
NYU40_OF_SCANNET20 = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39)
_EVERY = 75  # frames, as published


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanNetJob:
    """One scene.

    Attributes:
        folder: With <scene>_vh_clean_2.ply, and if they are there <scene>.sens and
            <scene>_vh_clean_2.labels.ply.
        every: Every n-th frame becomes an image.
    """

    folder: Path
    every: int = _EVERY

    @property
    def name(self) -> str:
        """Name of the scene: that of the folder."""
        return self.folder.resolve().name

    def write(self, writer: SceneWriter) -> SceneReport:
        """Write the mesh's vertices with their labels, and what each image sees of them."""
        cloud = read_mesh(self._file('_vh_clean_2.ply'))
        segments: dict[str, NDArray] = {}
        notices: list[str] = []
        if (labels := self._file('_vh_clean_2.labels.ply')).exists():
            segments['segment20'] = segment20(read_vertex_labels(labels))
        writer.write_cloud(cloud.coord, cloud.color, cloud.normal, segments)
        num_images = num_links = 0
        if (sens := self._file('.sens')).exists():
            num_images, num_links, notices = self._write_images(writer, cloud, sens)
        else:
            notices = [f'{sens.name} is missing, so the scene has no images']
        return SceneReport(
            num_points=len(cloud), num_images=num_images, num_links=num_links,
            notices=tuple(notices),
        )  # fmt: skip

    def _file(self, ending: str) -> Path:
        return self.folder / f'{self.name}{ending}'

    def _write_images(
        self, writer: SceneWriter, cloud: SceneCloud, sens: Path
    ) -> tuple[int, int, list[str]]:
        num_images = num_links = 0
        with SensFile(sens) as file:
            for number, frame in file.frames(self.every):
                # The mesh does not say which side of a surface was seen.
                named = {f'{number:06d}': frame}
                num_links += write_frames(writer, cloud, named, MEASURED, normal=None)
                num_images += 1
            notices = [f'{count} frames left out: {why}' for why, count in file.dropped.items()]
        return num_images, num_links, notices


def segment20(nyu40: NDArray[np.int64]) -> NDArray[np.int16]:
    """Turn NYU40 ids (N,) into places in the list of twenty classes; -1 where in none.

    Raises:
        SourceError: An id is not one of NYU40.
    """
    if len(nyu40) and not (nyu40.min() >= 0 and nyu40.max() <= 40):
        raise SourceError(
            f'expected NYU40 ids 0..40, found {nyu40.min()}..{nyu40.max()}; take the official '
            '<scene>_vh_clean_2.labels.ply'
        )
    table = np.full(41, IGNORED, dtype=np.int16)
    table[list(NYU40_OF_SCANNET20)] = np.arange(len(NYU40_OF_SCANNET20))
    return table[nyu40]
