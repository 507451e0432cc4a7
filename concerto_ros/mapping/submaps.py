"""Submaps: parts of the map that are rigid in themselves, and move when drift becomes known."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from concerto_ros.errors import MapFileError
from concerto_ros.geometry.pose_path import PosePath
from concerto_ros.geometry.transforms import Matrix, invert, is_rigid, nearest_rigid
from concerto_ros.mapping.loop_closure import bend
from concerto_ros.mapping.submap import Submap
from concerto_ros.mapping.voxel_keys import CHUNK_BITS, MAX_SUBMAPS

# Changes of map -> odom, measured where the camera is.
_STILL = 0.005, np.radians(0.05)  # [m], [rad]; nobody would see less
_JITTER = 0.05, np.radians(1.0)  # from here on it is a jump
_STEP = 0.1  # metres; shorter ones are noise, by which a parked robot would travel

Fits = Callable[[int, Matrix], bool]


class Submaps:
    """Chooses the submap of each frame and moves submaps as rigid bodies; holds no voxels.

    The odom frame is the continuous one, in which frames are fused. The world is the map frame
    where there is one (something calls `correct` or `correct_path`), else the odom frame. While a
    submap is active it is at rest in the odom frame, so whatever map -> odom does never gets into
    voxels. Axes of a new submap are those of the odom frame and x and y of its origin are whole
    chunks there, so without drift all submaps share one lattice.

    Ids are 0, 1, 2 ... in the order in which submaps were made. "The camera" is one body, whose
    path is followed: of several cameras on a robot always the same one, or what carries them;
    frames of the others go into the active submap by `T_odom_active`.

    Args:
        voxel_size: Edge length of a voxel [m].
        voxels_per_cell: Voxels along the edge of a cell of the network.
        radius: A submap is left when the camera is farther from its anchor, horizontally [m].
        height: The same vertically [m].
        saved: What `saved` returned of another run. These stay where they are in the world, and
            none is active; they move when frames have been fused into them again, or when a path
            covers their anchors.

    Raises:
        MapFileError: What was saved is damaged.

    Attributes:
        floor_z: Height of the floor near the camera in the odom frame [m]; None: not known. It is
            for the caller to set, and counts for submaps made from then on: their floor lies one
            cell above z = 0, give or take half a cell, as cells must fall together from submap to
            submap. Before, z = 0 is that of odom.
    """

    def __init__(
        self,
        voxel_size: float,
        voxels_per_cell: int,
        *,
        radius: float,
        height: float,
        saved: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self.floor_z: float | None = None
        self._cell = voxel_size * voxels_per_cell
        self._chunk = voxel_size * (1 << CHUNK_BITS)
        self._radius, self._height = radius, height
        self._submaps = [Submap.read(*numbered) for numbered in enumerate(saved)]
        self._num_loaded = len(self)
        self._active: int | None = None
        self._has_returned = False  # to the active one, which had been left
        self._T_odom_active = np.eye(4)
        self._T_world_odom: Matrix | None = None
        self._camera: Matrix | None = None  # its position in the odom frame
        self._travelled = max((held.travelled for held in self._submaps), default=0.0)
        # What was made since map -> odom last jumped is open to the next jump.
        self._first_open = len(self)
        self._open_since: tuple[Matrix, float] | None = None  # position in the world, travelled

    def __len__(self) -> int:
        return len(self._submaps)

    def __getitem__(self, submap: int) -> Submap:
        return self._submaps[submap]

    @property
    def poses(self) -> Matrix:
        """(S, 4, 4) float64 T_world_submap of all."""
        return np.array([held.T_world_submap for held in self._submaps]).reshape(-1, 4, 4)

    @property
    def active(self) -> int | None:
        """Id of the submap into which frames go; None before the first and after some jumps."""
        return self._active

    @property
    def T_odom_active(self) -> Matrix:
        """(4, 4) of the active submap, the same while it is active."""
        return self._T_odom_active

    @property
    def T_world_odom(self) -> Matrix:
        """(4, 4) as it was last applied; the identity while the world is the odom frame."""
        return np.eye(4) if self._T_world_odom is None else self._T_world_odom

    def locate(self, T_odom_camera: Matrix, stamp_ns: int, fits: Fits) -> tuple[int, Matrix]:
        """Choose the submap of a frame: the active one, an old one near by, or a new one.

        Args:
            T_odom_camera: (4, 4).
            stamp_ns: Of the frame [ns].
            fits: Called as fits(submap, T_submap_camera) when the active submap has been left,
                with the old ones around the camera, nearest first: whether the surfaces that the
                camera sees lie on those of the submap. Only the measured points can tell. Were a
                frame with uncorrected drift fused into an old submap, each wall there would be
                two for ever; in a submap of its own it is moved once the drift is known.

        Returns:
            submap: Its id.
            T_submap_camera: (4, 4), by which to fuse the frame into it.

        Raises:
            MapFileError: All ids are used up.
        """
        self._travel(T_odom_camera[:3, 3])
        if self._active is None or not self._is_near(
            T_odom_camera, self._T_odom_active @ self[self._active].T_submap_camera
        ):
            self._active = self._return(T_odom_camera, fits)
            self._has_returned = self._active is not None
            if self._active is None:
                self._active = self._make(T_odom_camera, stamp_ns)
        return self._active, invert(self._T_odom_active) @ T_odom_camera

    def near(self, T_odom_camera: Matrix, distance: float) -> list[int]:
        """Return the ids of the submaps whose anchors are up to a distance [m] away."""
        T_world_camera = self.T_world_odom @ T_odom_camera
        away = [held.T_world_camera[:3, 3] - T_world_camera[:3, 3] for held in self._submaps]
        return [submap for submap, step in enumerate(away) if np.linalg.norm(step) <= distance]

    def correct(self, T_map_odom: Matrix) -> list[int]:
        """Take map -> odom; to be called whenever it is known anew.

        - The first one says where the odom frame is: all that was made in it moves rigidly.
        - Up to 5 cm and 1 degree, at the camera, is the jitter of localisation: it says where the
          robot is now, and nothing about where it was. Only the active submap follows.
        - More is a jump, of a loop closure: the drift that it takes back has built up on the way
          since the last jump. Moving only the newest submap would tear it from the one before,
          moving all would spoil what was right. So it is shared among the submaps made on that
          way, growing with the length of the path (see `bend`); the active one gets all of it,
          as the camera in it is where map -> odom says. An active one that the camera has come
          back to belongs to an earlier part of the way and gets the share of that; it is left,
          and `locate` chooses anew.
        - Less than anyone can see (5 mm, 0.05 degrees) waits until it has added up.

        Args:
            T_map_odom: (4, 4).

        Returns:
            Ids of the submaps that moved.

        Raises:
            ValueError: It is no rigid transform.
        """
        if not is_rigid(T_map_odom):
            raise ValueError('map -> odom is no rigid transform')
        T_new_old = T_map_odom @ invert(self.T_world_odom)
        is_first = self._T_world_odom is None
        if not is_first and _is_within(T_new_old, self._position(), _STILL):
            return []
        is_jump = not (is_first or _is_within(T_new_old, self._position(), _JITTER))
        if is_first:
            moves = dict.fromkeys(range(self._num_loaded, len(self)), T_new_old)
        elif is_jump:
            moves = self._share(T_new_old)
        else:
            moves = {} if self._active is None else {self._active: T_new_old}
        self._T_world_odom = nearest_rigid(T_map_odom)
        if is_first or is_jump:
            self._leave_returned()
            self._settle()
        return self._move(moves)

    def correct_path(self, path: PosePath, T_body_camera: Matrix) -> list[int]:
        """Place submaps so that their anchors lie on the path of a pose graph.

        A submap made before the path begins or after it ends moves with the first or the last one
        whose anchor the path covers; what was loaded stays unless it is covered. Between the
        poses of the path the anchor is interpolated, so they should be no more than about a metre
        apart.

        Args:
            path: T_world_body over time.
            T_body_camera: (4, 4), the camera whose frames `locate` got.

        Returns:
            Ids of the submaps that moved; none if the path covers no anchor.
        """
        moves = self._moves_to(path, T_body_camera)
        if moves:
            self._leave_returned()
            newest = len(self) - 1 if self._active is None else self._active
            self._T_world_odom = nearest_rigid(moves.get(newest, np.eye(4)) @ self.T_world_odom)
            self._settle()
        return self._move(moves)

    def lower(self, submap: int, distance: float) -> None:
        """Move the origin of a submap down [m], away from the voxels, which stay in the world."""
        down = np.eye(4)
        down[2, 3] = -distance
        held = self[submap]
        self._submaps[submap] = replace(
            held,
            T_world_submap=held.T_world_submap @ down,
            T_submap_camera=invert(down) @ held.T_submap_camera,
        )
        if submap == self._active:
            self._T_odom_active = self._T_odom_active @ down

    def saved(self) -> list[dict[str, Any]]:
        """Return what the constructor takes, fit for JSON."""
        return [held.saved() for held in self._submaps]

    def _travel(self, position: Matrix) -> None:
        """Count the way of the camera to a position (3,) in the odom frame."""
        if self._camera is None:
            self._camera = position
            self._settle()
        elif (step := float(np.linalg.norm(position - self._camera))) >= _STEP:
            self._camera = position
            self._travelled += step

    def _is_near(self, T_frame_camera: Matrix, T_frame_anchor: Matrix) -> bool:
        away = np.abs(T_frame_camera[:3, 3] - T_frame_anchor[:3, 3])
        return bool(np.hypot(away[0], away[1]) <= self._radius and away[2] <= self._height)

    def _return(self, T_odom_camera: Matrix, fits: Fits) -> int | None:
        """Make active the nearest submap that fits; return its id, None if there is none."""
        T_world_camera = self.T_world_odom @ T_odom_camera
        distances = {
            submap: float(np.linalg.norm(T_anchor[:3, 3] - T_world_camera[:3, 3]))
            for submap, T_anchor in enumerate(held.T_world_camera for held in self._submaps)
            if self._is_near(T_world_camera, T_anchor)
        }
        for submap in sorted(distances, key=distances.__getitem__):
            T_submap_camera = invert(self[submap].T_world_submap) @ T_world_camera
            if fits(submap, T_submap_camera):
                self._T_odom_active = T_odom_camera @ invert(T_submap_camera)
                return submap
        return None

    def _make(self, T_odom_camera: Matrix, stamp_ns: int) -> int:
        """Make a submap around a camera active; return its id."""
        if len(self) == MAX_SUBMAPS:
            raise MapFileError(f'the map has {MAX_SUBMAPS} submaps, all it can; begin another map')
        T_odom_submap = np.eye(4)
        T_odom_submap[:2, 3] = np.round(T_odom_camera[:2, 3] / self._chunk) * self._chunk
        if self.floor_z is not None:
            T_odom_submap[2, 3] = (round(self.floor_z / self._cell) - 1) * self._cell
        self._T_odom_active = T_odom_submap
        made = Submap(
            T_world_submap=self.T_world_odom @ T_odom_submap,
            T_submap_camera=invert(T_odom_submap) @ T_odom_camera,
            anchor_ns=stamp_ns,
            travelled=self._travelled,
        )
        self._submaps.append(made)
        return len(self) - 1

    def _share(self, T_new_old: Matrix) -> dict[int, Matrix]:
        """Return the share of a jump for each submap that gets one."""
        moves: dict[int, Matrix] = {}
        if self._open_since is not None:
            begin, travelled = self._open_since
            made = self._submaps[self._first_open :]
            position = [begin, *(held.T_world_camera[:3, 3] for held in made), self._position()]
            lengths = [travelled, *(held.travelled for held in made), self._travelled]
            shares = bend(T_new_old, np.stack(position), np.array(lengths))
            moves = dict(enumerate(shares[1:-1], start=self._first_open))
        if self._active is not None and not self._has_returned:
            moves[self._active] = T_new_old
        return moves

    def _moves_to(self, path: PosePath, T_body_camera: Matrix) -> dict[int, Matrix]:
        """Return T_new_old of the submaps whose anchors are visibly off a path."""
        moves: dict[int, Matrix] = {}
        for submap, held in enumerate(self._submaps):
            T_world_body = path.at(held.anchor_ns)
            if T_world_body is not None:
                moves[submap] = T_world_body @ T_body_camera @ invert(held.T_world_camera)
        covered = tuple(moves)
        for submap in range(self._num_loaded, len(self)) if covered else ():
            if submap not in moves:
                moves[submap] = moves[min(covered, key=lambda other: abs(other - submap))]
        return {
            submap: T_new_old
            for submap, T_new_old in moves.items()
            if not _is_within(T_new_old, self[submap].T_world_camera[:3, 3], _STILL)
        }

    def _leave_returned(self) -> None:
        """Leave the active submap if the camera had only come back to it."""
        if self._has_returned:
            self._active, self._has_returned = None, False

    def _settle(self) -> None:
        """Take what was made so far as corrected, up to where the robot is now."""
        self._first_open = len(self)
        if self._camera is not None:
            self._open_since = self._position(), self._travelled

    def _position(self) -> Matrix:
        """Return where the camera is in the world (3,); the origin of odom before any frame."""
        camera = np.zeros(3) if self._camera is None else self._camera
        position: Matrix = self.T_world_odom[:3, :3] @ camera + self.T_world_odom[:3, 3]
        return position

    def _move(self, moves: Mapping[int, Matrix]) -> list[int]:
        """Apply corrections; return the ids of the submaps that they move."""
        moved = []
        for submap, T_new_old in sorted(moves.items()):
            old = self[submap].T_world_submap
            # Made rigid again, or rounding would grow from correction to correction.
            new = nearest_rigid(T_new_old @ old)
            if submap == self._active:
                new = self.T_world_odom @ self._T_odom_active
            if not np.allclose(new, old, rtol=0, atol=1e-9):
                self._submaps[submap] = replace(self[submap], T_world_submap=new)
                moved.append(submap)
        return moved


def _is_within(T_new_old: Matrix, position: Matrix, limits: tuple[float, float]) -> bool:
    """Tell whether a correction moves and turns what is at (3,) by no more than [m], [rad]."""
    distance = np.linalg.norm(T_new_old[:3, :3] @ position + T_new_old[:3, 3] - position)
    angle = np.arccos(np.clip((np.trace(T_new_old[:3, :3]) - 1) / 2, -1, 1))
    return bool(distance <= limits[0] and angle <= limits[1])
