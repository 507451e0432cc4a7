"""Sketch: the few strokes furniture is drawn with, and the catalogue of furniture families."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from concerto_ros.rooms.classes import CLASS_ID
from concerto_ros.rooms.primitives import Array, Part, Shape, area, bounds, yaw_rotation
from concerto_ros.rooms.textures import Material, draw_material

Mount = Literal['floor', 'top', 'wall', 'ceiling']  # what an object rests on or hangs from
Families = Literal['all', 'train', 'test']
Range = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """A horizontal rectangle of an object on which smaller objects may stand, object frame [m].

    Attributes:
        x: Lowest and highest x.
        y: Lowest and highest y.
        z: Height.
        clearance: Free height above it.
    """

    x: Range
    y: Range
    z: float
    clearance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A finished object in its own frame: z up, front towards +x, left side towards +y.

    Attributes:
        class_name: Key of `SCANNET20_OF`.
        family: Name of the way it was built.
        mount: What it rests on or hangs from; z = 0 is that place (for 'wall': its middle).
        parts: Its solids.
        supports: Where smaller objects may stand.
        opening: (width, bottom, top) [m] of the hole in the wall it needs; zeros if none.
        low: (3,) float64 [m], lowest corner of all parts.
        high: (3,) float64 [m], highest corner.
        color_name: Colour of the material with the largest surface.
    """

    class_name: str
    family: str
    mount: Mount
    parts: tuple[Part, ...]
    supports: tuple[Support, ...]
    opening: tuple[float, float, float]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    color_name: str


