"""Fuses the frames of a recording into one cloud, by the very steps of the robot's map."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from concerto_ros.config.schema import DepthConfig, MapConfig
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.gravity import GravityCheck
from concerto_ros.geometry.rgbd import surface_points
from concerto_ros.mapping import VoxelMap
from training.prepare.scene import SceneCloud


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionSettings:
    """How frames become a cloud: the robot's own parameters.

    Attributes:
        depth: Which pixels are used.
        map: The voxels they are fused in.
    """

    depth: DepthConfig = field(default_factory=DepthConfig)
    map: MapConfig = field(default_factory=MapConfig)


class CloudFusion:
    """A cloud that grows frame by frame, on the CPU.

    Attributes:
        num_frames: Frames in it.
        warnings: Sentences for people, such as that z is not up.
    """

    def __init__(self, settings: FusionSettings) -> None:
        self.num_frames = 0
        self.warnings: list[str] = []
        self._settings = settings
        self._map = VoxelMap(settings.map.voxel_size)
        self._gravity = GravityCheck()

    def integrate(self, frame: RGBDFrame) -> None:
        """Fuse one frame.

        Raises:
            FrameError: It has no usable depth.
        """
        points = surface_points(frame, self._settings.depth, self.num_frames)
        self._map.integrate(points, frame.stamp_ns, self._settings.map.max_weight)
        self.num_frames += 1
        if warning := self._gravity.add(points.normal, frame.T_map_depth):
            self.warnings.append(warning)

    def cloud(self, T_world_map: NDArray[np.float64]) -> SceneCloud:
        """Return the thin surface, moved by `T_world_map` (4, 4)."""
        cloud = self._map.cloud(self._map.surface_rows())
        R, t = T_world_map[:3, :3], T_world_map[:3, 3]
        return SceneCloud(
            coord=(cloud.coord @ R.T + t).astype(np.float32),
            color=cloud.color,
            normal=(cloud.normal @ R.T).astype(np.float32),
        )
