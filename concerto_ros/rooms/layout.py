"""Layout: a room being furnished; places objects without collisions and keeps a way to walk."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import concerto_ros.rooms.furniture  # noqa: F401 - enters the families into the catalogue
from concerto_ros.rooms.footprints import Footprint
from concerto_ros.rooms.primitives import Part, yaw_rotation
from concerto_ros.rooms.sketch import (
    Families,
    Family,
    Model,
    Mount,
    Range,
    Sketch,
    Support,
    choices,
)
from concerto_ros.rooms.walking import CELL, CLEARANCE, WalkingGrid, flood, in_the_way

_SHELL = ('wall', 'floor', 'ceiling')  # what the walking grid knows without being told
THICKNESS = 0.13  # of walls, floor and ceiling [m]
DOOR_ZONE = 0.8  # floor kept free before a door [m]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomObject:
    """An object in its place.

    Attributes:
        id: Instance id, from 1.
        model: What it is, in its own frame.
        position: (3,) float64 [m], origin of the model in the map frame.
        yaw: Rotation of the model about +z [rad].
        footprint: Its upright box in the map frame.
        parts: Its solids in the map frame.
    """

    id: int
    model: Model
    position: NDArray[np.float64]
    yaw: float
    footprint: Footprint
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wall:
    """One side of the room; its frame has x into the room, y to the left, z up.

    Attributes:
        origin: (2,) float64 [m], middle of its foot in the map frame.
        yaw: Direction of x in the map frame [rad].
        length: [m].
    """

    origin: NDArray[np.float64]
    yaw: float
    length: float

    def to_map(self, x: float, y: float) -> tuple[float, float]:
        """Return the map coordinates of a point of the wall's frame."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return float(self.origin[0]) + c * x - s * y, float(self.origin[1]) + s * x + c * y


