"""Augmentation of labelled scenes, and the 13 variants that published results are summed over.

Source: published configurations of the probes (ScanNet).
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from training.datasets.labelled import LabelledScene
from training.views.augmentation import center, jitter, rotation
from training.views.elastic import warp

_DROPPED = 0.2  # share of the points
_CHANCE = 0.5  # of each turn, tilt and flip
_TURN, _TILT = np.pi, np.pi / 64  # radians
_SCALE = 0.1
_WARP_CHANCE, _WARPS = 0.95, ((0.2, 0.4), (0.8, 1.6))  # spacing and amplitude in metres
_STRETCH_CHANCE = 0.2
_COLOR_CHANCE, _COLOR = 0.95, 0.05 * 255
_SCALES = (1.0, 0.95, 1.05)

Planes = NDArray[np.float32]


def augment_scene(scene: LabelledScene, rng: np.random.Generator) -> LabelledScene:
    """Return a scene with a fifth of the points left out, moved, bent and tinted."""
    rows = np.flatnonzero(rng.random(len(scene.coord)) >= _DROPPED)
    rows = rows if len(rows) else np.arange(len(scene.coord))
    coord, normal = center(scene.coord[rows].T), scene.normal[rows].T
    coord, normal = _moved(coord, normal, rng)
    return replace(
        scene,
        coord=np.ascontiguousarray(_bent(coord, rng).T),
        normal=np.ascontiguousarray(normal.T),
        color=augment_color(scene.color[rows], rng),
        segment=scene.segment[rows],
        instance=None if scene.instance is None else scene.instance[rows],
    )


def augment_color(color: Planes, rng: np.random.Generator) -> Planes:
    """Stretch, tint and jitter (N, 3) float32 RGB in 0..255; black is unknown and stays so."""
    is_known = color.any(axis=1, keepdims=True)
    if rng.random() < _STRETCH_CHANCE:
        color = _stretched(color, rng.random())
    if rng.random() < _COLOR_CHANCE:
        color = color + rng.uniform(-_COLOR, _COLOR, (1, 3)).astype(np.float32)
    if rng.random() < _COLOR_CHANCE:
        color = color + np.float32(_COLOR) * rng.standard_normal(color.shape, dtype=np.float32)
    known: Planes = np.clip(color, 0, 255) * is_known
    return known


def scene_variants(scene: LabelledScene) -> Iterator[LabelledScene]:
    """Yield 13 variants with the same points: four turns at three scales, and x and y flipped.

    The last equals half a turn, which thereby counts twice, as published.
    """
    coord, normal = center(scene.coord.T), scene.normal.T
    for scale in _SCALES:
        for quarter in range(4):
            R = rotation(2, quarter * np.pi / 2)
            yield _placed(scene, R @ coord * np.float32(scale), R @ normal)
    flip = np.array([[-1], [-1], [1]], dtype=np.float32)
    yield _placed(scene, coord * flip, normal * flip)


def _placed(scene: LabelledScene, coord: Planes, normal: Planes) -> LabelledScene:
    return replace(
        scene, coord=np.ascontiguousarray(coord.T), normal=np.ascontiguousarray(normal.T)
    )


def _moved(coord: Planes, normal: Planes, rng: np.random.Generator) -> tuple[Planes, Planes]:
    """Turn, tilt, scale and flip."""
    for axis, limit in ((2, _TURN), (0, _TILT), (1, _TILT)):
        if rng.random() < _CHANCE:
            R = rotation(axis, rng.uniform(-limit, limit))
            coord, normal = R @ coord, R @ normal
    sign = np.ones((3, 1), dtype=np.float32)
    sign[:2, 0] -= 2 * (rng.random(2) < _CHANCE)
    scale = np.float32(rng.uniform(1 - _SCALE, 1 + _SCALE))
    return coord * sign * scale, normal * sign


def _bent(coord: Planes, rng: np.random.Generator) -> Planes:
    """Jitter and warp."""
    coord = jitter(coord, rng)
    if rng.random() < _WARP_CHANCE:
        for spacing, amplitude in _WARPS:
            coord = warp(coord, spacing, amplitude, rng)
    return coord


def _stretched(color: Planes, share: float) -> Planes:
    """Blend with the colours stretched to 0..255, by channel."""
    low, high = color.min(axis=0), color.max(axis=0)
    stretched = (color - low) * (255 / np.maximum(high - low, 1))
    blended: Planes = color + np.float32(share) * (stretched - color)
    return blended
