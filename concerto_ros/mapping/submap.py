"""Submap: the pose of a rigid part of the map and the camera that began it, also as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from concerto_ros.errors import MapFileError
from concerto_ros.geometry.transforms import Matrix, is_rigid, nearest_rigid


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Submap:
    """Where a submap is, and from where it was begun.

    Attributes:
        T_world_submap: (4, 4) float64, where it is now; z is up.
        T_submap_camera: (4, 4) float64, the camera that began it: its anchor, which never changes.
        anchor_ns: Stamp of the anchor [ns].
        travelled: Length of the camera's path up to the anchor [m].
    """

    T_world_submap: Matrix
    T_submap_camera: Matrix
    anchor_ns: int
    travelled: float

    @property
    def T_world_camera(self) -> Matrix:
        """Where the anchor is now (4, 4)."""
        return self.T_world_submap @ self.T_submap_camera

    def saved(self) -> dict[str, Any]:
        """Return what `read` needs, fit for JSON."""
        return {
            'T_world_submap': self.T_world_submap.tolist(),
            'T_submap_camera': self.T_submap_camera.tolist(),
            'anchor_ns': self.anchor_ns,
            'travelled': self.travelled,
        }

    @classmethod
    def read(cls, number: int, entry: Mapping[str, Any]) -> 'Submap':
        """Return what was saved as submap `number`.

        Raises:
            MapFileError: Something is missing, or is no pose, stamp or length.
        """
        damaged = MapFileError(f'submap {number} is damaged; restore the map from a copy')
        try:
            poses = [
                np.array(entry[name], float) for name in ('T_world_submap', 'T_submap_camera')
            ]
            anchor_ns, travelled = entry['anchor_ns'], float(entry['travelled'])
        except (LookupError, TypeError, ValueError) as err:
            raise damaged from err
        if not (all(map(is_rigid, poses)) and type(anchor_ns) is int and 0 <= travelled < np.inf):
            raise damaged
        return cls(
            T_world_submap=nearest_rigid(poses[0]),
            T_submap_camera=nearest_rigid(poses[1]),
            anchor_ns=anchor_ns,
            travelled=travelled,
        )
