"""What the pixels of an image show, in the space of texts: from an encoder or from files."""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concerto_ros.errors import SourceError
from training.datasets.images import opened_image, read_square
from training.datasets.links import read_links
from training.datasets.parts import REPAIR, read_array
from training.datasets.patch_grid import PatchGrid
from training.image_encoders import ImageEncoder


class LinkedImage(NamedTuple):
    """An image of a scene.

    Attributes:
        image: File.
        links: File of the points that its pixels see.
        num_points: Of the scene.
    """

    image: Path
    links: Path
    num_points: int


class PointTexts(NamedTuple):
    """What an image shows of points.

    Attributes:
        point: (M,) int64.
        embedding: (M, D) float32, of any length.
    """

    point: Tensor
    embedding: Tensor


class PixelTexts(Protocol):
    """Where embeddings of pixels come from.

    Attributes:
        dim: D.
    """

    dim: int

    def __call__(self, image: LinkedImage) -> PointTexts:
        """Return what the middle square of an image shows of the points that it sees.

        Raises:
            SourceError: A file is missing or damaged.
        """
        ...


class EncodedPixels:
    """The tokens of an encoder; a pixel has that of its patch.

    Args:
        encoder: Whose tokens are in the space of texts; on `device`.
        image_size: Of the squares that it sees [px].
        device: Where it is.
    """

    def __init__(self, encoder: ImageEncoder, image_size: int, device: torch.device) -> None:
        self.dim = encoder.num_channels
        self._encoder, self._device = encoder, device
        self._grid = PatchGrid(image_size=image_size, patch_size=encoder.patch_size)

    def __call__(self, image: LinkedImage) -> PointTexts:
        """Return the token at each point that the image sees."""
        square = read_square(image.image, self._grid)
        links = read_links(image.links, 0, self._grid, square.crop, image.num_points)
        pixels = torch.tensor(square.pixels, device=self._device).permute(2, 0, 1)[None] / 255
        row, column = torch.from_numpy(links.patch).long().unbind(1)
        token = (row * self._grid.num_patches + column).to(self._device)
        point = torch.from_numpy(links.point).to(self._device)
        return PointTexts(point, self._encoder(pixels)[0, token])


class StoredPixels:
    """Arrays that any other method wrote, ROOT/images/SPLIT/SCENE/FOLDER/NAME.npy.

    Each holds (h, w, D) numbers of a whole image, of any resolution.

    Args:
        folder: Name of the folder beside the folder of the images.
        dim: D.
        device: Where results are wanted.
    """

    def __init__(self, folder: str, dim: int, device: torch.device) -> None:
        self.dim = dim
        self._folder, self._device = folder, device

    def __call__(self, image: LinkedImage) -> PointTexts:
        """Return the embedding of the pixel at each point that the image sees."""
        with opened_image(image.image) as opened:
            width, height = opened.size
        crop = PatchGrid(image_size=1, patch_size=1).crop(width, height)
        pixels = PatchGrid(image_size=crop.side, patch_size=1)
        links = read_links(image.links, 0, pixels, crop, image.num_points)
        array = self._read(image.image)
        row = _scaled(links.patch[:, 0] + crop.top, height, len(array))
        column = _scaled(links.patch[:, 1] + crop.left, width, array.shape[1])
        embedding = torch.from_numpy(array[row, column])
        return PointTexts(
            torch.from_numpy(links.point).to(self._device), embedding.to(self._device).float()
        )

    def _read(self, image: Path) -> NDArray:
        path = image.parent.parent / self._folder / f'{image.stem}.npy'
        array = read_array(path)
        if array.ndim != 3 or array.shape[2] != self.dim or array.dtype.kind != 'f':
            raise SourceError(
                f'{path} should hold (h, w, {self.dim}) floats, as many as the text encoder has, '
                f'found {array.shape} of {array.dtype}: write it with the image encoder that '
                f'belongs to text.encoder, or {REPAIR}'
            )
        return array


def _scaled(place: NDArray[np.float32], length: int, new_length: int) -> NDArray[np.int64]:
    """Return in which of `new_length` equal parts places in 0..length are."""
    part: NDArray[np.int64] = np.minimum(place * (new_length / length), new_length - 1).astype(int)
    return part
