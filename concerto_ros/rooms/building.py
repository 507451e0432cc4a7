"""Building: a few furnished rooms, set up at many places, and tours through all of them."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import ConfigError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.rooms.building_changes import Move, with_move
from concerto_ros.rooms.building_tour import Tour, Visit
from concerto_ros.rooms.cloud import RoomCloud
from concerto_ros.rooms.frames import RoomFrames
from concerto_ros.rooms.layout import THICKNESS
from concerto_ros.rooms.noise import SensorNoise
from concerto_ros.rooms.primitives import Array
from concerto_ros.rooms.room import DEFAULT_CAMERA, KINECT, SyntheticRoom
from concerto_ros.structures import Box

SMALL_CAMERA = DEFAULT_CAMERA.scaled(320, 240)
GAP = 0.3  # least distance between the outer sides of two rooms [m]
_QUARTERS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # cosine and sine


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a room stands.

    Attributes:
        model: Which one, index into `Building.models`.
        quarter: Its yaw in quarters of a turn, 0..3.
        T_building_room: (4, 4) float64; z up in both frames.
    """

    model: int
    quarter: int
    T_building_room: Array


class Building:
    """Rooms on the squares of a grid, storey above storey; one seed, one building.

    A room is rendered when it is first visited, once for all places where it stands (40 ms
    and 1 MB per frame of 320x240); every visit has its own noise. The building's frame has z up
    and the lowest floor at z = 0.

    Args:
        num_rooms: Places, at least 1; ten million voxels of 2 cm are about 60.
        seed: Any whole number from 0.
        num_storeys: Over which the rooms are spread, at least 1.
        num_models: How many different rooms there are, at least 1.
        frames_per_visit: At least 1; 40 show most of a room.
        camera: Of colour and depth.
        noise: The sensor; None gives exact images.

    Attributes:
        models: The different rooms, each as it was and with one object moved.
        places: In the order of the tour, in which neighbours follow each other.

    Raises:
        ConfigError: A number is too small.
    """

    def __init__(
        self, num_rooms: int, *, seed: int = 0, num_storeys: int = 1, num_models: int = 8,
        frames_per_visit: int = 40, camera: PinholeCamera = SMALL_CAMERA,
        noise: SensorNoise | None = KINECT,
    ) -> None:  # fmt: skip
        _check(num_rooms=num_rooms, num_storeys=num_storeys, num_models=num_models)
        rng = np.random.default_rng([seed, 6])
        rooms = [
            SyntheticRoom(int(room_seed)) for room_seed in rng.integers(2**31, size=num_models)
        ]
        changed = [with_move(room, rng) for room in rooms]
        self.seed = seed
        self.models = tuple((room, other) for room, (other, _) in zip(rooms, changed, strict=True))
        self._moves = [move for _, move in changed]
        self.places = _places(rooms, num_rooms, num_storeys, rng)
        self._frames_per_visit, self._camera, self._noise = frames_per_visit, camera, noise
        self._walks: dict[tuple[int, int], RoomFrames] = {}

    def tour(
        self, num_rounds: int = 1, *, frames_per_second: float = 10.0, moving: bool = False
    ) -> Tour:
        """Return a tour through all rooms, again and again.

        The camera walks in each room and is carried from one to the next between two frames.

        Args:
            num_rounds: How often each room is visited.
            frames_per_second: By the stamps.
            moving: In every other round, beginning with the second, the objects of `move` have
                moved.

        Raises:
            ConfigError: `num_rounds` is below 1.
        """
        _check(num_rounds=num_rounds)
        visits = [
            self._visit(place, round_, version=round_ % 2 if moving else 0)
            for round_ in range(num_rounds)
            for place in range(len(self.places))
        ]
        return Tour(visits, frames_per_second)

    def parked(
        self, place: int, num_frames: int, *, index: int = 0, frames_per_second: float = 10.0
    ) -> Tour:
        """Return what a camera records that stays where frame `index` of a visit was taken."""
        visit = self._visit(place, 0, version=0)
        poses = np.repeat(visit.walk.poses[index : index + 1], num_frames, axis=0)
        walk = visit.walk.retaken(visit.noise_seed, poses)
        return Tour([replace(visit, walk=walk)], frames_per_second)

    def render(self, *, moving: bool = False) -> None:
        """Render all rooms now, with `moving` both versions, so that no frame takes longer."""
        for model in range(len(self.models)):
            for version in (0, 1) if moving else (0,):
                walk = self._walk(model, version)
                for index in range(len(walk)):
                    walk.frame_truth(index)

    def move(self, place: int) -> Move | None:
        """Return what moves in a room, in the building's frame; None: nothing does."""
        move, where = self._moves[self.places[place].model], self.places[place]
        if move is None:
            return None
        return replace(
            move,
            before=_moved_box(where, move.before),
            after=move.after and _moved_box(where, move.after),
        )

    def cloud(self, place: int, spacing: float = 0.02, *, version: int = 0) -> RoomCloud:
        """Return the true surface of a room in the building's frame, see `SyntheticRoom.cloud`.

        Args:
            place: Of the room.
            spacing: Distance of neighbouring points, about [m].
            version: 0 as it was, 1 with an object moved.
        """
        T = self.places[place].T_building_room
        cloud = self.models[self.places[place].model][version].cloud(spacing)
        return replace(
            cloud,
            coord=(cloud.coord @ T[:3, :3].T + T[:3, 3]).astype(np.float32),
            normal=(cloud.normal @ T[:3, :3].T).astype(np.float32),
        )

    def _visit(self, place: int, round_: int, *, version: int) -> Visit:
        where = self.places[place]
        return Visit(
            place=place,
            round=round_,
            walk=self._walk(where.model, version),
            noise_seed=(self.seed * 1_000 + round_) * 10_000 + place,
            T_building_room=where.T_building_room,
        )

    def _walk(self, model: int, version: int) -> RoomFrames:
        if (model, version) not in self._walks:
            room = self.models[model][version]
            walk = room.frames(self._frames_per_visit, self._camera, self._noise)
            self._walks[model, version] = walk.remembering()
        return self._walks[model, version]


