"""Boxes of objects in a view: outlines, numbers and names."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from concerto_ros.geometry.transforms import invert
from concerto_ros.structures import Box, ObjectHit
from concerto_ros.visualization.canvas import PAPER, Canvas, Color, Panel
from concerto_ros.visualization.render import View

COLORS = (
    (230, 60, 40),
    (20, 110, 220),
    (20, 150, 80),
    (200, 110, 0),
    (140, 60, 190),
    (0, 140, 160),
)
_EDGES = [(i, (i + 1) % 4) for i in range(4)]
_EDGES += [(i + 4, j + 4) for i, j in _EDGES] + [(i, i + 4) for i in range(4)]


def box_corners(box: Box) -> NDArray[np.float64]:
    """Return (8, 3) [m], the four lower corners in turn, then the four upper ones."""
    unit = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2
    xyz = np.array([(x, y, z) for z in (-0.5, 0.5) for x, y in unit]) * box.size
    c, s = np.cos(box.yaw), np.sin(box.yaw)
    corners: NDArray[np.float64] = box.center + xyz @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    return corners


def draw_objects(
    canvas: Canvas,
    panel: Panel,
    view: View,
    objects: Sequence[ObjectHit],
    colors: Sequence[Color] = COLORS,
) -> None:
    """Outline and name the objects whose boxes lie in the picture, in these colours by turns."""
    tags: list[tuple[int, float, float]] = []
    for number in range(len(objects)):
        pixel, inside = _projected(canvas, panel, view, box_corners(objects[number].box))
        if not inside.all():
            continue
        for color, width in ((PAPER, 4), (colors[number % len(colors)], 2)):
            for i, j in _EDGES:
                canvas.line(pixel[[i, j]], color, width)
        tags.append((number, float(pixel[:, 0].mean()), float(pixel[:, 1].min())))
    _draw_tags(canvas, panel, objects, tags, colors)


def draw_outline(canvas: Canvas, panel: Panel, view: View, box: Box, color: Color) -> None:
    """Draw what lies in the picture of the edges of a box."""
    corners = box_corners(box)
    steps = np.linspace(0, 1, 101)[:, None]
    for i, j in _EDGES:
        along = corners[i] + steps * (corners[j] - corners[i])
        pixel, inside = _projected(canvas, panel, view, along)
        for start in np.flatnonzero(inside[:-1] & inside[1:]):
            canvas.line(pixel[start : start + 2], color, 1.5)


def _projected(
    canvas: Canvas, panel: Panel, view: View, coord: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return places (N, 2) of points (N, 3) on the canvas, and which of them are in the panel."""
    T_camera_map = invert(view.T_map_camera)
    pixel, depth = view.camera.project(coord @ T_camera_map[:3, :3].T + T_camera_map[:3, 3])
    pixel = pixel / canvas.scale + panel[:2]
    inside = (pixel >= panel[:2]).all(axis=1) & (pixel <= panel[2:]).all(axis=1) & (depth > 0)
    return pixel, inside


def _draw_tags(
    canvas: Canvas,
    panel: Panel,
    objects: Sequence[ObjectHit],
    tags: Sequence[tuple[int, float, float]],
    colors: Sequence[Color],
) -> None:
    """Write number and name above each box, moved up where another tag is in the way."""
    taken: list[tuple[float, float, float]] = []
    for number, x, y in sorted(tags, key=lambda tag: -tag[2]):
        text = canvas.fitted(f'{number + 1}  {objects[number].label}', 15, 180)
        width = canvas.text_width(text, 15) + 14
        left = float(np.clip(x - width / 2, panel[0] + 4, panel[2] - width - 4))
        top = y - 28
        for a, b, other in sorted(taken, key=lambda t: -t[2]):
            if left < b and left + width > a and abs(top - other) < 24:
                top = other - 25
        top = max(top, panel[1] + 4)
        taken.append((left, left + width, top))
        color = colors[number % len(colors)]
        canvas.rectangle((left, top, left + width, top + 22), color, corner=5)
        canvas.text((left + 7, top + 2), text, size=15, color=PAPER)