class Layout:
    """A room of `size` (x, y, z) [m] about the origin of the map frame, its floor at z = 0.

    Every method that places something returns the placed object, or None if no place was found
    or the wanted split has no such family; a room without it is still a room.
    """

    def __init__(
        self, size: tuple[float, float, float], rng: np.random.Generator, families: Families
    ) -> None:
        self.size = size
        self.rng = rng
        self.families = families
        self.objects: list[RoomObject] = []
        self.openings: dict[int, list[RoomObject]] = {k: [] for k in range(4)}
        self.walls = tuple(_wall(size, k) for k in range(4))
        self.entrance = np.zeros(2)
        self.grid = WalkingGrid(size[0], size[1])
        self._zones: list[Footprint] = []

    # Making

    def between(self, low: float, high: float) -> float:
        """Draw a number."""
        return float(self.rng.uniform(low, high))

    def chance(self, share: float) -> bool:
        """Return True in `share` of the cases."""
        return bool(self.rng.random() < share)

    def create(
        self, class_name: str, mount: Mount = 'floor', hints: Mapping[str, float] | None = None
    ) -> Model | None:
        """Draw an object of a class; None where the wanted split has no family for the mount.

        Args:
            class_name: Key of `FAMILIES`.
            mount: What it shall rest on or hang from.
            hints: Sizes that a family may be asked for, such as 'width' [m].
        """
        entries = choices(class_name, mount, self.families)
        if not entries:
            return None
        entry: Family = entries[self.rng.integers(len(entries))]
        sketch = Sketch(self.rng, hints or {})
        entry.build(sketch)
        return sketch.finish(entry)

    # Placing

    def put(
        self, model: Model, position: tuple[float, float, float], yaw: float, *,
        beside: RoomObject | None = None,
    ) -> RoomObject | None:  # fmt: skip
        """Place an object exactly there unless it collides, leaves the room or blocks the way.

        Args:
            model: The object.
            position: Of its origin, map frame [m].
            yaw: [rad].
            beside: An object it may interlock with: its support.
        """
        spot = footprint(model, position, yaw)
        if not self._inside(spot) or self._blocked(spot, beside):
            return None
        if not self._keep_walkable(spot):
            return None
        return self.add(model, position, yaw)

    def add(self, model: Model, position: tuple[float, float, float], yaw: float) -> RoomObject:
        """Place an object without any check."""
        R, t = yaw_rotation(yaw), np.array(position)
        placed = RoomObject(
            id=len(self.objects) + 1, model=model, position=t, yaw=yaw,
            footprint=footprint(model, position, yaw),
            parts=tuple(part.moved(R, t) for part in model.parts),
        )  # fmt: skip
        self._take_in(placed)
        return placed

    def without(self, gone: RoomObject, rng: np.random.Generator) -> 'Layout':
        """Return the room without one object, where nothing new will be placed.

        Args:
            gone: One of `objects`; the others keep their places and ids.
            rng: Draws what comes later.
        """
        rest = copy.copy(self)
        rest.rng, rest.objects = rng, []
        rest.grid = WalkingGrid(self.size[0], self.size[1])
        rest._zones = [*self._zones, gone.footprint]
        for placed in self.objects:
            if placed is not gone:
                rest._take_in(placed)
        return rest

    def against_wall(
        self, class_name: str, walls: tuple[int, ...] = (0, 1, 2, 3), gap: Range = (0.02, 0.06),
        **hints: float,
    ) -> RoomObject | None:  # fmt: skip
        """Stand an object on the floor with its back to one of `walls`."""
        model = self.create(class_name, hints=hints)
        if model is None:
            return None
        half = float(model.high[1] - model.low[1]) / 2

        def attempt() -> RoomObject | None:
            index = int(self.rng.choice(walls))
            reach = self.walls[index].length / 2 - half - 0.02
            along = self.between(-reach, reach) if reach > 0 else 0.0
            return self.at_wall(model, index, along, 0.0, self.between(*gap))

        return self._try(attempt, 25)

    def at_wall(
        self, model: Model, wall: int, along: float, height: float, gap: float = 0.0
    ) -> RoomObject | None:
        """Place an object with its back `gap` before a wall, its middle `along` from the wall's.

        A wall-mounted object has its z = 0 at `height`.
        """
        side = self.walls[wall]
        middle = float(model.low[1] + model.high[1]) / 2
        x, y = side.to_map(gap - float(model.low[0]), along - middle)
        return self.put(model, (x, y, height), side.yaw)

    def on_wall(
        self, class_name: str, heights: Range, *, wall: int | None = None,
        along: float | None = None, **hints: float,
    ) -> RoomObject | None:  # fmt: skip
        """Hang an object on a wall, its middle between two heights."""
        model = self.create(class_name, 'wall', hints)
        if model is None:
            return None
        half = float(model.high[1] - model.low[1]) / 2

        def attempt() -> RoomObject | None:
            index = int(self.rng.integers(4)) if wall is None else wall
            reach = max(0.0, self.walls[index].length / 2 - half - 0.1)
            where = self.between(-reach, reach) if along is None else along
            return self.at_wall(model, index, where, self.between(*heights))

        return self._try(attempt, 20)

    def opening(self, class_name: str, wall: int | None = None) -> RoomObject | None:
        """Put a door or window into a wall and keep the floor before a door free."""
        model = self.create(class_name, 'wall')
        if model is None or model.opening[2] > self.size[2] - 0.15:
            return None

        def attempt() -> RoomObject | None:
            index = int(self.rng.integers(4)) if wall is None else wall
            side = self.walls[index]
            reach = side.length / 2 - float(model.high[1]) - 0.12
            along = self.between(-reach, reach) if reach > 0 else 0.0
            x, y = side.to_map(0.0, along)
            spot = footprint(model, (x, y, 0.0), side.yaw)
            if reach < 0 or any(spot.overlaps(other.footprint) for other in self.objects):
                return None
            placed = self.add(model, (x, y, 0.0), side.yaw)
            self.openings[index].append(placed)
            if class_name == 'door':
                self._keep_door_free(side, along, model.opening[0] / 2)
            return placed

        return self._try(attempt, 30)

    def beside(self, class_name: str, anchor: RoomObject, left: bool) -> RoomObject | None:
        """Stand an object left or right of one that has its back to a wall."""
        model = self.create(class_name)
        if model is None:
            return None
        gap = self.between(0.02, 0.1)
        side = anchor.model.high[1] + gap - model.low[1]
        if not left:
            side = anchor.model.low[1] - gap - model.high[1]
        back = float(anchor.model.low[0] - model.low[0])
        x, y = _to_map(anchor, back, float(side))
        return self.put(model, (x, y, 0.0), anchor.yaw)

    def in_front(
        self, class_name: str, anchor: RoomObject, gap: Range, facing: bool = False
    ) -> RoomObject | None:
        """Stand an object before another one, with the same direction or `facing` it."""
        model = self.create(class_name)
        if model is None:
            return None

        def attempt() -> RoomObject | None:
            inner = model.high[0] if facing else -model.low[0]
            x, y = _to_map(
                anchor, float(anchor.model.high[0] + inner) + self.between(*gap),
                self.between(-0.15, 0.15),
            )  # fmt: skip
            yaw = anchor.yaw + (math.pi if facing else 0.0) + self.between(-0.1, 0.1)
            return self.put(model, (x, y, 0.0), yaw)

        return self._try(attempt, 6)

    def around(self, class_name: str, table: RoomObject, count: int) -> list[RoomObject]:
        """Stand up to `count` objects at the four sides of a table, facing it."""
        width = float(table.model.high[1] - table.model.low[1])
        per_side = max(1, int(width / 0.62))
        step = width / per_side
        places = [
            (yaw, width * -0.5 + step * (k + 0.5))
            for yaw in (0.0, math.pi) for k in range(per_side)
        ]  # fmt: skip
        places += [(math.pi / 2, 0.0), (-math.pi / 2, 0.0)]
        placed: list[RoomObject] = []
        for index in self.rng.permutation(len(places)):
            if len(placed) == count:
                break
            model = self.create(class_name)
            seat = model and self._seat(model, table, *places[index])
            if seat:
                placed.append(seat)
        return placed

    def anywhere(self, class_name: str, **hints: float) -> RoomObject | None:
        """Stand an object on free floor, in any direction."""
        model = self.create(class_name, hints=hints)
        return None if model is None else self.somewhere(model)

    def somewhere(self, model: Model) -> RoomObject | None:
        """Stand a given object on free floor, in any direction."""

        def attempt() -> RoomObject | None:
            x = self.between(-0.5, 0.5) * self.size[0]
            y = self.between(-0.5, 0.5) * self.size[1]
            return self.put(model, (x, y, 0.0), self.between(-math.pi, math.pi))

        return self._try(attempt, 20)

    def rug(self) -> RoomObject | None:
        """Lay a rug; whatever is placed later may stand on it."""
        sizes = {
            'depth': self.size[0] * self.between(0.25, 0.45),
            'width': self.size[1] * self.between(0.25, 0.5),
        }
        model = self.create('rug', hints=sizes)
        if model is None:
            return None
        x, y = (self.between(-0.12, 0.12) * self.size[k] for k in (0, 1))
        return self.put(model, (x, y, 0.0), 0.0)

    def on(
        self, class_name: str, parent: RoomObject, depth: Range = (0.0, 1.0), turn: float = 0.3
    ) -> RoomObject | None:
        """Stand an object on another one.

        Args:
            class_name: What.
            parent: On what.
            depth: Which share of the support's depth to use, 0 is the back.
            turn: Largest deviation from the direction of the parent [rad].
        """
        model = self.create(class_name, 'top')
        if model is None or not parent.model.supports:
            return None
        height = float(model.high[2])

        def attempt() -> RoomObject | None:
            support = parent.model.supports[self.rng.integers(len(parent.model.supports))]
            turned = self.between(-turn, turn)
            spot = _on_support(model, support, depth, turned, self.rng)
            if spot is None or height > support.clearance:
                return None
            x, y = _to_map(parent, *spot)
            z = float(parent.position[2]) + support.z
            return self.put(model, (x, y, z), parent.yaw + turned, beside=parent)

        return self._try(attempt, 12)

    def on_ceiling(self, class_name: str) -> RoomObject | None:
        """Hang an object from the ceiling near the middle of the room."""
        model = self.create(class_name, 'ceiling')
        if model is None:
            return None

        def attempt() -> RoomObject | None:
            x, y = (self.between(-0.15, 0.15) * self.size[k] for k in (0, 1))
            return self.put(model, (x, y, self.size[2]), 0.0)

        return self._try(attempt, 5)

    def wall_of(self, placed: RoomObject) -> int:
        """Return the index of the wall an object has its back to."""
        turns = [math.cos(placed.yaw - wall.yaw) for wall in self.walls]
        return int(np.argmax(turns))

    def along(self, placed: RoomObject, wall: int) -> float:
        """Return how far along a wall the middle of an object lies [m], 0 is the wall's middle."""
        side = self.walls[wall]
        dx, dy = placed.footprint.x - side.origin[0], placed.footprint.y - side.origin[1]
        return float(math.cos(side.yaw) * dy - math.sin(side.yaw) * dx)

    # Rules

    def _take_in(self, placed: RoomObject) -> None:
        self.objects.append(placed)
        if in_the_way(placed.footprint) and placed.model.class_name not in _SHELL:
            self.grid.add(placed.footprint)

    def _try(self, attempt: Callable[[], RoomObject | None], times: int) -> RoomObject | None:
        for _ in range(times):
            placed = attempt()
            if placed is not None:
                return placed
        return None

    def _inside(self, spot: Footprint) -> bool:
        limits = self.size[0] / 2 + 1e-6, self.size[1] / 2 + 1e-6
        within = all(abs(x) <= limits[0] and abs(y) <= limits[1] for x, y in spot.corners())
        return within and spot.low >= -1e-6 and spot.high <= self.size[2] + 1e-6

    def _blocked(self, spot: Footprint, beside: RoomObject | None) -> bool:
        if any(spot.overlaps(zone) for zone in self._zones):
            return True
        return any(spot.overlaps(o.footprint) for o in self.objects if o is not beside)

    def _keep_door_free(self, wall: Wall, along: float, half: float) -> None:
        x, y = wall.to_map(DOOR_ZONE / 2, along)
        self._zones.append(
            Footprint(x=x, y=y, half_x=DOOR_ZONE / 2, half_y=half, yaw=wall.yaw, low=0.0, high=2.0)
        )
        self.entrance = np.array(wall.to_map(DOOR_ZONE / 2, along))

    def _keep_walkable(self, spot: Footprint) -> bool:
        """Tell whether the camera can still walk around with one more object."""
        if not in_the_way(spot):
            return True
        free = self.grid.with_obstacle(spot) > CLEARANCE
        reachable = flood(free, self.grid.cell(self.entrance)).sum() * CELL * CELL
        return bool(reachable >= max(0.5, 0.16 * self.size[0] * self.size[1]))

    def _seat(
        self, model: Model, table: RoomObject, yaw: float, along: float
    ) -> RoomObject | None:
        """Stand a chair at the side of a table whose outward normal has `yaw` in its frame."""
        across = abs(math.cos(yaw)) > 0.5
        extent = table.model.high[0] if across else table.model.high[1]
        out = float(extent + model.high[0]) + self.between(0.02, 0.12)
        c, s = math.cos(yaw), math.sin(yaw)
        x, y = _to_map(table, c * out - s * along, s * out + c * along)
        turn = self.between(-0.15, 0.15)
        return self.put(model, (x, y, 0.0), table.yaw + yaw + math.pi + turn)


