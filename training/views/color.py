"""Photometric augmentation of point colours; a colour or normal of zero is unknown and stays so.

Source: Concerto (arXiv 2510.23607), published configuration.
"""

import numpy as np

from training.views.crop import Planes

_CHANCE = 0.8  # of each of the four
_BRIGHTNESS = _CONTRAST = 0.4
_SATURATION = 0.2
_HUE = 0.02  # of a full turn
_TINT_CHANCE, _TINT = 0.95, 0.05
_GREY = np.array([0.2989, 0.587, 0.114], dtype=np.float32)


def drop(
    planes: Planes, chance: float, share: float, share_chance: float, rng: np.random.Generator
) -> Planes:
    """Make values unknown: all of them, or about a share of them, or none.

    Args:
        planes: (3, N) float32.
        chance: That all values are lost.
        share: Chance of each value to be lost otherwise,
        share_chance: if this happens at all.
        rng: Draws.

    Returns:
        (3, N) float32, zero where a value is lost.
    """
    if rng.random() < chance:
        return np.zeros_like(planes)
    if rng.random() < share_chance:
        return planes * (rng.random(planes.shape[1], dtype=np.float32) >= share)
    return planes


def augment_color(color: Planes, rng: np.random.Generator) -> Planes:
    """Jitter brightness, contrast, saturation and hue in random order, then tint.

    Args:
        color: (3, N) float32 RGB in 0..1; black is unknown.
        rng: Draws.

    Returns:
        (3, N) float32 RGB in 0..1; unknown colours are still zero.
    """
    is_known = color.any(axis=0)
    steps = (_brightness, _contrast, _saturation, _hue)
    for i in rng.permutation(len(steps)):
        if rng.random() < _CHANCE:
            color = steps[i](color, rng)
    if rng.random() < _TINT_CHANCE:
        tint = rng.uniform(-_TINT, _TINT, (3, 1))
        color = np.clip(color + tint.astype(np.float32), 0, 1)
    return color * is_known


def _brightness(color: Planes, rng: np.random.Generator) -> Planes:
    return _blend(color, np.float32(0), _factor(_BRIGHTNESS, rng))


def _contrast(color: Planes, rng: np.random.Generator) -> Planes:
    grey = _GREY @ color
    # Unknown colours are still zero here, and do not count.
    mean = np.float32(grey.sum() / max(1, np.count_nonzero(grey)))
    return _blend(color, mean, _factor(_CONTRAST, rng))


def _saturation(color: Planes, rng: np.random.Generator) -> Planes:
    return _blend(color, _GREY @ color, _factor(_SATURATION, rng))


def _hue(color: Planes, rng: np.random.Generator) -> Planes:
    return turn_hue(color, rng.uniform(-_HUE, _HUE))


def _factor(strength: float, rng: np.random.Generator) -> np.float32:
    return np.float32(rng.uniform(1 - strength, 1 + strength))


def _blend(color: Planes, other: Planes | np.float32, factor: np.float32) -> Planes:
    blend: Planes = np.clip(other + factor * (color - other), 0, 1)
    return blend


def turn_hue(color: Planes, turn: float) -> Planes:
    """Shift the hue of (3, N) float32 RGB in 0..1 by a share of a full turn; greys stay."""
    red, green, blue = color
    value = color.max(axis=0)
    chroma = value - color.min(axis=0)
    scale = 1 / np.where(chroma > 0, chroma, np.float32(1))
    hue = np.where(  # in sixths of a turn, red at 0
        value == red,
        (green - blue) * scale,
        np.where(value == green, 2 + (blue - red) * scale, 4 + (red - green) * scale),
    )
    hue += np.float32(6 * turn)
    hue -= 6 * np.floor(hue / 6)
    strength = np.stack([np.abs(hue - 3) - 1, 2 - np.abs(hue - 2), 2 - np.abs(hue - 4)])
    turned: Planes = value - chroma * (1 - np.clip(strength, 0, 1, out=strength))
    return turned
