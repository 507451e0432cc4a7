"""Rigid transforms as 4x4 float64 matrices; `T_a_b` takes b coordinates to a coordinates.

Inner letters cancel: `T_map_camera = T_map_base @ T_base_camera`. Quaternions are (x, y, z, w),
as in ROS.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Matrix = NDArray[np.float64]


def invert(T_a_b: Matrix) -> Matrix:
    """Return `T_b_a` (4, 4) of a rigid `T_a_b` (4, 4)."""
    R, t = T_a_b[:3, :3], T_a_b[:3, 3]
    T_b_a = np.eye(4)
    T_b_a[:3, :3] = R.T
    T_b_a[:3, 3] = -R.T @ t
    return T_b_a


def from_quaternion(translation: ArrayLike, quaternion: ArrayLike) -> Matrix:
    """Build a (4, 4) matrix from a translation (3,) [m] and a quaternion (4,) of any length.

    Raises:
        ValueError: The quaternion is zero or anything is not finite.
    """
    q = np.asarray(quaternion, dtype=np.float64)
    t = np.asarray(translation, dtype=np.float64)
    norm = np.linalg.norm(q)
    if not (np.isfinite(norm) and np.isfinite(t).all()) or norm == 0.0:
        raise ValueError(f'expected finite numbers and a non-zero quaternion, got {t}, {q}')
    x, y, z, w = q / norm
    T = np.eye(4)
    T[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    T[:3, 3] = t
    return T


def to_quaternion(T_a_b: Matrix) -> Matrix:
    """Return the unit quaternion (4,) x y z w of the rotation of `T_a_b`, with w >= 0."""
    R = T_a_b[:3, :3]
    # The largest of the four squared components is the stable one to divide by (Shepperd).
    squares = np.array([R[0, 0], R[1, 1], R[2, 2]]) * 2 - np.trace(R)
    if np.trace(R) > squares.max():
        q = np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1], 1 + np.trace(R)])
    else:
        i = int(squares.argmax())
        j, k = (i + 1) % 3, (i + 2) % 3
        q = np.empty(4)
        q[i] = 1 + squares[i]
        q[j] = R[j, i] + R[i, j]
        q[k] = R[k, i] + R[i, k]
        q[3] = R[k, j] - R[j, k]
    q /= np.linalg.norm(q)
    return -q if q[3] < 0 else q


def slerp(q_a: ArrayLike, q_b: ArrayLike, fraction: float) -> Matrix:
    """Interpolate two quaternions (4,) along the shorter arc, from `q_a` at 0 to `q_b` at 1."""
    a = np.asarray(q_a, dtype=np.float64)
    b = np.asarray(q_b, dtype=np.float64)
    dot = float(a @ b)
    if dot < 0:
        b, dot = -b, -dot
    if dot > 1 - 1e-9:  # nearly equal: the sine below would divide by zero
        q = a + fraction * (b - a)
    else:
        angle = np.arccos(dot)
        q = (np.sin((1 - fraction) * angle) * a + np.sin(fraction * angle) * b) / np.sin(angle)
    return q / np.linalg.norm(q)


def is_rigid(T: ArrayLike, tolerance: float = 1e-3) -> bool:
    """Tell whether a (4, 4) matrix is finite, orthonormal, right-handed and ends in 0 0 0 1."""
    T = np.asarray(T, dtype=np.float64)
    if T.shape != (4, 4) or not np.isfinite(T).all():
        return False
    R = T[:3, :3]
    return bool(
        np.abs(R @ R.T - np.eye(3)).max() < tolerance
        and np.linalg.det(R) > 0
        and np.abs(T[3] - (0, 0, 0, 1)).max() < tolerance
    )


def nearest_rigid(T: Matrix) -> Matrix:
    """Return the rigid transform nearest to a (4, 4) that nearly is one, such as a rounded one."""
    U, _, V_T = np.linalg.svd(T[:3, :3])
    rigid = np.eye(4)
    rigid[:3, :3] = U @ V_T
    rigid[:3, 3] = T[:3, 3]
    return rigid


def level(up: ArrayLike) -> Matrix:
    """Return `T_level_world`, the smallest rotation that takes the direction `up` (3,) to +z.

    Raises:
        ValueError: `up` is zero or not finite.
    """
    u = np.asarray(up, dtype=np.float64)
    norm = np.linalg.norm(u)
    if u.shape != (3,) or not np.isfinite(norm) or norm == 0:
        raise ValueError(f'expected a direction of three finite numbers, not all zero, got {up!r}')
    u = u / norm
    z = np.array([0.0, 0.0, 1.0])
    axis = np.cross(u, z)
    T = np.eye(4)
    if u[2] < -1 + 1e-12:  # upside down: any horizontal axis will do
        T[:3, :3] = np.diag([1.0, -1.0, -1.0])
    else:
        K = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
        T[:3, :3] = np.eye(3) + K + K @ K / (1 + u[2])
    return T
