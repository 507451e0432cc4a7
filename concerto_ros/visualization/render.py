"""A small point renderer: depth images of a map for any camera, and shaded views from above."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.transforms import invert

_AROUND = 0.2  # edge of the cells in which normals are averaged [m]
_AGREEMENT = 0.5  # length of a mean of unit vectors from which they are one surface
_BACKGROUND = 247.0  # grey value behind the map
_MAX_PAIRS = 1 << 22  # of a point and a pixel, expanded at once


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Where a picture is taken from.

    Attributes:
        camera: Intrinsics and size of the picture.
        T_map_camera: (4, 4) float64, takes the camera's optical frame to the map's frame.
    """

    camera: PinholeCamera
    T_map_camera: NDArray[np.float64]


def render_depth(
    coord: NDArray[np.floating],
    radius: float,
    camera: PinholeCamera,
    T_map_camera: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Draw points as discs that face the camera, and return the depth of the nearest one.

    On a surface that is tilted by an angle t against the image the nearest disc of a pixel is up
    to `radius * tan(t)` too near. A disc covers the pixels whose centres it holds, and always the
    pixel its own centre falls into.

    Args:
        coord: (N, 3) float [m], map frame; points that are not finite or behind the camera do
            not appear.
        radius: Of each disc [m]; 0.87 voxels close a surface.
        camera: Intrinsics and size (W x H) of the image.
        T_map_camera: (4, 4) takes the camera's optical frame to the map's frame.

    Returns:
        (H, W) float32 [m] along the optical axis; NaN where nothing is.
    """
    depth = _nearest_depth(_place(coord, radius, camera, T_map_camera))
    depth[np.isinf(depth)] = np.nan
    return depth.reshape(camera.height, camera.width)


def fit_view(
    coord: NDArray[np.floating], normal: NDArray[np.floating], *, width: int, height: int
) -> View:
    """Choose an oblique view from above that shows the whole map and most of its surface.

    Of 24 directions around the map it takes the one in which surfaces that face the camera cover
    most of the picture. The outermost half percent of the points on each side may lie outside.

    Args:
        coord: (N, 3) float [m], z up, N > 0.
        normal: (N, 3) float unit vectors; zero where unknown.
        width: Of the picture in pixels.
        height: Of the picture in pixels.
    """
    stride = max(1, len(coord) // 50_000)  # enough to choose a direction
    coord, normal = coord[::stride].astype(np.float64), normal[::stride]
    low, high = np.percentile(coord, (0.5, 99.5), axis=0)
    inside = ((coord >= low) & (coord <= high)).all(axis=1)
    inliers = coord[inside] if inside.any() else coord
    focal = 1.6 * max(width, height)
    camera = PinholeCamera(
        width=width, height=height, fx=focal, fy=focal, cx=(width - 1) / 2, cy=(height - 1) / 2
    )
    best, best_cover = np.eye(4), -1.0
    for azimuth in np.arange(0, 360, 15):
        R = _looking_down(np.deg2rad(azimuth), elevation=np.deg2rad(42))
        t, distance = _fit(inliers, R, camera)
        facing = np.where(normal.any(axis=1), -(normal @ R[:, 2]), 0.5)
        cover = float(np.maximum(facing, 0).mean()) / distance**2
        if cover > best_cover:
            best_cover = cover
            best = np.block([[R, t[:, None]], [np.array([[0.0, 0.0, 0.0, 1.0]])]])
    return View(camera=camera, T_map_camera=best)


def render_points(
    coord: NDArray[np.floating],
    colors: Sequence[NDArray[np.uint8]],
    normal: NDArray[np.floating],
    *,
    radius: float,
    view: View,
) -> list[NDArray[np.uint8]]:
    """Draw points as shaded discs on a light background, once in each of several colourings.

    Surfaces seen from behind are left out, so one looks into a room through its ceiling and its
    near walls. Discs of one surface blend into each other.

    Args:
        coord: (N, 3) float [m], map frame.
        colors: Of (N, 3) uint8 RGB arrays, one per picture.
        normal: (N, 3) float unit vectors; zero where unknown.
        radius: Of each disc [m]; a voxel's edge closes a surface.
        view: Camera and its pose in the map.

    Returns:
        (H, W, 3) uint8 RGB for each of `colors`.
    """
    to_camera = view.T_map_camera[:3, 3] - coord
    to_camera /= np.maximum(np.linalg.norm(to_camera, axis=1, keepdims=True), 1e-9)
    front = ~((_steady(coord, normal) * to_camera).sum(axis=1) < -0.1)
    discs = _place(coord[front], radius, view.camera, view.T_map_camera)
    channels = [_diffuse(normal[front], view), *(c[front].T for c in colors)]
    blended = _blend(discs, np.vstack(channels).astype(np.float32), 2 * radius)
    shade, depth = blended[0] * _depth_shading(blended[-1]), blended[-1]
    images = []
    for i in range(len(colors)):
        image = np.moveaxis(blended[1 + 3 * i : 4 + 3 * i] * shade, 0, -1)
        image[~np.isfinite(depth)] = _BACKGROUND
        images.append(image.clip(0, 255).round().astype(np.uint8))
    return images


def _steady(coord: NDArray[np.floating], normal: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the mean normal of the points around, where these agree, else the point's own.

    Single normals are noisy, and dots of a near wall would hang in front of the room.
    """
    _, cell = np.unique(np.floor(coord / _AROUND).astype(np.int64), axis=0, return_inverse=True)
    cell = cell.reshape(-1)
    known = np.maximum(np.bincount(cell, weights=normal.any(axis=1)), 1)
    mean = np.stack([np.bincount(cell, weights=axis) / known for axis in normal.T], axis=1)[cell]
    agrees = np.linalg.norm(mean, axis=1) > _AGREEMENT
    return np.where(agrees[:, None], mean, normal)


def _looking_down(azimuth: float, elevation: float) -> NDArray[np.float64]:
    """Return R_map_camera (3, 3) of a camera at these angles that looks at the origin."""
    horizontal = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    forward = -np.cos(elevation) * horizontal - np.sin(elevation) * np.array([0.0, 0.0, 1.0])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    return np.stack([right, np.cross(forward, right), forward], axis=1)


def _fit(
    coord: NDArray[np.floating], R: NDArray[np.float64], camera: PinholeCamera
) -> tuple[NDArray[np.float64], float]:
    """Return the nearest camera position (3,) from which all points fit, and how far back it is.

    A point is inside when |x - x0| <= slope * (z + distance), and so for y: each side gives one
    bound that is linear in the offset and the distance, so the least distance is in closed form.
    """
    center = (coord.min(axis=0) + coord.max(axis=0)) / 2
    local = (coord - center) @ R
    offset, distance = np.zeros(2), 0.1
    for axis, pixels, focal in ((0, camera.width, camera.fx), (1, camera.height, camera.fy)):
        slope = 0.95 * pixels / 2 / focal
        high = float((local[:, axis] - slope * local[:, 2]).max())
        low = float((local[:, axis] + slope * local[:, 2]).min())
        offset[axis] = (high + low) / 2
        distance = max(distance, (high - low) / (2 * slope))
    return center + R @ np.array([*offset, -distance]), distance


class _Discs(NamedTuple):
    """Discs in an image, from far to near, so that the last one written to a pixel wins.

    `pixel` and `half` are (N, 2) float, centre and half axes [px]; `low` (N, 2) and `box` (N, 2)
    int32 are the first pixel and the number of pixels that the disc touches along u and v;
    `depth` (N,) float32 [m]; `point` (N,) int64 is the row of the point among those given.
    """

    camera: PinholeCamera
    pixel: NDArray[np.floating]
    half: NDArray[np.floating]
    low: NDArray[np.int32]
    box: NDArray[np.int32]
    depth: NDArray[np.float32]
    point: NDArray[np.int64]


class _Pairs(NamedTuple):
    """Discs and the pixels they cover: (P,) flat pixel, (P,) row of the disc, (P,) 0..1 weight."""

    flat: NDArray[np.int32]
    disc: NDArray[np.int32]
    weight: NDArray[np.float32]


def _place(
    coord: NDArray[np.floating],
    radius: float,
    camera: PinholeCamera,
    T_map_camera: NDArray[np.float64],
) -> _Discs:
    T_camera_map = invert(T_map_camera)
    with np.errstate(invalid='ignore', over='ignore'):  # points that are not finite: see `seen`
        pixel, depth = camera.project(coord @ T_camera_map[:3, :3].T + T_camera_map[:3, 3])
    seen = np.flatnonzero((depth > 1e-3) & np.isfinite(pixel).all(axis=1))
    seen = seen[np.argsort(-depth[seen], kind='stable')]
    pixel, depth = pixel[seen], depth[seen]
    half = radius * np.array([camera.fx, camera.fy]) / depth[:, None]
    size = np.array([camera.width, camera.height])
    low = np.minimum(np.ceil(pixel - half), np.rint(pixel)).clip(0, size)
    high = np.maximum(np.floor(pixel + half), np.rint(pixel)).clip(-1, size - 1)
    return _Discs(
        camera, pixel, half, low.astype(np.int32), (high - low + 1).clip(0).astype(np.int32),
        depth.astype(np.float32), seen,
    )  # fmt: skip


def _pairs(discs: _Discs) -> Iterator[_Pairs]:
    """Yield what the discs cover in pieces of bounded size, from far to near."""
    ends = np.cumsum(discs.box.astype(np.int64).prod(axis=1))
    start = 0
    while start < len(ends):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _MAX_PAIRS, side='right')))
        yield _pairs_of(discs, slice(start, stop))
        start = stop


