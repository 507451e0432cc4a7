"""What an odometry that drifts makes of a true path, and what a loop closure tells of it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.transforms import invert
from concerto_ros.rooms.primitives import Array, yaw_rotation


class DriftingOdometry:
    """A path as an odometry sees it that knows the vertical but errs in yaw and scale.

    Odometry and map agree in the first frame. At a loop closure the localisation finds the true
    pose, so map->odom jumps; in between it stays. `poses` of the path up to there, every n-th of
    them, are what a pose graph would send.

    Args:
        poses: (N, 4, 4) float64, true `T_map_camera` of each frame.
        yaw_per_metre: Error of the direction [rad] for each metre of the way.
        scale: Measured length of a metre [m].
        closures: Frames at which a loop is closed.

    Attributes:
        T_odom_camera: (N, 4, 4) float64, the drifting pose of each frame.
        T_map_odom: (N, 4, 4) float64, what is known of the drift at each frame.
    """

    def __init__(
        self, poses: Array, *, yaw_per_metre: float, scale: float, closures: Sequence[int] = ()
    ) -> None:
        steps = np.diff(poses[:, :3, 3], axis=0)
        way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(steps, axis=1))])
        turns = np.stack([yaw_rotation(yaw_per_metre * length) for length in way])
        drifted_steps = scale * (turns[:-1] @ steps[:, :, None])[:, :, 0]
        self.T_odom_camera: Array = np.tile(np.eye(4), (len(poses), 1, 1))
        self.T_odom_camera[:, :3, :3] = turns @ poses[:, :3, :3]
        self.T_odom_camera[:, :3, 3] = poses[0, :3, 3]
        self.T_odom_camera[1:, :3, 3] += np.cumsum(drifted_steps, axis=0)
        self.T_map_odom: Array = np.tile(np.eye(4), (len(poses), 1, 1))
        for index in sorted(closures):
            self.T_map_odom[index:] = poses[index] @ invert(self.T_odom_camera[index])

    def in_odom(self, frame: RGBDFrame, index: int) -> RGBDFrame:
        """Return a frame of the path with its drifting pose."""
        return replace(frame, T_map_depth=self.T_odom_camera[index])
