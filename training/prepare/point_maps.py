"""How frames without depth enter: a provider turns them into a point for each pixel.

Example:
    class Vggt:
        def __call__(self, frames):
            ...  # run the network
            return PointMaps(color=..., points=..., confidence=..., T_world_camera=...,
                             intrinsics=...)

    def make():  # python -m training.prepare video CLIP --provider my_module:make -o ROOT
        return Vggt()
"""

import importlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import ConfigError, SourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class PointMaps:
    """F frames of one clip as points, in one world of any scale.

    Attributes:
        color: (F, H, W, 3) uint8 RGB, the frames at the resolution of the points.
        points: (F, H, W, 3) float32, the point that each pixel shows, in the world.
        confidence: (F, H, W) float32; a pixel above 0 with finite coordinates is valid.
        T_world_camera: (F, 4, 4) float64, from the optical frame (z forward, y down).
        intrinsics: (F, 3, 3) float64 [px].

    Raises:
        SourceError: A shape does not fit.
    """

    color: NDArray[np.uint8]
    points: NDArray[np.float32]
    confidence: NDArray[np.float32]
    T_world_camera: NDArray[np.float64]
    intrinsics: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = self.confidence.shape
        expected = {
            'confidence': (*shape[:1], *shape[-2:]),
            'color': (*shape, 3),
            'points': (*shape, 3),
            'T_world_camera': (*shape[:1], 4, 4),
            'intrinsics': (*shape[:1], 3, 3),
        }
        found = {name: getattr(self, name).shape for name in expected}
        if found != expected:
            raise SourceError(f'expected point maps of shapes {expected}, found {found}')

    @property
    def is_valid(self) -> NDArray[np.bool_]:
        """(F, H, W) bool."""
        valid: NDArray[np.bool_] = (self.confidence > 0) & np.isfinite(self.points).all(axis=-1)
        return valid


class PointMapProvider(Protocol):
    """Anything that finds the points of frames, such as a wrapper of VGGT."""

    def __call__(self, frames: Sequence[NDArray[np.uint8]]) -> PointMaps:
        """Return the points of the frames of one clip, each (H, W, 3) uint8 RGB."""


@lru_cache(maxsize=1)  # weights are loaded once per process
def load_provider(name: str) -> PointMapProvider:
    """Return what `module:attribute`, a function without arguments, returns.

    Raises:
        ConfigError: There is no such function, or it returns nothing that can be called.
    """
    module_name, _, attribute = name.partition(':')
    try:
        make = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as err:
        raise ConfigError(
            f'--provider must be module:attribute that can be imported, got "{name}": {err}'
        ) from err
    try:
        inspect.signature(make).bind()
    except (TypeError, ValueError) as err:
        raise ConfigError(
            f'--provider must name a function without arguments that makes the provider; {name} '
            f'is none: {err}'
        ) from err
    provider: PointMapProvider = make()
    if not callable(provider):
        raise ConfigError(
            f'--provider {name} must return a function of frames (see PointMapProvider), got a '
            f'{type(provider).__name__}'
        )
    return provider


def lift(provider: str, frames: Sequence[NDArray[np.uint8]]) -> PointMaps:
    """Return the points of the frames of one clip, each (H, W, 3) uint8 RGB.

    Raises:
        ConfigError: As of `load_provider`.
        SourceError: The provider returned something else.
    """
    maps = load_provider(provider)(frames)
    if not isinstance(maps, PointMaps):
        raise SourceError(f'{provider} must return PointMaps, got a {type(maps).__name__}')
    if len(maps.points) != len(frames):
        raise SourceError(
            f'{provider} must return points of all {len(frames)} frames, got {len(maps.points)}'
        )
    return maps
