"""Stand-in for the ROS package tf_transformations: quaternions (x, y, z, w) and 4x4 matrices.

The real one: https://github.com/DLu/tf_transformations. Here is what a perception node uses of it,
in plain numpy; Euler angles only about the fixed axes x, y, z (`axes='sxyz'`, the default).
"""

import functools
import math
from collections.abc import Sequence

import numpy as np


def identity_matrix() -> np.ndarray:
    """Return the transform that moves nothing, (4, 4)."""
    return np.identity(4)


def translation_matrix(direction: Sequence[float]) -> np.ndarray:
    """Return the transform (4, 4) that moves by `direction` (3,) [m]."""
    matrix = np.identity(4)
    matrix[:3, 3] = direction[:3]
    return matrix


def translation_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Return the translation (3,) of a transform (4, 4)."""
    return np.array(matrix)[:3, 3].copy()


def concatenate_matrices(*matrices: np.ndarray) -> np.ndarray:
    """Multiply transforms (4, 4) from left to right; without any, the identity."""
    return functools.reduce(np.dot, matrices, np.identity(4))


def inverse_matrix(matrix: np.ndarray) -> np.ndarray:
    """Return the inverse of a (4, 4) matrix."""
    return np.linalg.inv(matrix)


def quaternion_matrix(quaternion: Sequence[float]) -> np.ndarray:
    """Return the rotation (4, 4) of a quaternion, which need not have unit length."""
    x, y, z, w = np.asarray(quaternion, dtype=float) / np.linalg.norm(quaternion)
    matrix = np.identity(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return matrix


def quaternion_from_matrix(matrix: np.ndarray) -> tuple[float, float, float, float]:
    """Return the unit quaternion, w >= 0, of the rotation in a (4, 4) matrix.

    Source: Bar-Itzhack, New method for extracting the quaternion from a rotation matrix, 2000:
    the eigenvector of the largest eigenvalue of a symmetric matrix of the entries.
    """
    R = np.asarray(matrix, dtype=float)[:3, :3]
    K = np.empty((4, 4))
    K[:3, :3] = R + R.T - np.trace(R) * np.identity(3)
    K[:3, 3] = K[3, :3] = (R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1])
    K[3, 3] = np.trace(R)
    quaternion = np.linalg.eigh(K)[1][:, -1]
    return tuple(-quaternion if quaternion[3] < 0 else quaternion)


def quaternion_from_euler(
    ai: float, aj: float, ak: float, axes: str = 'sxyz'
) -> tuple[float, float, float, float]:
    """Return the quaternion of a turn by roll, pitch, yaw [rad] about the fixed axes x, y, z."""
    _require_fixed_xyz(axes)
    (si, sj, sk), (ci, cj, ck) = np.sin([ai / 2, aj / 2, ak / 2]), np.cos([ai / 2, aj / 2, ak / 2])
    return (
        si * cj * ck - ci * sj * sk,
        ci * sj * ck + si * cj * sk,
        ci * cj * sk - si * sj * ck,
        ci * cj * ck + si * sj * sk,
    )


def euler_from_quaternion(
    quaternion: Sequence[float], axes: str = 'sxyz'
) -> tuple[float, float, float]:
    """Return roll, pitch, yaw [rad] about the fixed axes x, y, z."""
    _require_fixed_xyz(axes)
    R = quaternion_matrix(quaternion)
    cos_pitch = math.hypot(R[0, 0], R[1, 0])
    pitch = math.atan2(-R[2, 0], cos_pitch)
    if cos_pitch < 4 * np.finfo(float).eps:  # roll and yaw turn about the same axis
        return math.atan2(-R[1, 2], R[1, 1]), pitch, 0.0
    return math.atan2(R[2, 1], R[2, 2]), pitch, math.atan2(R[1, 0], R[0, 0])


def _require_fixed_xyz(axes: str) -> None:
    if axes != 'sxyz':
        raise ValueError(
            f"this stand-in knows the axes 'sxyz' only, got {axes!r}; "
            'install the real tf_transformations'
        )


def quaternion_multiply(quaternion1: Sequence[float], quaternion0: Sequence[float]) -> np.ndarray:
    """Return the turn by `quaternion0` followed by `quaternion1`."""
    x0, y0, z0, w0 = quaternion0
    x1, y1, z1, w1 = quaternion1
    return np.array(
        [
            w1 * x0 + x1 * w0 + y1 * z0 - z1 * y0,
            w1 * y0 - x1 * z0 + y1 * w0 + z1 * x0,
            w1 * z0 + x1 * y0 - y1 * x0 + z1 * w0,
            w1 * w0 - x1 * x0 - y1 * y0 - z1 * z0,
        ]
    )


def quaternion_conjugate(quaternion: Sequence[float]) -> np.ndarray:
    """Return the quaternion with its axis reversed."""
    return np.asarray(quaternion, dtype=float) * (-1.0, -1.0, -1.0, 1.0)


def quaternion_inverse(quaternion: Sequence[float]) -> np.ndarray:
    """Return the quaternion that undoes `quaternion`."""
    return quaternion_conjugate(quaternion) / np.dot(quaternion, quaternion)


def quaternion_slerp(
    quat0: Sequence[float],
    quat1: Sequence[float],
    fraction: float,
    spin: int = 0,
    shortestpath: bool = True,
) -> np.ndarray:
    """Turn at constant speed from `quat0` (fraction 0) to `quat1` (fraction 1).

    Args:
        quat0: Start; need not have unit length.
        quat1: End; need not have unit length.
        fraction: How far to turn, 0 to 1.
        spin: Half turns to add.
        shortestpath: Turn the short way round.

    Returns:
        (4,) unit quaternion.
    """
    start = np.asarray(quat0, dtype=float) / np.linalg.norm(quat0)
    end = np.asarray(quat1, dtype=float) / np.linalg.norm(quat1)
    cosine = float(np.dot(start, end))
    if shortestpath and cosine < 0.0:
        cosine, end = -cosine, -end
    angle = math.acos(min(max(cosine, -1.0), 1.0)) + spin * math.pi
    if abs(math.sin(angle)) < 1e-9:
        return start if fraction < 1.0 else end
    weights = math.sin((1.0 - fraction) * angle), math.sin(fraction * angle)
    return (weights[0] * start + weights[1] * end) / math.sin(angle)
