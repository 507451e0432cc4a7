"""Ray-cast images of solids: depth, colour, and which part each pixel shows.

Each part is tested only in the rectangle of pixels that can see it, against a depth buffer.
All arithmetic is element-wise, so images do not depend on threads or on a BLAS library.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.transforms import invert
from concerto_ros.rooms.primitives import NEAR, Array, Part, intersect, normals
from concerto_ros.rooms.textures import albedo

_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
_EDGES = np.array([(i, i | bit) for i in range(8) for bit in (1, 2, 4) if not i & bit])


@dataclass(frozen=True, slots=True, kw_only=True)
class Lights:
    """What lights a room: some light from everywhere, lamps, and daylight of one direction.

    Attributes:
        ambient: Share of light from everywhere.
        lamps: (K, 3) float64 [m] positions.
        lamp_colors: (K, 3) float64 RGB strength.
        sun: (3,) float64 unit vector towards the daylight.
        sun_color: (3,) float64 RGB strength.
    """

    ambient: float
    lamps: Array
    lamp_colors: Array
    sun: Array
    sun_color: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Solid:
    """A part with what the renderer must know about its object.

    Attributes:
        part: In the map frame.
        T_object_map: (4, 4) float64, to the frame in which textures are defined.
    """

    part: Part
    T_object_map: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """One exact view; row v, column u as in the image.

    Attributes:
        depth: (H, W) float64 [m] along the optical axis; 0 where nothing is hit.
        part: (H, W) int32 index of the solid; -1 where nothing is hit.
        color: (H, W, 3) float64 RGB in 0..1, lit.
        cosine: (H, W) float64 in 0..1, of the angle between ray and normal.
        reflectance: (H, W) float64 in 0..1, mean of the unlit colour.
    """

    depth: Array
    part: NDArray[np.int32]
    color: Array
    cosine: Array
    reflectance: Array


def render(
    solids: list[Solid], lights: Lights, camera: PinholeCamera, T_map_camera: Array,
    cull: bool = True,
) -> Rendering:  # fmt: skip
    """Render solids from a pose.

    Args:
        solids: What is there.
        lights: What lights it.
        camera: Intrinsics and size.
        T_map_camera: (4, 4) float64, optical frame to map frame.
        cull: Skip pixels outside the rectangle of a part; False is for tests, and slow.
    """
    depth, index = cast(solids, camera, T_map_camera, cull)
    shape = depth.shape
    color, cosine, reflectance = np.zeros((*shape, 3)), np.zeros(shape), np.zeros(shape)
    flat_color, flat_cosine = color.reshape(-1, 3), cosine.reshape(-1)
    flat_reflectance = reflectance.reshape(-1)
    x, y = _ray_slopes(camera)
    order = np.argsort(index, axis=None, kind='stable')
    ends = np.cumsum(np.bincount(index.ravel() + 1, minlength=len(solids) + 1))
    for k, solid in enumerate(solids):
        pixels = order[ends[k] : ends[k + 1]]
        if len(pixels) == 0:
            continue
        v, u = np.divmod(pixels, shape[1])
        rays = np.stack([x[u], y[v], np.ones(len(u))], axis=1)
        t = depth.reshape(-1)[pixels]
        origin, M = _unit_view(solid.part, T_map_camera)
        normal = normals(solid.part, origin + t[:, None] * _times(rays, M))
        directions = _times(rays, T_map_camera[:3, :3])
        points = T_map_camera[:3, 3] + t[:, None] * directions
        unlit = surface_color(solid, points)
        flat_color[pixels] = np.clip(unlit * lighting(lights, points, normal), 0.0, 1.0)
        flat_reflectance[pixels] = unlit.mean(axis=1)
        along = -(directions * normal).sum(axis=1)
        flat_cosine[pixels] = along / np.sqrt((directions * directions).sum(axis=1))
    return Rendering(
        depth=np.where(index < 0, 0.0, depth), part=index, color=color,
        reflectance=reflectance, cosine=np.clip(cosine, 0.0, 1.0),
    )  # fmt: skip


def cast(
    solids: list[Solid], camera: PinholeCamera, T_map_camera: Array, cull: bool = True
) -> tuple[Array, NDArray[np.int32]]:
    """Return depth (H, W) [m], inf where nothing is hit, and the index (H, W) of the nearest."""
    depth = np.full((camera.height, camera.width), np.inf)
    index = np.full(depth.shape, -1, dtype=np.int32)
    x, y = _ray_slopes(camera)
    for k, solid in enumerate(solids):
        box = _rectangle(solid.part, camera, T_map_camera) if cull else (0, None, 0, None)
        if box is None:
            continue
        rows, columns = slice(box[0], box[1]), slice(box[2], box[3])
        origin, M = _unit_view(solid.part, T_map_camera)
        d = tuple(
            M[i, 0] * x[None, columns] + (M[i, 1] * y[rows] + M[i, 2])[:, None] for i in range(3)
        )
        t = intersect(solid.part, origin, (d[0], d[1], d[2]))
        nearer = t < depth[rows, columns]
        depth[rows, columns][nearer] = t[nearer]
        index[rows, columns][nearer] = k
    return depth, index


def surface_color(solid: Solid, points: Array) -> Array:
    """Return the unlit colour (N, 3) in 0..1 of surface points (N, 3) [m] of the map frame."""
    R, t = solid.T_object_map[:3, :3], solid.T_object_map[:3, 3]
    return albedo(solid.part.material, _times(points, R) + t)


def lighting(lights: Lights, points: Array, normal: Array) -> Array:
    """Return the RGB light (N, 3) that falls on points (N, 3) [m] with unit normals (N, 3)."""
    light = np.empty_like(points)
    light[:] = lights.ambient * (0.85 + 0.15 * normal[:, 2:3])
    for position, strength in zip(lights.lamps, lights.lamp_colors, strict=True):
        towards = position - points
        square = (towards * towards).sum(axis=1)
        facing = np.maximum((towards * normal).sum(axis=1), 0.0) / np.sqrt(square)
        light += (facing / (1 + 0.12 * square))[:, None] * strength
    light += np.maximum((normal * lights.sun).sum(axis=1), 0.0)[:, None] * lights.sun_color
    return light


def _ray_slopes(camera: PinholeCamera) -> tuple[Array, Array]:
    """Return x / z of each column (W,) and y / z of each row (H,)."""
    x: Array = (np.arange(camera.width, dtype=np.float64) - camera.cx) / camera.fx
    y: Array = (np.arange(camera.height, dtype=np.float64) - camera.cy) / camera.fy
    return x, y


def _unit_view(part: Part, T_map_camera: Array) -> tuple[Array, Array]:
    """Return camera centre (3,) and ray matrix (3, 3) in the unit coordinates of a part."""
    R_unit_map = part.rotation.T / part.half[:, None]
    origin = R_unit_map @ (T_map_camera[:3, 3] - part.center)
    return origin, R_unit_map @ T_map_camera[:3, :3]


def _times(vectors: Array, M: Array) -> Array:
    """Return M v for each row v (N, 3)."""
    return vectors[:, 0:1] * M[:, 0] + vectors[:, 1:2] * M[:, 1] + vectors[:, 2:3] * M[:, 2]


def _rectangle(
    part: Part, camera: PinholeCamera, T_map_camera: Array
) -> tuple[int, int, int, int] | None:
    """Return rows and columns, each from and to, that can see a part; None if none can."""
    T = invert(T_map_camera)
    corners = _times(_times(_CORNERS * part.half, part.rotation) + part.center, T[:3, :3])
    corners = corners + T[:3, 3]
    z = corners[:, 2]
    front = z >= NEAR
    if not front.any():
        return None
    if not front.all():  # replace what is behind by where the edges cross the near plane
        a, b = corners[_EDGES[:, 0]], corners[_EDGES[:, 1]]
        crossing = front[_EDGES[:, 0]] != front[_EDGES[:, 1]]
        a, b = a[crossing], b[crossing]
        share = (NEAR - a[:, 2:]) / (b[:, 2:] - a[:, 2:])
        corners = np.concatenate([corners[front], a + share * (b - a)])
        z = corners[:, 2]
    u = camera.fx * corners[:, 0] / z + camera.cx
    v = camera.fy * corners[:, 1] / z + camera.cy
    left, right = _span(u, camera.width)
    top, bottom = _span(v, camera.height)
    return (top, bottom, left, right) if left < right and top < bottom else None


def _span(pixel: Array, size: int) -> tuple[int, int]:
    """Return the first pixel and the one after the last, with half a pixel to spare."""
    low, high = np.clip([pixel.min() - 0.5, pixel.max() + 0.5], -1, size)
    return max(0, int(np.ceil(low))), min(size, int(np.floor(high)) + 1)
