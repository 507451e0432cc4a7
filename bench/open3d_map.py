"""The reference for mapping: Open3D's VoxelBlockGrid, used as in its own documentation."""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.transforms import invert

try:
    import open3d
except (ImportError, OSError) as err:
    sys.exit(
        f'Open3D does not load ({err}): `make bench` installs it; on Debian or Ubuntu it also '
        'needs `sudo apt install libusb-1.0-0 libgl1 libgomp1`'
    )

_VOXEL_SIZE = 0.02
_BLOCK = 8  # voxels per edge
_BLOCK_COUNT = 20_000  # more than any benchmark fills, so that the table need not grow
_DEPTH_SCALE = 1000.0
_DEPTH_MAX = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Open3DFrame:
    """A frame as tensors of Open3D; depth in mm and 8-bit colour, which it takes fastest."""

    depth: Any
    color: Any
    intrinsic: Any
    extrinsic: Any


def open3d_frame(frame: RGBDFrame) -> Open3DFrame:
    """Convert a frame whose depth is registered to its colour."""
    camera = frame.depth_camera
    K = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    millimeters = np.rint(frame.depth * _DEPTH_SCALE).astype(np.uint16)
    return Open3DFrame(
        depth=open3d.t.geometry.Image(millimeters),
        color=open3d.t.geometry.Image(frame.color),
        intrinsic=open3d.core.Tensor(K),
        extrinsic=open3d.core.Tensor(invert(frame.T_map_depth)),
    )


class Open3DMap:
    """A truncated signed distance field with colour."""

    def __init__(self) -> None:
        self._grid = open3d.t.geometry.VoxelBlockGrid(
            attr_names=('tsdf', 'weight', 'color'),
            attr_dtypes=(open3d.core.float32,) * 3,
            attr_channels=((1), (1), (3)),
            voxel_size=_VOXEL_SIZE,
            block_resolution=_BLOCK,
            block_count=_BLOCK_COUNT,
            device=open3d.core.Device('CPU:0'),
        )

    @property
    def num_bytes(self) -> int:
        """Memory of the blocks in use, without the room that is kept for more."""
        return int(self._grid.hashmap().size()) * _BLOCK**3 * 5 * 4

    def integrate(self, frame: Open3DFrame) -> None:
        """Fuse one frame."""
        blocks = self._grid.compute_unique_block_coordinates(
            frame.depth, frame.intrinsic, frame.extrinsic, _DEPTH_SCALE, _DEPTH_MAX
        )
        self._grid.integrate(
            blocks, frame.depth, frame.color, frame.intrinsic, frame.intrinsic, frame.extrinsic,
            _DEPTH_SCALE, _DEPTH_MAX,
        )  # fmt: skip

    def surface(self) -> NDArray[np.float32]:
        """Return (N, 3) points of the surface [m]."""
        cloud = self._grid.extract_point_cloud(weight_threshold=1.0)
        return np.asarray(cloud.point.positions.numpy())
