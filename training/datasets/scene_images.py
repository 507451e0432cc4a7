"""Reads the images of a sample, or their tokens, and which points they see."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import ConfigError
from training.datasets.images import find_crop, read_square
from training.datasets.links import join_links, read_links
from training.datasets.parts import DataFile, SampleParts, TokenSource
from training.datasets.patch_grid import PatchGrid, SquareCrop
from training.structures import Links


class SceneImages(NamedTuple):
    """Images of a sample, as `SceneSample` has them.

    Attributes:
        images: (I, S, S, 3) uint8 RGB; (0, S, S, 3) if tokens are given.
        tokens: (I, T, D) float16; (0, 0, 0) if images are given.
        links: To the points.
    """

    images: NDArray[np.uint8]
    tokens: NDArray[np.float16]
    links: Links


def read_images(
    parts: SampleParts,
    chosen: Sequence[int],
    grid: PatchGrid,
    num_points: int,
    tokens: TokenSource | None,
) -> SceneImages:
    """Read some images of a sample.

    Args:
        parts: The sample.
        chosen: Numbers of its images.
        grid: Of the image encoder.
        num_points: Of the cloud.
        tokens: If given, no image is decoded, and it must know them all.

    Raises:
        SourceError: A file is missing or damaged, or names a point that does not exist.
        ConfigError: The tokens of an image are not known.
    """
    files = [parts.images[number] for number in chosen]
    images = np.zeros((0, grid.image_size, grid.image_size, 3), dtype=np.uint8)
    known = np.zeros((0, 0, 0), dtype=np.float16)
    crops: list[SquareCrop] = []
    if tokens is not None and files:
        crops = [find_crop(file, grid) for file in files]
        known = np.stack([_known(tokens, file, grid) for file in files])
    elif files:
        squares = [read_square(file, grid) for file in files]
        images, crops = np.stack([s.pixels for s in squares]), [s.crop for s in squares]
    links = [
        read_links(parts.correspondences[number], place, grid, crops[place], num_points)
        for place, number in enumerate(chosen)
    ]
    return SceneImages(images, known, join_links(links))


def _known(tokens: TokenSource, file: DataFile, grid: PatchGrid) -> NDArray[np.float16]:
    found = tokens.get(file)
    if found is None:
        read_square(file, grid)  # raises if it is damaged: then it cannot have tokens
        raise ConfigError(
            f'the tokens of {file} are not in cross_modal.token_cache: fill it with all images '
            'of data.splits first, in a folder that all machines share, or leave it empty'
        )
    return found
