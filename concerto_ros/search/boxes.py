"""The smallest upright box around points."""

import numpy as np
from numpy.typing import NDArray

from concerto_ros.structures import Box


def upright_box(coord: NDArray[np.floating], voxel_size: float) -> Box:
    """Fit an upright box around all points, turned so that their voxels take the least ground.

    The angle is found to 0.05 degrees. The longer edge lies along the box's own x axis.

    Args:
        coord: (N, 3) float [m], N > 0.
        voxel_size: Least edge length of the box [m], so that flat things have a volume.

    Returns:
        The box, with its yaw in [-pi / 2, pi / 2).
    """
    x, y, z = coord.astype(np.float64).T
    yaw = _best_yaw(*_outline(x - x.min(), y - y.min()), voxel_size)
    c, s = np.cos(yaw), np.sin(yaw)
    along, across = c * x + s * y, c * y - s * x
    u, v = (along.min() + along.max()) / 2, (across.min() + across.max()) / 2
    size = np.array([np.ptp(along), np.ptp(across), np.ptp(z)])
    if size[1] > size[0]:
        size[:2] = size[1::-1]
        yaw += np.pi / 2
    yaw = (yaw + np.pi / 2) % np.pi - np.pi / 2
    center = np.array([c * u - s * v, s * u + c * v, (z.min() + z.max()) / 2])
    return Box(center=center, size=np.maximum(size, voxel_size), yaw=yaw)


def _outline(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leave out points that cannot be corners of the convex hull: those inside a 16-gon of it.

    Source: Akl and Toussaint, A fast convex hull algorithm, 1978.
    """
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    ring = [int((np.cos(a) * x + np.sin(a) * y).argmax()) for a in angles]
    keep = np.zeros(len(x), dtype=bool)
    for i, j in zip(ring, ring[1:] + ring[:1], strict=True):
        if (x[i], y[i]) != (x[j], y[j]):
            keep |= (x[j] - x[i]) * (y - y[i]) <= (y[j] - y[i]) * (x - x[i])
    keep[ring] = True
    return x[keep], y[keep]


def _best_yaw(x: NDArray[np.float64], y: NDArray[np.float64], width: float) -> float:
    """Return the angle [rad] of the rectangle of least area, first to 1 and then to 0.05 deg."""
    coarse = np.deg2rad(np.arange(0, 90, 1.0))
    yaw = coarse[_areas(x, y, coarse, width).argmin()]
    fine = yaw + np.deg2rad(np.linspace(-1, 1, 41))
    return float(fine[_areas(x, y, fine, width).argmin()])


def _areas(
    x: NDArray[np.float64], y: NDArray[np.float64], yaws: NDArray[np.float64], width: float
) -> NDArray[np.float64]:
    """Return (A,) area [m2] of the rectangle around points of this width at each of the angles."""
    c, s = np.cos(yaws)[:, None], np.sin(yaws)[:, None]
    along, across = np.ptp(c * x + s * y, axis=1), np.ptp(c * y - s * x, axis=1)
    area: NDArray[np.float64] = (along + width) * (across + width)
    return area
