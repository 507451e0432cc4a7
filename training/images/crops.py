"""Crops of an image, and what makes each look different.

Source: Caron et al., DINO, arXiv 2104.14294, section 3.1; Zhou et al., iBOT, arXiv 2111.07832.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from training.images.config import CropsConfig
from training.tensor_batch import TensorBatch

_ASPECT = 4 / 3  # of the sides of a crop, at most
_GRAY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_TINT = 0.1  # change of single channels, as share of that of all


class Crops(NamedTuple):
    """Equally large crops of one image.

    Attributes:
        pixels: (c, S, S, 3) uint8 RGB.
        box: (c, 4) float32 (top, left, height, width) in 0..1 of the image; a crop that is
            mirrored begins on the right and has a negative width.
    """

    pixels: NDArray[np.uint8]
    box: NDArray[np.float32]


class ImageItem(NamedTuple):
    """One image of a batch.

    Attributes:
        slot: Its number within the step, over all ranks.
        global_crops: Two.
        local_crops: Smaller ones.
        skipped: One sentence for each image that could not be read in its place.
    """

    slot: int
    global_crops: Crops
    local_crops: Crops
    skipped: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBatch(TensorBatch):
    """Crops of B images as tensors on one device.

    Attributes:
        slots: Number of each image within the whole step, over all ranks.
        global_crops: (2 B, 3, S, S) uint8: i0g0, i0g1, i1g0, ...
        global_box: (2 B, 4) float32, see `Crops`.
        local_crops: (n B, 3, s, s) uint8: i0l0, i0l1, ..., i1l0, ...
        local_box: (n B, 4) float32.
        skipped: One sentence for each image that could not be read and was replaced.
    """

    slots: tuple[int, ...]
    global_crops: Tensor
    global_box: Tensor
    local_crops: Tensor
    local_box: Tensor
    skipped: tuple[str, ...] = ()

    @property
    def num_points(self) -> int:
        """Pixels of all crops."""
        return (self.global_crops.numel() + self.local_crops.numel()) // 3


def draw_crops(
    image: Image.Image, size: int, config: CropsConfig, rng: np.random.Generator
) -> tuple[Crops, Crops]:
    """Draw two global crops and some local ones.

    Args:
        image: RGB.
        size: Edge of the global crops [px].
        config: Number, sizes and colours.
        rng: Draws.
    """
    c = config
    two = [_crop(image, size, (c.global_low, 1.0), c, rng) for _ in range(2)]
    area = (c.local_low, c.local_high)
    small = [_crop(image, c.local_size, area, c, rng) for _ in range(c.num_local)]
    return _stacked(two), _stacked(small)


def _crop(
    image: Image.Image,
    size: int,
    area: tuple[float, float],
    config: CropsConfig,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], list[float]]:
    """Return (size, size, 3) pixels and their box."""
    width, height = image.size
    side = np.sqrt(rng.uniform(*area) * width * height)
    stretch = _ASPECT ** rng.uniform(-0.5, 0.5)
    w, h = min(side * stretch, width), min(side / stretch, height)
    x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
    bilinear = Image.Resampling.BILINEAR
    pixels = np.asarray(image.resize((size, size), bilinear, box=(x, y, x + w, y + h)))
    box = [y / height, x / width, h / height, w / width]
    if rng.random() < 0.5:
        pixels, box = pixels[:, ::-1], [box[0], box[1] + box[3], box[2], -box[3]]
    return change_colors(pixels, config, rng), box


def change_colors(
    pixels: NDArray[np.uint8], config: CropsConfig, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Change brightness, tint, contrast and saturation, or drop the colours.

    Args:
        pixels: (S, S, 3) uint8 RGB.
        config: How much.
        rng: Draws.
    """
    brightness, contrast, saturation = 1 + config.jitter * rng.uniform(-1, 1, 3)
    tint = 1 + config.jitter * _TINT * rng.uniform(-1, 1, 3)
    if rng.random() < config.gray:
        saturation = 0.0
    x: NDArray[np.float32] = pixels * (brightness * tint).astype(np.float32)
    gray = (x @ _GRAY)[..., None]
    mean = gray.mean()
    x -= gray
    x *= np.float32(saturation * contrast)
    x += (gray - mean) * np.float32(contrast) + mean
    return x.clip(0, 255, out=x).astype(np.uint8)


def _stacked(crops: list[tuple[NDArray[np.uint8], list[float]]]) -> Crops:
    return Crops(
        np.stack([pixels for pixels, _ in crops]),
        np.array([box for _, box in crops], dtype=np.float32),
    )


def collate_images(items: Sequence[ImageItem]) -> ImageBatch:
    """Put images together."""
    return ImageBatch(
        slots=tuple(item.slot for item in items),
        global_crops=_pixels([item.global_crops for item in items]),
        global_box=_boxes([item.global_crops for item in items]),
        local_crops=_pixels([item.local_crops for item in items]),
        local_box=_boxes([item.local_crops for item in items]),
        skipped=tuple(sentence for item in items for sentence in item.skipped),
    )


def _pixels(crops: list[Crops]) -> Tensor:
    return torch.from_numpy(np.concatenate([c.pixels for c in crops])).permute(0, 3, 1, 2)


def _boxes(crops: list[Crops]) -> Tensor:
    return torch.from_numpy(np.concatenate([c.box for c in crops]))
