"""Reads clouds together with a few images and the links between them.

Example:
    grid = PatchGrid(image_size=518, patch_size=14)
    scenes = open_scenes(DataConfig(splits='data/rooms/splits/train.json'), grid)
    sample = scenes.read(0, np.random.default_rng(0))
"""

from collections.abc import Sequence

import numpy as np

from training.datasets.cloud import read_cloud
from training.datasets.parts import DataFile, SampleParts, TokenSource
from training.datasets.patch_grid import PatchGrid
from training.datasets.scene_images import read_images
from training.structures import SceneSample


class SceneDataset:
    """Samples by index.

    Args:
        parts: From where each sample is read.
        grid: Of the image encoder.
        max_images: Of more, as many are drawn; 0: images are left alone.
        tokens: Gives tokens instead of images and must know them all. None: images are decoded.
    """

    def __init__(
        self,
        parts: Sequence[SampleParts],
        grid: PatchGrid,
        max_images: int,
        tokens: TokenSource | None = None,
    ) -> None:
        self._parts, self._grid, self._max_images, self._tokens = parts, grid, max_images, tokens

    def __len__(self) -> int:
        return len(self._parts)

    def image_files(self) -> list[DataFile]:
        """Return all images of all samples, each once though several samples may share it."""
        return list(dict.fromkeys(file for parts in self._parts for file in parts.images))

    def read(self, index: int, rng: np.random.Generator) -> SceneSample:
        """Read a sample; the same arguments give the same result.

        Args:
            index: Number of the sample.
            rng: Draws the images, if there are too many.

        Raises:
            SourceError: One of its files is missing, damaged or does not fit the others.
            ConfigError: The tokens of one of its images are not known.
        """
        parts = self._parts[index]
        cloud = read_cloud(parts.cloud)
        chosen = _draw(len(parts.images), self._max_images, rng)
        seen = read_images(parts, chosen, self._grid, len(cloud.coord), self._tokens)
        return SceneSample(name=parts.name, **cloud._asdict(), **seen._asdict())


def _draw(num: int, most: int, rng: np.random.Generator) -> Sequence[int]:
    """Return the numbers of the images to read, in their order."""
    return range(num) if num <= most else sorted(rng.choice(num, most, replace=False).tolist())