def _check(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ConfigError(f'{name} must be 1 or more, got {number}')


def _places(
    rooms: list[SyntheticRoom], num_rooms: int, num_storeys: int, rng: np.random.Generator
) -> tuple[Place, ...]:
    """Set rooms up on squares that take the largest of them, storey by storey, in a snake line."""
    edge = max(max(room.size[:2]) for room in rooms) + 2 * THICKNESS + GAP
    height = max(room.size[2] for room in rooms) + 2 * THICKNESS + GAP
    per_storey = -(-num_rooms // num_storeys)
    per_row = math.isqrt(per_storey - 1) + 1
    models = np.concatenate(
        [rng.permutation(len(rooms)) for _ in range(num_rooms // len(rooms) + 1)]
    )
    places = []
    for number in range(num_rooms):
        storey, rest = divmod(number, per_storey)
        row, column = divmod(rest, per_row)
        column = per_row - 1 - column if row % 2 else column
        quarter = int(rng.integers(4))
        T = np.eye(4)
        T[:3, :3] = _turn(quarter)
        T[:3, 3] = column * edge, row * edge, storey * height
        places.append(Place(model=int(models[number]), quarter=quarter, T_building_room=T))
    return tuple(places)


def _turn(quarter: int) -> NDArray[np.float64]:
    c, s = _QUARTERS[quarter]
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=np.float64)


def _moved_box(place: Place, box: Box) -> Box:
    T = place.T_building_room
    return Box(
        center=T[:3, :3] @ box.center + T[:3, 3],
        size=box.size,
        yaw=box.yaw + place.quarter * math.pi / 2,
    )
