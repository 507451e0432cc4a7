"""Boxes, frustums and ellipsoids: ray intersection, normals, distance and surface samples.

Every part is a unit solid seen through an affine map: a map point p has the unit coordinates
q = R^T (p - center) / half. Unit solids: the cube |q_i| <= 1; the ball |q| <= 1; the frustum
|q_z| <= 1 with radius 1 at the bottom and `top` at the top (1 is a cylinder, 0 a cone).
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from concerto_ros.rooms.textures import Material

Shape = Literal['box', 'frustum', 'ellipsoid']
Array = NDArray[np.float64]

NEAR = 0.02  # nothing nearer to the camera is seen [m]
_TINY = 1e-140  # keeps a ray parallel to a face from dividing by zero
_CAP = 1 - 1e-9  # |q_z| from which a point of a frustum belongs to a cap


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One solid.

    Attributes:
        shape: Which unit solid.
        rotation: (3, 3) float64, takes the part's axes to those of its frame.
        center: (3,) float64 [m].
        half: (3,) float64 [m], half the extents along the part's own axes, all positive.
        top: Radius at the top of a frustum relative to the bottom, in 0..1.
        material: Its surface.
    """

    shape: Shape
    rotation: Array
    center: Array
    half: Array
    top: float = 1.0
    material: Material

    def moved(self, rotation: Array, translation: Array) -> 'Part':
        """Return the part after a rotation (3, 3) and then a translation (3,) [m]."""
        return replace(
            self,
            rotation=rotation @ self.rotation,
            center=rotation @ self.center + translation,
        )


def yaw_rotation(yaw: float) -> Array:
    """Return the (3, 3) rotation about +z by `yaw` [rad]."""
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def to_unit(part: Part, points: Array) -> Array:
    """Return the unit coordinates (N, 3) of `points` (N, 3) [m] of the part's frame."""
    return _rotate(points - part.center, part.rotation.T) / part.half


def from_unit(part: Part, q: Array) -> Array:
    """Return the points (N, 3) [m] of unit coordinates `q` (N, 3)."""
    return _rotate(q * part.half, part.rotation) + part.center


def intersect(part: Part, origin: Array, d: tuple[Array, Array, Array]) -> Array:
    """Return where rays enter a part.

    Args:
        part: The solid.
        origin: (3,) start of all rays, unit coordinates, outside the solid.
        d: Three arrays of one shape: the directions, unit coordinates.

    Returns:
        Factor t of each ray so that origin + t d is the first hit beyond `NEAR`; inf is a miss.
    """
    if part.shape == 'box':
        return _intersect_box(origin, d)
    if part.shape == 'ellipsoid':
        return _intersect_ball(origin, d)
    return _intersect_frustum(part.top, origin, d)


def normals(part: Part, q: Array) -> Array:
    """Return outward unit normals (N, 3) at surface points given in unit coordinates (N, 3)."""
    if part.shape == 'box':
        axis = np.abs(q).argmax(axis=1)
        positive = q[np.arange(len(q)), axis] > 0
        faces = np.concatenate([-part.rotation.T, part.rotation.T])  # (6, 3): -x -y -z x y z
        normal: Array = faces[axis + 3 * positive]
        return normal
    gradient = q / part.half
    if part.shape == 'frustum':
        slope, radius = _cone(part.top)
        gradient[:, 2] = -(radius + slope * q[:, 2]) * slope / part.half[2]
        cap = np.abs(q[:, 2]) >= _CAP
        gradient[cap] = q[cap] * (0.0, 0.0, 1.0)
    gradient /= np.sqrt((gradient * gradient).sum(axis=1, keepdims=True))
    return _rotate(gradient, part.rotation)


def signed_distance(part: Part, points: Array) -> Array:
    """Return the distance (N,) [m] of `points` (N, 3) to the surface, negative inside.

    The sign is exact; the value is exact to first order near a smooth surface or a face.
    """
    q = to_unit(part, points)
    if part.shape == 'box':
        distance: Array = ((np.abs(q) - 1) * part.half).max(axis=1)
        return distance
    if part.shape == 'ellipsoid':
        length: Array = np.sqrt((q * q).sum(axis=1))
        slope: Array = np.sqrt(((q / part.half) ** 2).sum(axis=1))
        distance = (length - 1) * length / np.maximum(slope, 1e-12)
        return distance
    b, a = _cone(part.top)
    radial = np.maximum(np.hypot(q[:, 0], q[:, 1]), 1e-12)
    gradient = np.stack([q[:, 0] / radial, q[:, 1] / radial, np.full(len(q), -b)], axis=1)
    steepness = np.sqrt(((gradient / part.half) ** 2).sum(axis=1))
    lateral: Array = (radial - (a + b * q[:, 2])) / np.maximum(steepness, 1e-12)
    distance = np.maximum(lateral, (np.abs(q[:, 2]) - 1) * part.half[2])
    return distance


def bounds(part: Part) -> tuple[Array, Array]:
    """Return the lowest and highest corner, (3,) and (3,) [m], of the tight upright box."""
    reach = part.rotation * part.half  # column i: the part's half axis i
    if part.shape == 'box':
        extent = np.abs(reach).sum(axis=1)
        return part.center - extent, part.center + extent
    if part.shape == 'ellipsoid':
        extent = np.sqrt((reach * reach).sum(axis=1))
        return part.center - extent, part.center + extent
    disk = np.hypot(reach[:, 0], reach[:, 1])
    high = np.maximum(reach[:, 2] + part.top * disk, -reach[:, 2] + disk)
    low = np.minimum(reach[:, 2] - part.top * disk, -reach[:, 2] - disk)
    return part.center + low, part.center + high


