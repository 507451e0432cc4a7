"""The labelled surface of a room as points."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from concerto_ros.rooms.layout import Layout
from concerto_ros.rooms.primitives import (
    Array,
    Part,
    bounds,
    from_unit,
    normals,
    sample_surface,
    signed_distance,
)
from concerto_ros.rooms.render import Lights, Solid, lighting, surface_color
from concerto_ros.rooms.shell import air

_OUT = 1e-3  # how far before a surface there must be air for it to be seen [m]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomCloud:
    """Surface points of a room in the map frame.

    Attributes:
        coord: (N, 3) float32 [m].
        color: (N, 3) uint8 RGB, lit as in the images.
        normal: (N, 3) float32 unit vectors, out of the solids.
        label: (N,) uint16 class id, index of `CLASS_NAMES`.
        instance: (N,) uint16 instance id, from 1.
    """

    coord: NDArray[np.float32]
    color: NDArray[np.uint8]
    normal: NDArray[np.float32]
    label: NDArray[np.uint16]
    instance: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.coord)


def exposed_surface(
    layout: Layout, parts: list[Part], spacing: float
) -> tuple[Array, Array, NDArray[np.int64]]:
    """Sample what can be seen from inside: not outside the room, not inside or between solids.

    Args:
        layout: The room.
        parts: Its solids, map frame.
        spacing: Distance of neighbouring points, about [m].

    Returns:
        points: (N, 3) float64 [m].
        normals: (N, 3) float64 unit vectors.
        part: (N,) int64 index of the solid.
    """
    corners = [bounds(part) for part in parts]
    low = np.array([corner for corner, _ in corners])
    high = np.array([corner for _, corner in corners])
    found = []
    for k, part in enumerate(parts):
        q = sample_surface(part, spacing)
        points, normal = from_unit(part, q), normals(part, q)
        before = points + _OUT * normal
        seen = air(layout, before)
        points, normal, before = points[seen], normal[seen], before[seen]
        near = ((low <= high[k] + _OUT) & (high >= low[k] - _OUT)).all(axis=1)
        hidden = np.zeros(len(points), dtype=bool)
        for other in np.flatnonzero(near):
            if other != k:
                close = ((before >= low[other]) & (before <= high[other])).all(axis=1) & ~hidden
                hidden[close] = signed_distance(parts[other], before[close]) < 0
        found.append((points[~hidden], normal[~hidden], np.full((~hidden).sum(), k)))
    return (
        np.concatenate([points for points, _, _ in found]),
        np.concatenate([normal for _, normal, _ in found]),
        np.concatenate([index for _, _, index in found]),
    )


def lit_color(
    solids: list[Solid], lights: Lights, points: Array, normal: Array, index: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Return the lit colours (N, 3) uint8 of points sorted by their solid."""
    color = np.empty_like(points)
    for k in np.unique(index):
        rows = slice(*np.searchsorted(index, (k, k + 1)))
        light = lighting(lights, points[rows], normal[rows])
        color[rows] = np.clip(surface_color(solids[k], points[rows]) * light, 0.0, 1.0)
    return to_uint8(color)


def to_uint8(color: Array) -> NDArray[np.uint8]:
    """Return colours in 0..1 as 0..255."""
    return (color * 255 + 0.5).astype(np.uint8)
