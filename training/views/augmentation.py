"""Spatial augmentation of a view.

Source: Concerto (arXiv 2510.23607), published configuration.
"""

import numpy as np

from training.views.crop import Planes
from training.views.elastic import warp

_SCALE = 0.1
_TURN_CHANCE, _TURN, _TILT = 0.8, np.pi, np.pi / 64  # radians
_FLIP_CHANCE = 0.5
_JITTER, _JITTER_LIMIT = 0.005, 0.02  # metres
_WARP_CHANCE = 0.95
_WARPS = ((0.2, 0.4), (0.8, 1.6))  # spacing and amplitude in metres


def center(coord: Planes) -> Planes:
    """Put the middle of the box around (3, N) points at x = y = 0, and its bottom at z = 0."""
    shift = _box_center(coord)
    shift[2] = coord[2].min()
    return coord - shift


def draw_scale(rng: np.random.Generator) -> np.float32:
    """Return a factor on coordinates around 1."""
    return np.float32(rng.uniform(1 - _SCALE, 1 + _SCALE))


def augment_space(
    coord: Planes,
    normal: Planes,
    rng: np.random.Generator,
    *,
    scale: np.float32 | None = None,
    elastic: bool = True,
) -> tuple[Planes, Planes]:
    """Scale, turn, tilt, flip, jitter and warp a view.

    Args:
        coord: (3, N) float32 [m], N > 0, centred.
        normal: (3, N) float32; turned and flipped, but not bent by the warp, as published.
        rng: Draws.
        scale: Factor that several views share; None: drawn.
        elastic: Warp.

    Returns:
        New coordinates and normals, (3, N) float32.
    """
    coord = coord * (draw_scale(rng) if scale is None else scale)
    coord, normal = _turned(coord, normal, rng)
    coord, normal = _flipped(coord, normal, rng)
    coord = jitter(coord, rng)
    if elastic and rng.random() < _WARP_CHANCE:
        for spacing, amplitude in _WARPS:
            coord = warp(coord, spacing, amplitude, rng)
    return coord, normal


def _turned(coord: Planes, normal: Planes, rng: np.random.Generator) -> tuple[Planes, Planes]:
    """Turn about z through the origin, then tilt about x and y through the middle of the box."""
    for axis, limit in ((2, _TURN), (0, _TILT), (1, _TILT)):
        if rng.random() < _TURN_CHANCE:
            R = rotation(axis, rng.uniform(-limit, limit))
            pivot = np.float32(0) if axis == 2 else _box_center(coord)
            coord, normal = R @ (coord - pivot) + pivot, R @ normal
    return coord, normal


def _flipped(coord: Planes, normal: Planes, rng: np.random.Generator) -> tuple[Planes, Planes]:
    """Mirror x, y, both or nothing."""
    sign = np.ones((3, 1), dtype=np.float32)
    sign[:2, 0] -= 2 * (rng.random(2) < _FLIP_CHANCE)
    return coord * sign, normal * sign


def jitter(coord: Planes, rng: np.random.Generator) -> Planes:
    """Move each of (3, N) coordinates by a little noise, limited to both sides."""
    noise = rng.standard_normal(coord.shape, dtype=np.float32)
    noise *= _JITTER
    np.clip(noise, -_JITTER_LIMIT, _JITTER_LIMIT, out=noise)
    noise += coord
    return noise


def rotation(axis: int, angle: float) -> Planes:
    """Return the (3, 3) float32 matrix that turns by an angle [rad] about x, y or z (0, 1, 2)."""
    R = np.eye(3, dtype=np.float32)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    R[i, i] = R[j, j] = np.cos(angle)
    R[j, i] = np.sin(angle)
    R[i, j] = -R[j, i]
    return R


def _box_center(coord: Planes) -> Planes:
    """Return (3, 1) float32, the middle of the box around (3, N) points."""
    middle: Planes = (coord.min(axis=1, keepdims=True) + coord.max(axis=1, keepdims=True)) / 2
    return middle
