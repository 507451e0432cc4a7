"""Views that are rendered once and kept in a sixth of their size."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concerto_ros.rooms.cloud import to_uint8
from concerto_ros.rooms.primitives import Array
from concerto_ros.rooms.render import Rendering

View = Callable[[Array], Rendering]
Packed = tuple[NDArray[Any], ...]


def remembered(view: View) -> View:
    """Return a view (function of `T_map_camera`) that renders each pose only the first time.

    Colours are rounded to 8 bits, depth to float32, angle and reflectance to float16, so a view
    takes 13 bytes per pixel.
    """
    kept: dict[bytes, Packed] = {}

    def recall(T_map_camera: Array) -> Rendering:
        key = T_map_camera.tobytes()
        if key not in kept:
            kept[key] = _packed(view(T_map_camera))
        return _unpacked(kept[key])

    return recall


def _packed(rendering: Rendering) -> Packed:
    return (
        rendering.depth.astype(np.float32),
        rendering.part.astype(np.int16),
        to_uint8(rendering.color),
        rendering.cosine.astype(np.float16),
        rendering.reflectance.astype(np.float16),
    )


def _unpacked(packed: Packed) -> Rendering:
    depth, part, color, cosine, reflectance = packed
    return Rendering(
        depth=depth.astype(np.float64),
        part=part.astype(np.int32),
        color=color / 255,
        cosine=cosine.astype(np.float64),
        reflectance=reflectance.astype(np.float64),
    )
