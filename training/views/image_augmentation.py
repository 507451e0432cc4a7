"""Weak augmentation of images.

Source: Concerto (arXiv 2510.23607), published configuration.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

_TINT_CHANCE, _TINT = 0.95, 0.05
_BLUR_CHANCE = 0.5
_BLUR_LOW, _BLUR_HIGH = 0.1, 2.0  # pixels


def augment_images(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """Blur and tint the images of a scene, all of them alike.

    Args:
        images: (I, S, S, 3) uint8 RGB.
        rng: Draws.

    Returns:
        (I, S, S, 3) float32 RGB in 0..1.
    """
    if rng.random() < _BLUR_CHANCE:
        images = _blurred(images, rng.uniform(_BLUR_LOW, _BLUR_HIGH))
    result = to_float(images)
    if rng.random() < _TINT_CHANCE:
        result += rng.uniform(-_TINT, _TINT, 3).astype(np.float32)
        np.clip(result, 0, 1, out=result)
    return result


def to_float(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return images with values in 0..1 instead of 0..255."""
    return images * np.float32(1 / 255)


def _blurred(images: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    blur = ImageFilter.GaussianBlur(sigma)
    result = np.empty_like(images)
    for source, target in zip(images, result, strict=True):
        target[:] = np.asarray(Image.fromarray(source).filter(blur))
    return result
