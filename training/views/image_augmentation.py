"""Weak augmentation of images.

Source: Concerto (arXiv 2510.23607), published configuration.
"""

import numpy as np
from numpy.typing import NDArray

_TINT_CHANCE, _TINT = 0.95, 0.05
_BLUR_CHANCE = 0.5
_BLUR_LOW, _BLUR_HIGH = 0.1, 2.0  # pixels
_BLUR_REACH = 4  # pixels


def augment_images(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """Tint and blur the images of a scene, all of them alike.

    Args:
        images: (I, S, S, 3) uint8 RGB, S > 4.
        rng: Draws.

    Returns:
        (I, S, S, 3) float32 RGB in 0..1.
    """
    result = to_float(images)
    if rng.random() < _TINT_CHANCE:
        result += rng.uniform(-_TINT, _TINT, 3).astype(np.float32)
        np.clip(result, 0, 1, out=result)
    if rng.random() < _BLUR_CHANCE:
        sigma = rng.uniform(_BLUR_LOW, _BLUR_HIGH)
        for image in result:
            image[:] = blur(image, sigma)
    return result


def to_float(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return images with values in 0..1 instead of 0..255."""
    return images * np.float32(1 / 255)


def blur(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Filter an (S, S, 3) image with a Gaussian of nine pixels that is mirrored at the border."""
    weights = np.exp(-0.5 * (np.arange(_BLUR_REACH + 1) / sigma) ** 2)
    weights /= 2 * weights.sum() - weights[0]
    for axis in (0, 1):
        image = _filtered(image, weights.astype(np.float32), axis)
    return image


def _filtered(
    image: NDArray[np.float32], weights: NDArray[np.float32], axis: int
) -> NDArray[np.float32]:
    """Filter along an axis; `weights` are those of the middle and of one side."""
    reach = [(_BLUR_REACH, _BLUR_REACH) if k == axis else (0, 0) for k in range(3)]
    lines = np.pad(image, reach, mode='reflect').swapaxes(0, axis)
    size = image.shape[axis]
    result: NDArray[np.float32] = image * weights[0]
    target = result.swapaxes(0, axis)  # a view
    pair = np.empty_like(target)
    for k, weight in enumerate(weights[1:], start=1):
        np.add(lines[_BLUR_REACH + k :][:size], lines[_BLUR_REACH - k :][:size], out=pair)
        pair *= weight
        target += pair
    return result