def _pairs_of(discs: _Discs, rows: slice) -> _Pairs:
    pixel, low, box = discs.pixel[rows], discs.low[rows], discs.box[rows]
    count = box.prod(axis=1)
    disc = np.repeat(np.arange(len(box), dtype=np.int32), count)
    within = (
        np.arange(len(disc), dtype=np.int32) - (np.cumsum(count) - count).astype(np.int32)[disc]
    )
    dv, du = np.divmod(within, box[disc, 0])
    # Distance from the centre in radii along each axis.
    scale = (1 / np.maximum(discs.half[rows], 0.5)).astype(np.float32)
    offset = ((low - pixel) * scale).astype(np.float32)
    x = offset[disc, 0] + du * scale[disc, 0]
    y = offset[disc, 1] + dv * scale[disc, 1]
    weight = 1 - x * x - y * y
    nearest = (np.rint(pixel) - low).astype(np.int32)
    inside = (weight >= 0) | ((du == nearest[disc, 0]) & (dv == nearest[disc, 1]))
    flat = (low[disc, 1] + dv) * np.int32(discs.camera.width) + low[disc, 0] + du
    return _Pairs(flat[inside], disc[inside] + np.int32(rows.start), weight[inside])


def _nearest_depth(discs: _Discs) -> NDArray[np.float32]:
    """Return (H * W,) float32 [m] depth of the nearest disc; infinite where none is."""
    depth = np.full(discs.camera.width * discs.camera.height, np.inf, dtype=np.float32)
    for pairs in _pairs(discs):
        depth[pairs.flat] = discs.depth[pairs.disc]
    return depth


