"""NearestDepth: the nearest that a depth image sees around a place, and how far it looks there.

Answers come out of tables, one look-up for a disc of any size: a window is 3 x 3 tiles, and tiles
have 4, 8, 16, ... pixels per edge. A window is never smaller than its disc, but may be larger.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from concerto_ros.geometry.camera import PinholeCamera

_TILE = 4  # pixels per edge of the smallest tiles
_NUM_LEVELS = 5  # the largest have 64
_GAP_TILES = 3  # of 3 x 3 tiles without measurement: a line or an area, not a speck
_OUTSIDE, _TOO_LARGE = 0, 1  # the first windows, of which nothing is known
_NEAREST_THERE, _FARTHEST_THERE = (0.0, 0.0), (0.0, torch.inf)


class NearestDepth:
    """What a depth image sees around any place before the camera.

    Where nothing was measured, and beyond the border of the image, something may stand right
    before the camera, so the least depth there is 0. Only specks of a few pixels without
    measurement, which black things and weak returns leave everywhere, do not count.

    Args:
        depth: (H, W) float32 [m]; outside 0..limit or not finite is no measurement.
        camera: Its intrinsics.
        limit: Largest depth that can be a measurement [m].
    """

    def __init__(self, depth: Tensor, camera: PinholeCamera, limit: float) -> None:
        self._camera = camera
        nearest = _nearest_of_tiles(depth, limit)
        # The least of the negative is the farthest, so that one minimum serves both.
        tiles = torch.stack([nearest, -_around(nearest, torch.minimum)])
        first = torch.tensor([_NEAREST_THERE, _FARTHEST_THERE], device=depth.device)
        tables, start, width = [first], [first.shape[1]], []
        for _ in range(_NUM_LEVELS):
            tables.append(_around(tiles, torch.minimum).flatten(1))
            start.append(start[-1] + tables[-1].shape[1])
            width.append(tiles.shape[2])
            tiles = _least_of_four(tiles)
        table = torch.cat(tables, dim=1)
        self._nearest: Tensor = table[0]
        self._farthest: Tensor = table[1].abs()
        self._start: Tensor = torch.tensor(start[:-1], device=depth.device)
        self._width: Tensor = torch.tensor(width, device=depth.device)

    def nearest(self, window: Tensor) -> Tensor:
        """Return the (M,) float32 least depth in windows (M,) [m]; 0 where it is not known."""
        return self._nearest[window]

    def farthest(self, window: Tensor) -> Tensor:
        """Return (M,) float32 [m]; no place in windows (M,) has a `nearest` beyond it."""
        return self._farthest[window]

    def windows(self, points: Tensor, radius: float) -> Tensor:
        """Find the windows that cover spheres.

        Args:
            points: (3, M) float32 centres in the frame of the camera [m].
            radius: Of the spheres [m].

        Returns:
            (M,) int64, for `nearest` and `farthest`.
        """
        camera = self._camera
        x, y, z = points
        ahead = z.clamp(min=1e-6)
        u = (x / ahead * camera.fx + (camera.cx + 0.5)).floor()
        v = (y / ahead * camera.fy + (camera.cy + 0.5)).floor()
        pixels = max(camera.fx, camera.fy) * radius / (z - radius).clamp(min=1e-6)
        # Spheres that stand out of the image have the windows at its border, which are near.
        column, row = u.clamp(0, camera.width - 1), v.clamp(0, camera.height - 1)
        is_outside = ((u - column).abs() > pixels) | ((v - row).abs() > pixels) | (z <= 0)
        level = (pixels / _TILE).log2().ceil_().clamp_(0, _NUM_LEVELS).long()
        is_too_large = level == _NUM_LEVELS
        level.clamp_(max=_NUM_LEVELS - 1)
        column, row = (column.long() // _TILE) >> level, (row.long() // _TILE) >> level
        window: Tensor = self._start[level] + row * self._width[level] + column
        window.masked_fill_(is_too_large, _TOO_LARGE)
        return window.masked_fill_(is_outside, _OUTSIDE)


def _nearest_of_tiles(depth: Tensor, limit: float) -> Tensor:
    """Return the least depth (R, C) of each tile; 0 at gaps, infinite where a speck fills it."""
    # The inverse of zero, NaN and infinity becomes zero: what is not measured is far away.
    inverse = _filled_up(depth, _TILE).reciprocal().nan_to_num_(nan=0.0, posinf=0.0)
    largest = _of_tiles(inverse, Tensor.amax)
    is_gap = _of_tiles(inverse, Tensor.amin) < 1 / limit
    is_gap &= _around(is_gap.float(), torch.add) >= _GAP_TILES
    return torch.where(is_gap, 0.0, 1 / largest.clamp(min=0))


def _of_tiles(image: Tensor, reduce: Callable[[Tensor, int], Tensor]) -> Tensor:
    stripes = reduce(image.view(-1, _TILE, image.shape[1]), 1)
    return reduce(stripes.view(len(stripes), -1, _TILE), 2)


def _around(tiles: Tensor, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Combine each of the tiles (..., R, C) with the 8 around it; beyond the border they are 0."""
    padded = functional.pad(tiles, (1, 1, 1, 1))
    rows = combine(combine(padded[..., :-2, :], padded[..., 1:-1, :]), padded[..., 2:, :])
    return combine(combine(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])


def _least_of_four(tiles: Tensor) -> Tensor:
    """Return tiles (2, R, C) of twice the edge."""
    tiles = _filled_up(tiles, 2)
    rows = torch.minimum(tiles[:, 0::2], tiles[:, 1::2])
    return torch.minimum(rows[:, :, 0::2], rows[:, :, 1::2])


def _filled_up(image: Tensor, size: int) -> Tensor:
    """Add zeros below and to the right until height and width are multiples of `size`."""
    below, right = -image.shape[-2] % size, -image.shape[-1] % size
    return functional.pad(image, (0, right, 0, below)) if below or right else image
