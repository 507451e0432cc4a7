"""The voxel map: where its voxels are stored, how measurements are fused, what has changed.

voxel_map = VoxelMap(voxel_size=0.02)
voxel_map.integrate(points, stamp_ns, revision=1, max_weight=64.0)
cloud = voxel_map.cloud()
"""

from concerto_ros.mapping.voxel_map import GROUP_VOXELS, VoxelMap

__all__ = ['GROUP_VOXELS', 'VoxelMap']
