"""Voxel coordinates as int64 keys, sorted block by block.

A voxel (x, y, z) lies in block (x >> 3, y >> 3, z >> 3) and has one of 512 places in it. Its key
is `block key << 9 | place`; a block key holds 18 bits per axis, 21 km to either side at 2 cm.
"""

import numpy as np
import torch
from torch import Tensor

BLOCK_BITS = 3  # 8 voxels per edge of a block
PLACE_BITS = 3 * BLOCK_BITS
PLACES = 1 << PLACE_BITS
GROUP_BLOCKS = 2  # blocks per edge of a group: 16 voxels, a cell of the coarsest pooling
_AXIS_BITS = 18
_AXIS_MASK = (1 << _AXIS_BITS) - 1
_CENTER = 1 << (_AXIS_BITS - 1)
MAX_GRID = _CENTER << BLOCK_BITS  # a voxel coordinate is in -MAX_GRID..MAX_GRID - 1


def pack_blocks(block: Tensor) -> Tensor:
    """Return (N,) int64 keys of block coordinates (N, 3) int64."""
    x, y, z = (block + _CENTER).unbind(1)
    return (x << 2 * _AXIS_BITS) | (y << _AXIS_BITS) | z


def unpack_blocks(key: Tensor) -> Tensor:
    """Return (N, 3) int64 coordinates of block keys (N,)."""
    parts = (key >> 2 * _AXIS_BITS, key >> _AXIS_BITS, key)
    return torch.stack([(part & _AXIS_MASK) - _CENTER for part in parts], dim=1)


def pack_voxels(grid: Tensor) -> Tensor:
    """Return (N,) int64 keys of voxel coordinates (N, 3) int64 in -MAX_GRID..MAX_GRID - 1."""
    x, y, z = (grid & ((1 << BLOCK_BITS) - 1)).unbind(1)
    place = (x << 2 * BLOCK_BITS) | (y << BLOCK_BITS) | z
    return (pack_blocks(grid >> BLOCK_BITS) << PLACE_BITS) | place


def unpack_voxels(key: Tensor) -> Tensor:
    """Return (N, 3) int64 coordinates of voxel keys (N,)."""
    low = (1 << BLOCK_BITS) - 1
    place = torch.stack(
        [(key >> 2 * BLOCK_BITS) & low, (key >> BLOCK_BITS) & low, key & low], dim=1
    )
    return (unpack_blocks(key >> PLACE_BITS) << BLOCK_BITS) + place


def groups_of_blocks(block_key: Tensor) -> Tensor:
    """Return (N, 3) int64 coordinates of the groups that hold blocks (N,)."""
    return unpack_blocks(block_key) // GROUP_BLOCKS


def unique_voxels(key: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (U,) sorted different keys, and the (N,) int64 place of each key among them."""
    if key.is_cpu:  # numpy sorts integers three times as fast as torch
        unique, place = np.unique(key.numpy(), return_inverse=True)
        return torch.from_numpy(unique), torch.from_numpy(place)
    unique, place = torch.unique(key, return_inverse=True)
    return unique, place
