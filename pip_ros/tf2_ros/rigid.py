"""Rigid transforms of plain floats: for one quaternion at a time, faster than numpy.

Quaternions are (x, y, z, w) of unit length.
"""

import math
from typing import NamedTuple

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


class Rigid(NamedTuple):
    """Takes coordinates of a child frame to its parent: rotate, then translate [m]."""

    translation: Vector
    rotation: Quaternion


IDENTITY = Rigid((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))


def compose(T_a_b: Rigid, T_b_c: Rigid) -> Rigid:
    """Return T_a_c."""
    x, y, z = rotate(T_a_b.rotation, T_b_c.translation)
    tx, ty, tz = T_a_b.translation
    return Rigid((x + tx, y + ty, z + tz), multiply(T_a_b.rotation, T_b_c.rotation))


def invert(T_a_b: Rigid) -> Rigid:
    """Return T_b_a."""
    x, y, z, w = T_a_b.rotation
    rotation = (-x, -y, -z, w)
    tx, ty, tz = rotate(rotation, T_a_b.translation)
    return Rigid((-tx, -ty, -tz), rotation)


def interpolate(start: Rigid, end: Rigid, ratio: float) -> Rigid:
    """Move straight and turn at constant speed, the short way, from start (0) to end (1)."""
    (ax, ay, az), (bx, by, bz) = start.translation, end.translation
    translation = (ax + (bx - ax) * ratio, ay + (by - ay) * ratio, az + (bz - az) * ratio)
    return Rigid(translation, slerp(start.rotation, end.rotation, ratio))


def rotate(q: Quaternion, v: Vector) -> Vector:
    """Rotate a vector."""
    x, y, z, w = q
    vx, vy, vz = v
    cx, cy, cz = 2 * (y * vz - z * vy), 2 * (z * vx - x * vz), 2 * (x * vy - y * vx)
    return (
        vx + w * cx + y * cz - z * cy,
        vy + w * cy + z * cx - x * cz,
        vz + w * cz + x * cy - y * cx,
    )


def multiply(q: Quaternion, r: Quaternion) -> Quaternion:
    """Return the rotation `r` followed by `q`."""
    qx, qy, qz, qw = q
    rx, ry, rz, rw = r
    return (
        qw * rx + qx * rw + qy * rz - qz * ry,
        qw * ry - qx * rz + qy * rw + qz * rx,
        qw * rz + qx * ry - qy * rx + qz * rw,
        qw * rw - qx * rx - qy * ry - qz * rz,
    )


def slerp(q: Quaternion, r: Quaternion, ratio: float) -> Quaternion:
    """Turn from `q` (ratio 0) to `r` (1) the short way; the result has unit length."""
    cosine = sum(a * b for a, b in zip(q, r, strict=True))
    sign = 1.0 if cosine >= 0.0 else -1.0
    angle = math.acos(min(abs(cosine), 1.0))
    if angle < 1e-6:  # the line is the arc
        first, second = 1.0 - ratio, sign * ratio
    else:
        first = math.sin((1.0 - ratio) * angle)
        second = sign * math.sin(ratio * angle)
    return normalize(tuple(first * a + second * b for a, b in zip(q, r, strict=True)))


def normalize(q: Quaternion) -> Quaternion:
    """Scale to unit length."""
    length = math.sqrt(sum(a * a for a in q))
    x, y, z, w = q
    return (x / length, y / length, z / length, w / length)
