"""Voxel coordinates as int64 keys, sorted submap by submap, chunk by chunk, block by block.

A key is `submap << 48 | chunk << 18 | block << 9 | place`: the chunk (64 voxels per edge) with 10
bits per axis, the block (8 voxels per edge) within it and the voxel within that with 3 bits per
axis. Coordinates count from the origin of the submap, 655 m to either side at 2 cm.
"""

import numpy as np
import torch
from torch import Tensor

BLOCK_BITS = 3  # 8 voxels per edge of a block
CHUNK_BITS = 6  # 64 voxels per edge of a chunk
PLACE_BITS = 3 * BLOCK_BITS
PLACES = 1 << PLACE_BITS  # voxels in a block, and blocks in a chunk
CHUNK_SHIFT = 2 * PLACE_BITS  # of a voxel's key: what remains is that of its chunk
GROUP_BLOCKS = 2  # blocks per edge of a group: 16 voxels
MAX_GRID = 1 << 15  # a voxel coordinate is in -MAX_GRID..MAX_GRID - 1
MAX_SUBMAPS = 1 << 15
_CHUNK_AXIS_BITS = 10
_SUBMAP_SHIFT = 3 * _CHUNK_AXIS_BITS  # of a chunk's key
_LOW = (1 << BLOCK_BITS) - 1


def pack_voxels(grid: Tensor, submap: int | Tensor = 0) -> Tensor:
    """Return (N,) int64 keys of voxel coordinates (N, 3) int64 in -MAX_GRID..MAX_GRID - 1.

    Args:
        grid: Coordinates.
        submap: Of all voxels, or (N,) int64 of each.
    """
    x, y, z = (grid + MAX_GRID).unbind(1)
    chunk = _joined(x >> CHUNK_BITS, y >> CHUNK_BITS, z >> CHUNK_BITS, _CHUNK_AXIS_BITS)
    in_chunk = [(axis >> BLOCK_BITS) & _LOW for axis in (x, y, z)]
    block = _joined(in_chunk[0], in_chunk[1], in_chunk[2], BLOCK_BITS)
    place = _joined(x & _LOW, y & _LOW, z & _LOW, BLOCK_BITS)
    chunk = chunk | (submap << _SUBMAP_SHIFT)
    return (chunk << CHUNK_SHIFT) | (block << PLACE_BITS) | place


def unpack_voxels(key: Tensor) -> Tensor:
    """Return (N, 3) int64 coordinates of voxel keys (N,) in their submaps."""
    chunk = _parted(key >> CHUNK_SHIFT, _CHUNK_AXIS_BITS)
    block, place = _parted(key >> PLACE_BITS, BLOCK_BITS), _parted(key, BLOCK_BITS)
    return (chunk << CHUNK_BITS) + (block << BLOCK_BITS) + place - MAX_GRID


def pack_blocks(block: Tensor, submap: int | Tensor = 0) -> Tensor:
    """Return (N,) int64 keys of block coordinates (N, 3) int64."""
    return pack_voxels(block << BLOCK_BITS, submap) >> PLACE_BITS


def unpack_blocks(key: Tensor) -> Tensor:
    """Return (N, 3) int64 coordinates of block keys (N,) in their submaps."""
    return unpack_voxels(key << PLACE_BITS) >> BLOCK_BITS


def pack_chunks(chunk: Tensor, submap: int | Tensor = 0) -> Tensor:
    """Return (N,) int64 keys of chunk coordinates (N, 3) int64."""
    return pack_voxels(chunk << CHUNK_BITS, submap) >> CHUNK_SHIFT


def unpack_chunks(key: Tensor) -> Tensor:
    """Return (N, 3) int64 coordinates of chunk keys (N,) in their submaps."""
    return unpack_voxels(key << CHUNK_SHIFT) >> CHUNK_BITS


def corners(voxel_key: Tensor, edge_bits: int) -> Tensor:
    """Return (N,) int64 keys of the lowest voxels of the cubes that hold voxels (N,).

    Args:
        voxel_key: Of the voxels.
        edge_bits: Logarithm to base 2 of the edge of a cube [voxels], at most that of a chunk.
    """
    low = (1 << min(edge_bits, BLOCK_BITS)) - 1
    high = (1 << max(edge_bits - BLOCK_BITS, 0)) - 1
    mask = sum((high << PLACE_BITS | low) << shift for shift in (0, BLOCK_BITS, 2 * BLOCK_BITS))
    return voxel_key & ~mask


def submap_of(voxel_key: Tensor) -> Tensor:
    """Return (N,) int64 submaps of voxel keys (N,)."""
    return voxel_key >> (CHUNK_SHIFT + _SUBMAP_SHIFT)


def submap_of_chunk(chunk_key: Tensor) -> Tensor:
    """Return (N,) int64 submaps of chunk keys (N,)."""
    return chunk_key >> _SUBMAP_SHIFT


def unique_voxels(key: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (U,) sorted different keys, and the (N,) int64 place of each key among them."""
    if key.is_cpu:  # numpy sorts integers three times as fast as torch
        unique, place = np.unique(key.numpy(), return_inverse=True)
        return torch.from_numpy(unique), torch.from_numpy(place)
    unique, place = torch.unique(key, return_inverse=True)
    return unique, place


def _joined(x: Tensor, y: Tensor, z: Tensor, bits: int) -> Tensor:
    return (x << 2 * bits) | (y << bits) | z


def _parted(code: Tensor, bits: int) -> Tensor:
    """Return the (N, 3) lowest numbers of `bits` bits of codes (N,)."""
    mask = (1 << bits) - 1
    return torch.stack([(code >> shift) & mask for shift in (2 * bits, bits, 0)], dim=1)