def footprint(model: Model, position: tuple[float, float, float], yaw: float) -> Footprint:
    """Return the upright box of a model placed at `position` [m], `yaw` [rad]."""
    middle, half = (model.low + model.high) / 2, (model.high - model.low) / 2
    c, s = math.cos(yaw), math.sin(yaw)
    return Footprint(
        x=position[0] + c * float(middle[0]) - s * float(middle[1]),
        y=position[1] + s * float(middle[0]) + c * float(middle[1]),
        half_x=float(half[0]), half_y=float(half[1]), yaw=yaw,
        low=position[2] + float(model.low[2]), high=position[2] + float(model.high[2]),
    )  # fmt: skip


def _to_map(placed: RoomObject, x: float, y: float) -> tuple[float, float]:
    c, s = math.cos(placed.yaw), math.sin(placed.yaw)
    origin = placed.position
    return float(origin[0]) + c * x - s * y, float(origin[1]) + s * x + c * y


def _on_support(
    model: Model, support: Support, depth: Range, turned: float, rng: np.random.Generator
) -> tuple[float, float] | None:
    """Draw where the origin of a turned model may stand on a support, both in its frame."""
    spot = footprint(model, (0.0, 0.0, 0.0), turned)
    xs, ys = zip(*spot.corners(), strict=True)
    length = support.x[1] - support.x[0]
    low_x = support.x[0] + depth[0] * length - min(xs)
    high_x = support.x[0] + depth[1] * length - max(xs)
    low_x, high_x = max(low_x, support.x[0] - min(xs)), min(high_x, support.x[1] - max(xs))
    low_y, high_y = support.y[0] - min(ys), support.y[1] - max(ys)
    if low_x > high_x or low_y > high_y:
        return None
    return float(rng.uniform(low_x, high_x)), float(rng.uniform(low_y, high_y))


def _wall(size: tuple[float, float, float], index: int) -> Wall:
    yaw = (0.0, math.pi / 2, math.pi, -math.pi / 2)[index]
    normal = np.array([(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)][index])
    return Wall(
        origin=-normal * np.array(size[:2]) / 2, yaw=yaw, length=size[1 if index % 2 == 0 else 0]
    )
