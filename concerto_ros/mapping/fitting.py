"""Whether measured points lie on a surface that is there already."""

from collections.abc import Callable

import torch
from torch import Tensor

_MAX_POINTS = 2000  # more say nothing new
_DEPTH = 10  # voxels before and behind a point in which the surface is sought
_CLOSE = 1  # voxels; the width of a surface that was measured twice
_FEWEST = 30  # points, of one direction
_KNOWN = 0.3  # share of points near which there must be any surface
_DIRECTIONS = 2  # a floor alone fits wherever one is on it


def lies_on(
    coord: Tensor, normal: Tensor, is_held: Callable[[Tensor], Tensor], voxel_size: float
) -> bool:
    """Tell whether points lie on a surface of voxels, seen along their normals.

    Each point is followed along its normal to the nearest voxel. In every direction of the
    normals (along x, y or z) half of the points must meet one at once, so that many points of a
    floor do not outvote a few of a shifted wall; what has moved since is in the other half.
    Where little is known, or only a floor, the answer is no. A shift along a corridor without
    doors cannot be seen.

    Args:
        coord: (N, 3) float in the frame of the voxels [m].
        normal: (N, 3) float unit vectors there; points without one (zero) do not count.
        is_held: Takes voxel coordinates (M, 3) int64, returns (M,) bool.
        voxel_size: [m].
    """
    has_normal = normal.square().sum(1) > 0.5
    coord, normal = coord[has_normal], normal[has_normal]
    stride = max(1, -(-len(coord) // _MAX_POINTS))
    coord, normal = coord[::stride], normal[::stride]
    step = torch.arange(-_DEPTH, _DEPTH + 1, device=coord.device)
    line = coord[:, None] / voxel_size + step[:, None] * normal[:, None]
    held = is_held(line.floor().long().reshape(-1, 3)).view(len(coord), len(step))
    distance = torch.where(held, step.abs(), _DEPTH + 1).amin(1)
    is_known = distance <= _DEPTH
    if int(is_known.sum()) < max(_FEWEST, _KNOWN * len(coord)):
        return False
    axis = normal.abs().argmax(1)
    medians = [
        float(distance[is_known & (axis == direction)].median())
        for direction in range(3)
        if int((is_known & (axis == direction)).sum()) >= _FEWEST
    ]
    return len(medians) >= _DIRECTIONS and max(medians) <= _CLOSE
