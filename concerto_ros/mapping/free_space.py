"""FreeSpace: which voxels of a map one depth image sees through.

A voxel that is seen through now and then may be an error of the camera, so maps remove it only
after several looks with nothing measured in it in between: `clear`. What was not measured never
counts as free, and what stands close beside a look stays, so thin things and edges do.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concerto_ros.config.schema import DepthConfig
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.nearest_depth import NearestDepth
from concerto_ros.mapping.voxel_map import VoxelMap

_TURNS = 4  # each block is tested in one of so many frames
# All around a voxel the image must see beyond it, by a margin: errors of pose and calibration, and
# depth noise, which grows with the square of the distance (2.5 times that of a Kinect).
_REACH = 0.6  # voxels
_MARGIN = 1.0  # voxels
_NOISE = 0.005  # 1/m
_LIMIT = 2.0  # times depth.max; farther is no depth: 65.535 m is how some cameras write that


class FreeSpace:
    """What one depth image says about voxels being free; valid for one frame.

    Args:
        nearest: The depth image.
        T_map_camera: (4, 4), from the frame of its camera to that of the voxels.
        config: Range in which voxels are judged.
        voxel_size: Edge length of a voxel [m].
    """

    def __init__(
        self,
        nearest: NearestDepth,
        T_map_camera: NDArray[np.float64],
        config: DepthConfig,
        voxel_size: float,
    ) -> None:
        self._nearest = nearest
        self._R = torch.from_numpy(T_map_camera[:3, :3].T.astype(np.float32))
        self._t = torch.from_numpy(-T_map_camera[:3, :3].T @ T_map_camera[:3, 3:]).float()
        self._config = config
        self._voxel_size = voxel_size

    @classmethod
    def of_frame(
        cls,
        frame: RGBDFrame,
        config: DepthConfig,
        voxel_size: float,
        device: torch.device | str = 'cpu',
    ) -> 'FreeSpace':
        """Return the free space that a frame sees, in the frame of its pose."""
        # Images from messages may be views of read-only memory, which torch does not know.
        depth = frame.depth if frame.depth.flags.writeable else frame.depth.copy()
        on_device = torch.from_numpy(depth).to(device)
        nearest = NearestDepth(on_device, frame.depth_camera, _LIMIT * config.max)
        return cls(nearest, frame.T_map_depth, config, voxel_size)

    def blocks_to_test(self, center: Tensor, edge: float, turn: int, is_worn: Tensor) -> Tensor:
        """Choose the blocks whose voxels are to be tested in a frame.

        These are every fourth block, others in each frame, and those that are worn already; and
        of all these only what the image looks into.

        Args:
            center: (B, 3) float32 centres of blocks near the camera [m].
            edge: Edge length of a block [m].
            turn: Number of the frame.
            is_worn: (B,) bool, a voxel was seen through when the block was tested last.

        Returns:
            (V,) int64 in 0..B - 1, rising.
        """
        x, y, z = (center / edge).floor().long().unbind(1)
        block = (is_worn | ((x + y + z + turn) % _TURNS == 0)).nonzero()[:, 0]
        local = self._local(center.index_select(0, block))
        radius = edge * math.sqrt(3) / 2
        front = local[2] - radius
        is_in_range = (front < self._config.max) & (local[2] + radius > self._config.min)
        looks = self._nearest.farthest(self._nearest.windows(local, radius))
        return block[is_in_range & (looks > front + self._margin(front))]

    def is_seen_through(self, coord: Tensor) -> Tensor:
        """Return (M,) bool, through which voxels the image sees.

        Args:
            coord: (M, 3) float32 mean positions of voxels [m].
        """
        local = self._local(coord)
        depth = local[2]
        is_in_range = (depth > self._config.min) & (depth < self._config.max)
        nearest = self._nearest.nearest(self._nearest.windows(local, _REACH * self._voxel_size))
        return is_in_range & (nearest > depth + self._margin(depth))

    def _margin(self, depth: Tensor) -> Tensor:
        return depth.square().mul_(_NOISE).add_(_MARGIN * self._voxel_size)

    def _local(self, points: Tensor) -> Tensor:
        """Return points (M, 3) of the map as (3, M) of the camera."""
        return torch.addmm(self._t.to(points.device), self._R.to(points.device), points.T)


def clear(
    voxel_map: VoxelMap,
    frame: RGBDFrame,
    config: DepthConfig,
    *,
    submap: int,
    turn: int,
    max_misses: int,
) -> int:
    """Count one more look of a frame through voxels, and remove those with too many.

    Args:
        voxel_map: The map, into which the frame was fused before.
        frame: With its pose in the submap.
        config: Range in which voxels are judged.
        submap: Whose voxels.
        turn: Number of the frame.
        max_misses: After so many looks with nothing measured in between a voxel is gone; 0: never.

    Returns:
        Number of voxels removed.
    """
    if max_misses == 0:
        return 0
    camera = torch.from_numpy(frame.T_map_depth[:3, 3]).to(voxel_map.device)
    block = voxel_map.blocks_near(camera, config.max, submap)
    if len(block) == 0:
        return 0
    free = FreeSpace.of_frame(frame, config, voxel_map.voxel_size, voxel_map.device)
    center, is_worn = voxel_map.block_centers(block), voxel_map.is_worn(block)
    tested = block[free.blocks_to_test(center, voxel_map.block_size, turn, is_worn)]
    rows = voxel_map.rows_of_blocks(tested)
    return voxel_map.wear(tested, rows, free.is_seen_through(voxel_map.coord(rows)), max_misses)