def _blend(discs: _Discs, channels: NDArray[np.float32], reach: float) -> NDArray[np.float32]:
    """Return (C + 1, H, W) float32, weighted means over the discs close behind the nearest one.

    Args:
        discs: What to draw.
        channels: (C, N) of each point; the last channel of the result is the depth [m], infinite
            where nothing is.
        reach: How far behind the nearest disc another one still counts [m].
    """
    nearest = _nearest_depth(discs)
    values = np.vstack([channels[:, discs.point], discs.depth])
    total = np.zeros(len(nearest))
    sums = np.zeros((len(values), len(nearest)))
    for flat, disc, weight in _pairs(discs):
        near = discs.depth[disc] <= nearest[flat] + reach
        pixel, row = flat[near], disc[near]
        share = np.maximum(weight[near], 0.03) ** 2
        total += np.bincount(pixel, share, minlength=len(total))
        for i, value in enumerate(values):
            sums[i] += np.bincount(pixel, share * value[row], minlength=len(total))
    means = (sums / np.maximum(total, 1e-9)).astype(np.float32)
    means[-1][total == 0] = np.inf
    return means.reshape(-1, discs.camera.height, discs.camera.width)


def _diffuse(normal: NDArray[np.floating], view: View) -> NDArray[np.float32]:
    """Return (N,) brightness under a lamp above the camera's left shoulder; 0.9 if unknown."""
    right, down, forward = view.T_map_camera[:3, :3].T
    lamp = -0.45 * right - 0.35 * down - 0.8 * forward
    lamp /= np.linalg.norm(lamp)
    shade = 0.70 + 0.40 * np.maximum(normal @ lamp, 0)
    return np.where(normal.any(axis=1), shade, 0.9).astype(np.float32)


def _depth_shading(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (H, W) brightness that falls where neighbouring pixels are nearer.

    Args:
        depth: (H, W) float32 [m]; infinite where nothing is.

    Source: Boucheny, Visualisation scientifique de grands volumes de données, 2009 (eye-dome
    lighting).
    """
    log_depth = np.log(np.maximum(depth, 1e-3))
    own = np.where(np.isfinite(log_depth), log_depth, 0)
    shade = np.ones_like(depth)
    height, width = depth.shape
    for reach, strength in ((max(1, height // 600), 9.0), (max(2, height // 120), 3.5)):
        padded = np.pad(log_depth, reach, mode='edge')
        occlusion = np.zeros_like(depth)
        for dv, du in ((0, 1), (1, 0), (1, 2), (2, 1), (0, 0), (0, 2), (2, 0), (2, 2)):
            rows = slice(dv * reach, dv * reach + height)
            columns = slice(du * reach, du * reach + width)
            occlusion += np.clip(own - padded[rows, columns], 0, 0.06)
        shade *= np.exp(-strength / 8 * occlusion / 0.06 * 0.25)
    return shade