def area(part: Part) -> float:
    """Return the surface [m^2] of the box around a part: a measure of how much it shows."""
    x, y, z = 2 * part.half
    return float(2 * (x * y + y * z + z * x))


def sample_surface(part: Part, spacing: float) -> Array:
    """Return unit coordinates (N, 3) of points about `spacing` [m] apart on the whole surface."""
    if part.shape == 'box':
        return _sample_box(part.half, spacing)
    if part.shape == 'ellipsoid':
        return _sample_ball(part.half, spacing)
    return _sample_frustum(part, spacing)


def _rotate(points: Array, R: Array) -> Array:
    """Return R p for each row; without BLAS, so that the bits depend on nothing but the input."""
    x, y, z = points[:, 0:1], points[:, 1:2], points[:, 2:3]
    return x * R[:, 0] + y * R[:, 1] + z * R[:, 2]


def _cone(top: float) -> tuple[float, float]:
    """Return slope and mean of the radius of a unit frustum: radius = mean + slope * q_z."""
    return (top - 1) / 2, (top + 1) / 2


def _intersect_box(origin: Array, d: tuple[Array, Array, Array]) -> Array:
    near, far = np.float64(NEAR), np.float64(np.inf)
    for start, direction in zip(origin, d, strict=True):
        inverse = 1 / (direction + _TINY)
        middle = -start * inverse
        width = np.abs(inverse)
        near = np.maximum(near, middle - width)
        far = np.minimum(far, middle + width)
    return np.where((near <= far) & (near > NEAR), near, np.inf)


def _intersect_ball(origin: Array, d: tuple[Array, Array, Array]) -> Array:
    dx, dy, dz = d
    a = dx * dx + dy * dy + dz * dz
    b = origin[0] * dx + origin[1] * dy + origin[2] * dz
    c = float((origin * origin).sum()) - 1
    root = b * b - a * c
    t = (-b - np.sqrt(np.maximum(root, 0))) / a
    return np.where((root > 0) & (t > NEAR), t, np.inf)


def _intersect_frustum(top: float, origin: Array, d: tuple[Array, Array, Array]) -> Array:
    x, y, z = (float(v) for v in origin)
    dx, dy, dz = d
    slope, mean = _cone(top)
    radius = mean + slope * z
    a = dx * dx + dy * dy - (slope * dz) ** 2 + _TINY
    b = x * dx + y * dy - (radius * slope) * dz
    c = x * x + y * y - radius * radius
    root = b * b - a * c
    best = np.full(a.shape, np.inf)
    sqrt = np.sqrt(np.maximum(root, 0))
    for sign in (-1.0, 1.0):
        t = (-b + sign * sqrt) / a
        valid = (root > 0) & (np.abs(z + t * dz) < _CAP) & (t > NEAR) & (t < best)
        best = np.where(valid, t, best)
    inverse = 1 / (dz + _TINY)
    for height, rim in ((-1.0, 1.0), (1.0, top)):
        t = (height - z) * inverse
        u, v = x + t * dx, y + t * dy
        valid = (u * u + v * v <= rim * rim) & (t > NEAR) & (t < best)
        best = np.where(valid, t, best)
    return best


def _steps(length: float, spacing: float) -> Array:
    """Return the middles, in -1..1, of equal steps of about `spacing` along `length`."""
    count = max(1, round(length / spacing))
    return (2 * np.arange(count) + 1) / count - 1


def _sample_box(half: Array, spacing: float) -> Array:
    faces = []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        a, b = np.meshgrid(_steps(2 * half[u], spacing), _steps(2 * half[v], spacing))
        for sign in (-1.0, 1.0):
            face = np.empty((a.size, 3))
            face[:, axis], face[:, u], face[:, v] = sign, a.ravel(), b.ravel()
            faces.append(face)
    return np.concatenate(faces)


def _ring(radius: float, z: float, length: float, spacing: float) -> Array:
    angle = np.pi * (_steps(length, spacing) + 1)
    return np.stack(
        [radius * np.cos(angle), radius * np.sin(angle), np.full(len(angle), z)], axis=1
    )


def _sample_ball(half: Array, spacing: float) -> Array:
    girth = float(half[:2].mean())
    rings = []
    for latitude in np.pi / 2 * _steps(np.pi * (girth + half[2]) / 2, spacing):
        radius = math.cos(latitude)
        rings.append(_ring(radius, math.sin(latitude), 2 * np.pi * radius * girth, spacing))
    return np.concatenate(rings)


def _sample_frustum(part: Part, spacing: float) -> Array:
    girth = float(part.half[:2].mean())
    slope, mean = _cone(part.top)
    rings = []
    for z in _steps(2 * part.half[2], spacing):
        radius = mean + slope * z
        rings.append(_ring(radius, z, 2 * np.pi * radius * girth, spacing))
    for height, rim in ((-1.0, 1.0), (1.0, part.top)):
        for step in (_steps(rim * girth, spacing) + 1) / 2 if rim > 0 else ():
            radius = rim * step
            rings.append(_ring(radius, height, 2 * np.pi * radius * girth, spacing))
    return np.concatenate(rings)
