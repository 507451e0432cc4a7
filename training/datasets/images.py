"""Reads images, also as squares for an image encoder."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from concerto_ros.errors import SourceError
from training.datasets.parts import REPAIR, DataFile
from training.datasets.patch_grid import PatchGrid, SquareCrop

# What PIL raises on files that are damaged or no images.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


class Square(NamedTuple):
    """The middle of an image, resized.

    Attributes:
        pixels: (S, S, 3) uint8 RGB.
        crop: Where they come from, in pixels of the file.
    """

    pixels: NDArray[np.uint8]
    crop: SquareCrop


def find_crop(file: DataFile, grid: PatchGrid) -> SquareCrop:
    """Return the middle square of an image; only its header is read.

    Raises:
        SourceError: The file is missing or no image.
    """
    with opened_image(file) as image:
        return grid.crop(*image.size)


def read_square(file: DataFile, grid: PatchGrid) -> Square:
    """Read the middle square of an image, resized.

    A JPEG that is at least twice as large as needed is decoded at a half, quarter or eighth.

    Raises:
        SourceError: The file is missing or damaged, or no image.
    """
    with opened_image(file) as image:
        crop = grid.crop(*image.size)
        box = _shrink(image, crop, grid.image_size / crop.side)
        size = (grid.image_size, grid.image_size)
        square = image.convert('RGB').resize(size, Image.Resampling.BILINEAR, box=box)
    return Square(np.asarray(square), crop)


def _shrink(
    image: Image.Image, crop: SquareCrop, zoom: float
) -> tuple[float, float, float, float]:
    """Let a JPEG be decoded small, if that is still enough; return the place of the crop."""
    width, height = image.size
    image.draft('RGB', (ceil(width * zoom), ceil(height * zoom)))
    factor = round(width / image.size[0])
    right, bottom = crop.left + crop.side, crop.top + crop.side
    return crop.left / factor, crop.top / factor, right / factor, bottom / factor


@contextmanager
def opened_image(file: DataFile) -> Iterator[Image.Image]:
    """Open an image, of which pixels are read when they are asked for.

    Raises:
        SourceError: The file is missing, damaged or no image, now or inside the `with` block.
    """
    try:
        with file.open('rb') as stream, Image.open(stream) as image:
            yield image
    except _DAMAGED as err:
        raise SourceError(f'{file} is no image that can be read ({err}); {REPAIR}') from err