class Sketch:
    """An object under construction: draws random sizes and materials, collects solids.

    Materials have names ("main", "second", "third"); each is drawn when first used, from one
    distribution for all objects. The name "mirror" is drawn alike but reflects like glass.
    """

    def __init__(self, rng: np.random.Generator, hints: Mapping[str, float]) -> None:
        self.opening = (0.0, 0.0, 0.0)
        self.parts: list[tuple[str, Part]] = []
        self.supports: list[Support] = []
        self._rng = rng
        self._hints = hints
        self._materials: dict[str, Material] = {}

    def between(self, low: float, high: float) -> float:
        """Draw a number."""
        return float(self._rng.uniform(low, high))

    def count(self, low: int, high: int) -> int:
        """Draw a whole number, `high` included."""
        return int(self._rng.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        """Return True in `share` of the cases."""
        return bool(self._rng.random() < share)

    def wanted(self, name: str, low: float, high: float) -> float:
        """Return the size that the room asks for under this name, or draw one."""
        drawn = self.between(low, high)
        return self._hints.get(name, drawn)

    def block(
        self, x: Range, y: Range, z: Range, material: str = 'main', pitch: float = 0.0
    ) -> None:
        """Add a box between two values per axis, then tip it forward by `pitch` [rad]."""
        low, high = np.array([x, y, z], dtype=np.float64).T
        self._add('box', _pitch(pitch), (low + high) / 2, (high - low) / 2, 1.0, material)

    def drum(
        self, center: Range, z: Range, radius: float, material: str = 'main', top: float = 1.0
    ) -> None:
        """Add an upright cylinder; `top` below 1 narrows it upwards."""
        middle = np.array([center[0], center[1], (z[0] + z[1]) / 2])
        self._add('frustum', np.eye(3), middle, (radius, radius, (z[1] - z[0]) / 2), top, material)

    def funnel(self, center: Range, z: Range, radius: float, material: str, bottom: float) -> None:
        """Add an upright frustum of `radius` at its top; `bottom` below 1 narrows it down."""
        middle = np.array([center[0], center[1], (z[0] + z[1]) / 2])
        half = (radius, radius, (z[1] - z[0]) / 2)
        self._add('frustum', np.diag([1.0, -1.0, -1.0]), middle, half, bottom, material)

    def ball(
        self, center: tuple[float, float, float], size: tuple[float, float, float],
        material: str = 'main', pitch: float = 0.0,
    ) -> None:  # fmt: skip
        """Add an ellipsoid of the given full `size`."""
        half = np.array(size) / 2
        self._add('ellipsoid', _pitch(pitch), np.array(center), half, 1.0, material)

    def rod(
        self, start: tuple[float, float, float], end: tuple[float, float, float], radius: float,
        material: str = 'second', top: float = 1.0,
    ) -> None:  # fmt: skip
        """Add a cylinder between two points; `top` below 1 narrows it towards `end`."""
        a, b = np.array(start), np.array(end)
        length = math.sqrt(float(((b - a) ** 2).sum()))
        half = (radius, radius, length / 2)
        self._add('frustum', _z_towards((b - a) / length), (a + b) / 2, half, top, material)

    def legs(
        self, x: Range, y: Range, height: float, thickness: float, material: str = 'second'
    ) -> None:
        """Add four legs, square or round, whose outer sides lie on the given rectangle."""
        r = thickness / 2
        square = self.chance(0.5)
        for cx in (x[0] + r, x[1] - r):
            for cy in (y[0] + r, y[1] - r):
                if square:
                    self.block((cx - r, cx + r), (cy - r, cy + r), (0, height), material)
                else:
                    self.drum((cx, cy), (0, height), r, material)

    def support(self, x: Range, y: Range, z: float, clearance: float = 1.0) -> None:
        """Declare a rectangle on which smaller objects may stand."""
        self.supports.append(Support(x=x, y=y, z=z, clearance=clearance))

    def finish(self, family: 'Family') -> Model:
        """Return the finished object."""
        corners = [bounds(part) for _, part in self.parts]
        shown = dict.fromkeys(self._materials, 0.0)
        for name, part in self.parts:
            shown[name] += area(part)
        return Model(
            class_name=family.class_name,
            family=family.name,
            mount=family.mount,
            parts=tuple(part for _, part in self.parts),
            supports=tuple(self.supports),
            opening=self.opening,
            low=np.min([low for low, _ in corners], axis=0),
            high=np.max([high for _, high in corners], axis=0),
            color_name=self._materials[max(shown, key=shown.__getitem__)].color_name,
        )

    def _add(
        self, shape: Shape, rotation: Array, center: Array, half: ArrayLike, top: float,
        material: str,
    ) -> None:  # fmt: skip
        if material not in self._materials:
            self._materials[material] = draw_material(self._rng, mirror=material == 'mirror')
        part = Part(
            shape=shape, rotation=rotation, center=center, half=np.array(half, dtype=np.float64),
            top=top, material=self._materials[material],
        )  # fmt: skip
        self.parts.append((material, part))


Builder = Callable[[Sketch], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One way of building a class of objects.

    Attributes:
        class_name: Key of `SCANNET20_OF`.
        name: Unique within the class.
        mount: What its objects rest on or hang from.
        held_out: Reserved for test sets: never drawn with families='train'.
        build: Draws one object.
    """

    class_name: str
    name: str
    mount: Mount
    held_out: bool
    build: Builder


FAMILIES: dict[str, list[Family]] = {}


def family(
    class_name: str, name: str, *, mount: Mount = 'floor', held_out: bool = False
) -> Callable[[Builder], Builder]:
    """Enter the decorated builder into the catalogue."""
    assert class_name in CLASS_ID, class_name

    def enter(build: Builder) -> Builder:
        entry = Family(
            class_name=class_name, name=name, mount=mount, held_out=held_out, build=build
        )
        FAMILIES.setdefault(class_name, []).append(entry)
        return build

    return enter


def choices(class_name: str, mount: Mount, families: Families) -> list[Family]:
    """Return the families of a class for one mount: all, or only one side of the split."""
    return [
        entry
        for entry in FAMILIES[class_name]
        if entry.mount == mount and families in ('all', 'test' if entry.held_out else 'train')
    ]


def centered(width: float, middle: float = 0.0) -> Range:
    """Return the ends of an interval of `width` about `middle`."""
    return middle - width / 2, middle + width / 2


def _pitch(angle: float) -> NDArray[np.float64]:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def _z_towards(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a rotation (3, 3) whose third column is the unit vector `direction` (3,)."""
    x, y, z = (float(v) for v in direction)
    yaw = math.atan2(y, x) if x or y else 0.0
    return yaw_rotation(yaw) @ _pitch(math.atan2(math.hypot(x, y), z))
