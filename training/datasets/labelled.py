"""Reads labelled scenes, for probes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import SourceError
from training.datasets.cloud import read_cloud
from training.datasets.parts import REPAIR, TokenSource, read_array
from training.datasets.patch_grid import PatchGrid
from training.datasets.scene_images import read_images
from training.datasets.split_files import SampleFiles
from training.structures import IGNORED, Links


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledScene:
    """One whole scene with a label per point.

    Attributes:
        name: ROOT/SPLIT/SCENE.
        coord: (N, 3) float32 [m], z up.
        color: (N, 3) float32 RGB in 0..255; zero where unknown.
        normal: (N, 3) float32 unit vectors; zero where unknown.
        segment: (N,) int64 class of each point; none is `IGNORED`.
        images: (I, S, S, 3) uint8 RGB; (0, S, S, 3) if their tokens are given.
        tokens: (I, T, D) float16; (0, 0, 0) if images are given.
        links: Between the points and the I images.
        instance: (N,) int64 object that each point belongs to; none is `IGNORED`; None where
            objects are not told apart.
    """

    name: str
    coord: NDArray[np.float32]
    color: NDArray[np.float32]
    normal: NDArray[np.float32]
    segment: NDArray[np.int64]
    images: NDArray[np.uint8]
    tokens: NDArray[np.float16]
    links: Links
    instance: NDArray[np.int64] | None = None


def join_samples(samples: Sequence[SampleFiles]) -> list[SampleFiles]:
    """Join the samples that share a cloud: each scene once, with all of its images.

    Returns:
        Scenes in the order of their first samples, named after the folders of their clouds.
    """
    by_cloud: dict[str, list[SampleFiles]] = {}
    for sample in samples:
        by_cloud.setdefault(str(sample.cloud), []).append(sample)
    return [
        SampleFiles(
            name=f'{parts[0].name.rpartition("/")[0]}/{parts[0].cloud.name}',
            cloud=parts[0].cloud,
            images=tuple(path for part in parts for path in part.images),
            correspondences=tuple(path for part in parts for path in part.correspondences),
        )
        for parts in by_cloud.values()
    ]


def read_labelled(
    files: SampleFiles,
    segment: str,
    grid: PatchGrid | None = None,
    tokens: TokenSource | None = None,
) -> LabelledScene:
    """Read a scene with its labels and, where there is instance.npy, its objects.

    Args:
        files: Of a sample, or of a scene (`join_samples`).
        segment: Name of the file with labels, for instance "segment20".
        grid: Of an image encoder; None: images are left alone.
        tokens: Gives tokens instead of images.

    Raises:
        SourceError: A file is missing, damaged or does not fit the others.
        ConfigError: The tokens of an image are not known.
    """
    cloud = read_cloud(files.cloud)
    num_points = len(cloud.coord)
    chosen = range(len(files.images)) if grid else ()
    seen = read_images(
        files, chosen, grid or PatchGrid(image_size=1, patch_size=1), num_points, tokens
    )
    return LabelledScene(
        name=files.name,
        segment=_labels(files, segment, num_points),
        instance=_instances(files, num_points),
        **cloud._asdict(),
        **seen._asdict(),
    )


def label_file(cloud: Path, segment: str) -> Path:
    """Return the file of the labels of a cloud.

    Raises:
        SourceError: It does not exist.
    """
    path = cloud / f'{segment}.npy'
    if not path.is_file():
        others = sorted(p.stem for p in cloud.glob('segment*.npy'))
        cure = (
            f'the labels of this scene are {others}: set data.segment'
            if others
            else 'this scene has no labels: probe on labelled ones, those of `prepare rooms` say'
        )
        raise SourceError(f'{path} does not exist; {cure}')
    return path


def _labels(files: SampleFiles, segment: str, num_points: int) -> NDArray[np.int64]:
    return _integers(label_file(files.cloud, segment), num_points)


def _instances(files: SampleFiles, num_points: int) -> NDArray[np.int64] | None:
    path = files.cloud / 'instance.npy'
    return _integers(path, num_points) if path.is_file() else None


def _integers(path: Path, num_points: int) -> NDArray[np.int64]:
    """Read one number per point; a negative one becomes `IGNORED`."""
    array = read_array(path)
    if array.size != num_points or array.dtype.kind not in 'iu':
        raise SourceError(
            f'{path} should hold {num_points} integers, found {array.shape} of {array.dtype}; '
            f'{REPAIR}'
        )
    flat = array.reshape(-1).astype(np.int64)
    return np.where(flat < 0, IGNORED, flat)
