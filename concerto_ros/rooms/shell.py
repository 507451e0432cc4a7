"""Floor, ceiling and the four walls with the holes for doors and windows."""

import numpy as np
from numpy.typing import NDArray

from concerto_ros.rooms.layout import THICKNESS, Layout, RoomObject
from concerto_ros.rooms.primitives import Array, Part, bounds
from concerto_ros.rooms.sketch import Model, Range
from concerto_ros.rooms.textures import Material, draw_material


def add_shell(layout: Layout) -> None:
    """Build what encloses the room; doors and windows must be in their walls already."""
    x, y, z = layout.size
    plan = ((-x / 2 - THICKNESS, x / 2 + THICKNESS), (-y / 2 - THICKNESS, y / 2 + THICKNESS))
    floor, ceiling = draw_material(layout.rng), draw_material(layout.rng)
    layout.add(_model('floor', 'slab', [_block(*plan, (-THICKNESS, 0), floor)]), (0, 0, 0), 0.0)
    layout.add(_model('ceiling', 'slab', [_block(*plan, (0, THICKNESS), ceiling)]), (0, 0, z), 0.0)
    paint = draw_material(layout.rng)
    for index, wall in enumerate(layout.walls):
        holes = [_hole(layout, index, opening) for opening in layout.openings[index]]
        accent = layout.chance(0.2)  # one wall of another colour
        material = draw_material(layout.rng) if accent else paint
        parts = _pierced(wall.length, z, sorted(holes), material)
        position = (float(wall.origin[0]), float(wall.origin[1]), 0.0)
        layout.add(_model('wall', 'straight', parts), position, wall.yaw)


def air(layout: Layout, points: Array) -> NDArray[np.bool_]:
    """Tell which `points` (N, 3) of the map frame lie in the room or in one of its openings."""
    half = np.array(layout.size) / 2
    inside: NDArray[np.bool_] = (half - np.abs(points - (0, 0, half[2]))).min(axis=1) >= 0
    for index, wall in enumerate(layout.walls):
        c, s = np.cos(wall.yaw), np.sin(wall.yaw)
        dx, dy = points[:, 0] - wall.origin[0], points[:, 1] - wall.origin[1]
        depth, along = c * dx + s * dy, c * dy - s * dx
        for opening in layout.openings[index]:
            y, z = _hole(layout, index, opening)
            across = (along > y[0]) & (along < y[1])
            upright = (points[:, 2] > z[0]) & (points[:, 2] < z[1])
            in_depth = (depth > -THICKNESS) & (depth < 1e-6)
            inside = np.logical_or(inside, across & upright & in_depth)
    return inside


def _hole(layout: Layout, wall: int, opening: RoomObject) -> tuple[Range, Range]:
    width, low, high = opening.model.opening
    middle = layout.along(opening, wall)
    return (middle - width / 2, middle + width / 2), (low, high)


def _pierced(
    length: float, height: float, holes: list[tuple[Range, Range]], material: Material
) -> list[Part]:
    """Return the blocks of a wall around its holes, in the frame of the wall."""
    x: Range = (-THICKNESS, 0.0)
    parts, left = [], -length / 2 - THICKNESS
    for y, z in holes:
        parts.append(_block(x, (left, y[0]), (0, height), material))
        if z[0] > 0:
            parts.append(_block(x, y, (0, z[0]), material))
        parts.append(_block(x, y, (z[1], height), material))
        left = y[1]
    parts.append(_block(x, (left, length / 2 + THICKNESS), (0, height), material))
    return parts


def _block(x: Range, y: Range, z: Range, material: Material) -> Part:
    low, high = np.array([x, y, z], dtype=np.float64).T
    return Part(
        shape='box', rotation=np.eye(3), center=(low + high) / 2, half=(high - low) / 2,
        material=material,
    )  # fmt: skip


def _model(class_name: str, family: str, parts: list[Part]) -> Model:
    corners = [bounds(part) for part in parts]
    return Model(
        class_name=class_name, family=family, mount='floor', parts=tuple(parts), supports=(),
        opening=(0.0, 0.0, 0.0), low=np.min([low for low, _ in corners], axis=0),
        high=np.max([high for _, high in corners], axis=0),
        color_name=parts[0].material.color_name,
    )  # fmt: skip
