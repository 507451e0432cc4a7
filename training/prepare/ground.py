"""Sets a lifted video upright: z up, 3 m high, ground at zero."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import SourceError
from concerto_ros.geometry.transforms import level

Matrix = NDArray[np.float64]

_HEIGHT = 3.0  # m, of the scene, whose true scale nobody knows
_LOWEST = 0.2  # share of the points among which the ground is sought
_NEAR = 0.01  # m between the ground and its points
_MAX_TILT_DEG = 40.0
_NUM_PLANES, _NUM_TRIALS = 1000, 6
_MAX_POINTS = 5000  # that vote
_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # from z forward, y down


class Similarity(NamedTuple):
    """Takes p to scale * R @ p + t."""

    scale: float
    R: Matrix
    t: Matrix

    def points(self, points: NDArray) -> Matrix:
        """Return moved points (..., 3)."""
        moved: Matrix = self.scale * (points @ self.R.T) + self.t
        return moved

    def pose(self, T_world_camera: Matrix) -> Matrix:
        """Return the moved pose (4, 4) of a camera, still rigid."""
        T = np.eye(4)
        T[:3, :3] = self.R @ T_world_camera[:3, :3]
        T[:3, 3] = self.points(T_world_camera[:3, 3])
        return T


def upright(points: NDArray, rng: np.random.Generator) -> Similarity:
    """Find what sets the points of a video upright.

    Args:
        points: (N, 3) float, in the world of a camera (z forward, y down) at any scale.
        rng: Draws the planes that are tried.

    Returns:
        Takes the points to a world with z up, a height of 3 m before levelling, and the ground
        at z = 0.

    Raises:
        SourceError: There is no ground, or the points have no height.

    Source: Concerto (arXiv 2510.23607), preprocessing of RE10K.
    """
    turned = points @ _Z_UP.T
    height = float(np.ptp(turned[:, 2])) if len(turned) else 0.0
    if not height > 0:
        raise SourceError(f'expected points of different heights, found {len(turned)} points')
    scale = _HEIGHT / height
    normal, center = _ground(scale * turned, rng)
    R = level(normal)[:3, :3]
    return Similarity(scale, R @ _Z_UP, np.array([0.0, 0.0, -(R @ center)[2]]))


def _ground(points: Matrix, rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    """Return the upward normal (3,) of the ground and a point (3,) on it."""
    z = points[:, 2]
    left = points[z <= np.quantile(z, _LOWEST)]
    left = left[rng.permutation(len(left))[:_MAX_POINTS]]
    for _ in range(_NUM_TRIALS):
        if len(left) < 3:
            break
        is_on = _largest_plane(left, rng)
        normal, center = _fitted(left[is_on])
        if normal[2] >= np.cos(np.radians(_MAX_TILT_DEG)):
            return normal, center
        left = left[~is_on]
    raise SourceError(
        f'no ground within {_MAX_TILT_DEG:.0f} degrees of level among the lowest points; the '
        'published recipe leaves such clips out, too'
    )


def _largest_plane(points: Matrix, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which points (N, 3) lie on the best of many planes through three of them (RANSAC)."""
    a, b, c = points[rng.integers(len(points), size=(3, _NUM_PLANES))]
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1)
    normal, a = normal[length > 0], a[length > 0]
    if len(normal) == 0:
        return np.ones(len(points), dtype=bool)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    is_on = np.abs(points @ normal.T - (a * normal).sum(axis=1)) < _NEAR  # (N, planes)
    best: NDArray[np.bool_] = is_on[:, is_on.sum(axis=0).argmax()]
    return best


def _fitted(points: Matrix) -> tuple[Matrix, Matrix]:
    """Return the upward normal and the mean of the plane through points, by least squares."""
    center = points.mean(axis=0)
    normal = np.linalg.eigh((points - center).T @ (points - center))[1][:, 0]
    return (normal if normal[2] >= 0 else -normal), center
