"""Which points of a cloud an image sees, and at which pixel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from concerto_ros.config.schema import DepthConfig
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.transforms import invert

Pixels = NDArray[np.int64]

_AWAY = -0.2  # cosine to the line of sight from which a normal certainly faces away
_CELL_PX = 8  # edge of the cells in which near points hide far ones from the colour camera


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far a depth image and a point that it sees may be apart: base + share * depth.

    Attributes:
        base: [m].
        share: Of the depth.
    """

    base: float
    share: float

    def at(self, depth: NDArray) -> NDArray:
        """Return the tolerance (N,) [m] at depths (N,) [m]."""
        return self.base + self.share * depth


# About three standard deviations of a structured-light camera between 1 and 4 m (rooms/noise.py),
# and what poses of a recording add.
MEASURED = Tolerance(base=0.015, share=0.015)


def visible_points(
    coord: NDArray[np.float32],
    frame: RGBDFrame,
    tolerance: Tolerance,
    normal: NDArray[np.float32] | None = None,
) -> NDArray[np.int32]:
    """Link the points that a frame sees to pixels of its colour image.

    A point is seen if the depth image has, at the pixel on which it falls, nearly its depth, no
    next pixel belongs to a nearer surface, and its normal does not face away. Where the colour
    camera stands elsewhere, points that hide behind others from there are left out, too.

    Args:
        coord: (N, 3) float32 [m], in the frame of the frame's poses.
        frame: Its depth decides.
        tolerance: Between depth image and cloud.
        normal: (N, 3) unit vectors towards the side that was seen, zero where unknown; None
            where the sides are not known.

    Returns:
        (M, 3) int32 rows (x, y, point) in order of points, each point at most once; x and y are
        the colour pixel whose centre is nearest.

    Source: Concerto (arXiv 2510.23607), supplement: accept a point if it differs by less than
    1 cm from the depth map; the other conditions are ours.
    """
    local = _transformed(coord, invert(frame.T_map_depth))
    x, y, point = _pixels(local, frame.depth_camera)
    z = local[point, 2]
    margin = tolerance.at(z)
    is_near = np.abs(frame.depth[y, x] - z) < margin  # false for NaN
    front = _nearest_depth(frame.depth)[y, x]
    is_seen = is_near & (front >= z - np.maximum(margin, DepthConfig().edge * z))
    point = point[is_seen & (frame.depth[y, x] > 0)]
    if normal is not None:
        point = point[~_faces_away(local[point], normal[point] @ frame.T_map_depth[:3, :3])]
    return _color_rows(local, point, frame)


def _transformed(coord: NDArray, T: NDArray[np.float64]) -> NDArray[np.float64]:
    moved: NDArray[np.float64] = coord @ T[:3, :3].T + T[:3, 3]
    return moved


def _pixels(local: NDArray, camera: PinholeCamera) -> tuple[Pixels, Pixels, Pixels]:
    """Return column and row of the nearest pixel, and the row of the points that have one."""
    pixel, depth = camera.project(local)
    column, row = np.rint(pixel).T
    is_inside = (depth > 0) & (column >= 0) & (column < camera.width)
    is_inside &= (row >= 0) & (row < camera.height)
    point = is_inside.nonzero()[0]
    return column[point].astype(np.int64), row[point].astype(np.int64), point


def _nearest_depth(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (H, W) the least depth within one pixel; infinite where nothing is measured."""
    low = np.pad(np.where(depth > 0, depth, np.float32(np.inf)), 1, constant_values=np.inf)
    low = np.minimum(np.minimum(low[:-2], low[1:-1]), low[2:])
    nearest: NDArray[np.float32] = np.minimum(np.minimum(low[:, :-2], low[:, 1:-1]), low[:, 2:])
    return nearest


def _faces_away(local: NDArray, normal: NDArray) -> NDArray[np.bool_]:
    """Tell of points (M, 3) and normals (M, 3) of the camera frame which show their back."""
    towards = -(local * normal).sum(axis=1)
    away: NDArray[np.bool_] = towards < _AWAY * np.linalg.norm(local, axis=1)
    return away


def _color_rows(local: NDArray, point: Pixels, frame: RGBDFrame) -> NDArray[np.int32]:
    is_elsewhere = not np.array_equal(frame.T_color_depth, np.eye(4))
    seen_from = _transformed(local[point], frame.T_color_depth) if is_elsewhere else local[point]
    x, y, row = _pixels(seen_from, frame.color_camera)
    rows = np.stack([x, y, point[row]], axis=1).astype(np.int32)
    return rows[_is_unhidden(x, y, seen_from[row, 2])] if is_elsewhere else rows


def _is_unhidden(x: Pixels, y: Pixels, z: NDArray) -> NDArray[np.bool_]:
    """Tell which points are not far behind the nearest one in their cell of the image."""
    if len(z) == 0:
        return np.zeros(0, dtype=bool)
    cell = (y // _CELL_PX) * (int(x.max()) // _CELL_PX + 1) + x // _CELL_PX
    nearest = np.full(int(cell.max()) + 1, np.inf)
    np.minimum.at(nearest, cell, z)
    is_unhidden: NDArray[np.bool_] = z <= nearest[cell] * (1 + DepthConfig().edge)
    return is_unhidden
