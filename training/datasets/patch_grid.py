"""From pixels of an image to patches of an image encoder."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import ConfigError


class SquareCrop(NamedTuple):
    """The middle square of an image [px].

    Attributes:
        left: First column.
        top: First row.
        side: Columns and rows.
    """

    left: int
    top: int
    side: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchGrid:
    """How an image encoder sees an image.

    Attributes:
        image_size: Images are resized to this square [px].
        patch_size: Pixels per patch of the resized image.
    """

    image_size: int
    patch_size: int

    def __post_init__(self) -> None:
        if self.image_size < 1 or self.patch_size < 1 or self.image_size % self.patch_size:
            raise ConfigError(
                f'cross_modal.image_size should be a multiple of {self.patch_size}, the patches '
                f'of the image encoder; got {self.image_size}'
            )

    @property
    def num_patches(self) -> int:
        """Patches per side."""
        return self.image_size // self.patch_size

    def crop(self, width: int, height: int) -> SquareCrop:
        """Return the largest middle square, the same for all image encoders.

        The published loader (specification of Concerto, section 4.5) cuts it further to whole
        pixels per patch, of all images by the size of the first. Here patches may hold parts of
        pixels, so that training with and without images sees the same links.
        """
        side = min(width, height)
        return SquareCrop((width - side) // 2, (height - side) // 2, side)

    def patches(
        self, x: NDArray, y: NDArray, crop: SquareCrop
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Say in which patches pixels are.

        Args:
            x: (M,) columns of the whole image; the centre of the first pixel is at (0, 0).
            y: (M,) rows.
            crop: Of this image.

        Returns:
            patch: (K, 2) float32 (row, column) of the pixels inside the crop, in 0..num_patches
                without the end; the first patch covers 0..1.
            inside: (K,) which pixels these are, growing.
        """
        column = x - np.float32(crop.left - 0.5)  # from the corner of the crop
        row = y - np.float32(crop.top - 0.5)
        side, scale = np.float32(crop.side), np.float32(self.num_patches / crop.side)
        inside = np.flatnonzero((column >= 0) & (column < side) & (row >= 0) & (row < side))
        patch = np.empty((len(inside), 2), dtype=np.float32)
        np.multiply(row[inside], scale, out=patch[:, 0])
        np.multiply(column[inside], scale, out=patch[:, 1])
        end = np.nextafter(np.float32(self.num_patches), np.float32(0))
        return np.minimum(patch, end, out=patch), inside
