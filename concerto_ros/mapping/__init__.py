"""The voxel map: where its voxels are stored, how measurements are fused, what has changed.

voxel_map = VoxelMap(voxel_size=0.02)
voxel_map.integrate(points, stamp_ns, max_weight=64.0)
cloud = voxel_map.cloud(voxel_map.surface_rows())
"""

from concerto_ros.mapping.cell_pyramid import CellLayout
from concerto_ros.mapping.voxel_map import CHUNK_VOXELS, GROUP_VOXELS, VoxelMap

__all__ = ['CHUNK_VOXELS', 'GROUP_VOXELS', 'CellLayout', 'VoxelMap']
