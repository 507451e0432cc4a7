"""From one RGB-D frame to surface points with colour and normal in the map frame."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from concerto_ros.config.schema import DepthConfig
from concerto_ros.errors import FrameError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame

_NORMAL_REACH = 5  # px between a pixel and the neighbours that its normal is taken from
_OCCLUSION = 0.05  # share of the depth by which a point may lie behind what hides it
# Neighbours as (row, column) steps: right, down, left, up.
_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfacePoints:
    """Measured points of one frame.

    Attributes:
        coord: (M, 3) float32 [m], map frame.
        color: (M, 3) float32 RGB in 0..255.
        normal: (M, 3) float32 unit vectors towards the camera; zero where unknown.
        weight: (M,) float32, 1 up to one metre, then falling with the square of the depth.
    """

    coord: Tensor
    color: Tensor
    normal: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.coord)

    def moved(self, T: NDArray[np.float64]) -> 'SurfacePoints':
        """Return the points in another frame, by (4, 4) from the present one to it."""
        if np.array_equal(T, np.eye(4)):
            return self
        R, t = _rotation_translation(T, self.coord.device)
        if np.array_equal(T[:3, :3], np.eye(3)):
            return replace(self, coord=self.coord + t.T)
        return replace(self, coord=self.coord @ R.T + t.T, normal=self.normal @ R.T)


def surface_points(
    frame: RGBDFrame, config: DepthConfig, index: int, device: torch.device | str = 'cpu'
) -> SurfacePoints:
    """Back-project every n-th pixel of a frame.

    Which pixels depends on `index`, so that `config.stride` squared frames use every pixel once.
    Left out are pixels without depth in range, pixels that hang in the air between two surfaces,
    and points that the colour camera does not see.

    Args:
        frame: Colours are looked up by projection where the images are not registered.
        config: Range, stride, and what counts as a jump in depth.
        index: Number of the frame.
        device: Where to compute.

    Raises:
        FrameError: No pixel is left.
    """
    rows, columns = _pixel_grid(frame.depth_camera, config.stride, index)
    patch = _Patch(_tensor(frame.depth).to(device), rows, columns)
    z = patch.shifted(0, 0).contiguous()
    in_range = (z >= config.min) & (z <= config.max)
    pixel = (in_range & _is_surface(patch, z, config.edge)).flatten().nonzero()[:, 0]
    if len(pixel) == 0:
        raise FrameError(_no_depth(frame.depth, config))
    rays = torch.from_numpy(_rays(frame.depth_camera, rows, columns)).to(device)
    normal = _normals(patch, z, rays, frame.depth_camera, config.edge)
    # Planes of x, y and z, (3, M), are several times faster than rows of three.
    local = (rays * z).view(3, -1).index_select(1, pixel)
    normal = normal.view(3, -1).index_select(1, pixel)
    color, is_seen = _colors(frame, local, rows, columns, pixel)
    if not bool(is_seen.all()):
        local, normal, color = local[:, is_seen], normal[:, is_seen], color[is_seen]
        if len(color) == 0:
            raise FrameError(
                'no point of the depth image lies in the colour image; check the transform '
                'between the two cameras and their camera_info'
            )
    R, t = _rotation_translation(frame.T_map_depth, device)
    return SurfacePoints(
        coord=(R @ local + t).T.contiguous(),
        color=color,
        normal=(R @ normal).T.contiguous(),
        weight=local[2].clamp(min=1.0).pow(-2),
    )


class _Patch:
    """A depth image sampled on a grid of pixels, or on the same grid moved by a few pixels."""

    def __init__(self, depth: Tensor, rows: range, columns: range) -> None:
        reach = _NORMAL_REACH
        self._depth = functional.pad(depth, (reach, reach, reach, reach))
        self._rows, self._columns = rows, columns

    def shifted(self, down: int, right: int) -> Tensor:
        """Return (R, C) float32 depth; zero or NaN where there is none."""
        return self._depth[_moved(self._rows, down), _moved(self._columns, right)]


def _moved(pixels: range, step: int) -> slice:
    start = pixels.start + step + _NORMAL_REACH
    return slice(start, start + (len(pixels) - 1) * pixels.step + 1, pixels.step)


def _pixel_grid(camera: PinholeCamera, stride: int, index: int) -> tuple[range, range]:
    """Return rows and columns of every n-th pixel; the offset walks with the frame's number."""
    offset = index * 7 % stride**2 if stride % 7 else index % stride**2
    row, column = divmod(offset, stride)
    return (
        range(min(row, camera.height - 1), camera.height, stride),
        range(min(column, camera.width - 1), camera.width, stride),
    )


def _rays(camera: PinholeCamera, rows: range, columns: range) -> NDArray[np.float32]:
    """Return (3, R, C) float32 points at depth 1."""
    rays = np.ones((3, len(rows), len(columns)), dtype=np.float32)
    rays[0] = (np.array(columns) - camera.cx) / camera.fx
    rays[1] = ((np.array(rows) - camera.cy) / camera.fy)[:, None]
    return rays


def _rotation_translation(
    T: NDArray[np.float64], device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Return (3, 3) and (3, 1) float32."""
    matrix = torch.from_numpy(T.astype(np.float32)).to(device)
    return matrix[:3, :3], matrix[:3, 3:]


def _is_surface(patch: _Patch, z: Tensor, edge: float) -> Tensor:
    """Tell which pixels lie on a surface.

    At least two of the four next pixels have nearly the same depth, and neither along the row nor
    along the column does the pixel hang between a nearer and a farther one, as pixels do that see
    both sides of an edge.
    """
    right, down, left, up = (patch.shifted(*step) for step in _STEPS)
    tolerance = edge * z
    num_near = torch.zeros_like(z, dtype=torch.uint8)
    for neighbor in (right, down, left, up):
        num_near += (neighbor - z).abs() <= tolerance
    hangs = torch.zeros_like(z, dtype=torch.bool)
    for one, other in ((left, right), (up, down)):
        low, high = torch.minimum(one, other), torch.maximum(one, other)
        hangs |= (low > 0) & (low < z - tolerance) & (high > z + tolerance) & high.isfinite()
    return (num_near >= 2) & ~hangs


def _normals(patch: _Patch, z: Tensor, rays: Tensor, camera: PinholeCamera, edge: float) -> Tensor:
    """Return (3, R, C) unit normals in the camera frame, towards it; zero where unknown.

    The normal is the cross product of the tangents along columns and rows, each the difference of
    two neighbours on the same surface, or of one neighbour and the pixel itself.
    """
    right, down, left, up = (
        patch.shifted(step[0] * _NORMAL_REACH, step[1] * _NORMAL_REACH) for step in _STEPS
    )
    slope_x, has_x = _slope(z, left, right, edge)
    slope_y, has_y = _slope(z, up, down, edge)
    # With p(u, v) = z(u, v) * ray(u, v), the cross product of dp/dv and dp/du is, up to a factor,
    # (fx * dz/du, fy * dz/dv, -z - (u - cx) * dz/du - (v - cy) * dz/dv).
    a, b = camera.fx * slope_x, camera.fy * slope_y
    c = -(z + a * rays[0] + b * rays[1])
    length = (a * a + b * b + c * c).sqrt()
    inverse = torch.where(has_x & has_y & (length > 0), 1 / length, 0.0)
    return torch.stack([a, b, c]).nan_to_num_(0.0) * inverse


def _slope(z: Tensor, before: Tensor, after: Tensor, edge: float) -> tuple[Tensor, Tensor]:
    """Return the change of depth per pixel, and where it is known."""
    tolerance = edge * z
    has_before, has_after = (before - z).abs() <= tolerance, (after - z).abs() <= tolerance
    low, high = torch.where(has_before, before, z), torch.where(has_after, after, z)
    reach = (has_before.float() + has_after.float()).clamp_(min=1.0) * _NORMAL_REACH
    return (high - low) / reach, has_before | has_after


def _colors(
    frame: RGBDFrame, local: Tensor, rows: range, columns: range, pixel: Tensor
) -> tuple[Tensor, Tensor]:
    """Return (M, 3) float32 colours of points (3, M) of the depth camera, and which are seen."""
    image = _tensor(frame.color)
    same_pose = np.array_equal(frame.T_color_depth, np.eye(4))
    if same_pose and frame.color_camera == frame.depth_camera:
        grid = image[rows.start :: rows.step, columns.start :: columns.step].to(local.device)
        color = grid.reshape(-1, 3).index_select(0, pixel).float()
        return color, torch.ones_like(pixel, dtype=torch.bool)
    R, t = _rotation_translation(frame.T_color_depth, local.device)
    seen_from = R @ local + t
    u, v, is_inside = _project(seen_from, frame.color_camera)
    color = image.to(local.device)[v, u].float()
    if same_pose:
        return color, is_inside
    scale = frame.color_camera.fx / frame.depth_camera.fx
    cell = max(1, int(scale * rows.step * 2))
    return color, is_inside & _is_unhidden(u, v, seen_from[2], cell)


def _project(points: Tensor, camera: PinholeCamera) -> tuple[Tensor, Tensor, Tensor]:
    """Return (M,) int64 column and row of the nearest pixel, clamped, and what is inside."""
    x, y, z = points
    ahead = z.clamp(min=1e-6)
    u = (x / ahead * camera.fx + camera.cx).round()
    v = (y / ahead * camera.fy + camera.cy).round()
    is_inside = (z > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    return u.clamp(0, camera.width - 1).long(), v.clamp(0, camera.height - 1).long(), is_inside


def _is_unhidden(u: Tensor, v: Tensor, z: Tensor, cell: int) -> Tensor:
    """Tell which points are not far behind the nearest one in their cell of `cell` pixels."""
    columns, rows = u // cell, v // cell
    index = rows * (int(columns.max()) + 1) + columns
    nearest = torch.full((int(index.max()) + 1,), torch.inf, device=z.device)
    ahead = torch.where(z > 0, z, torch.inf)
    nearest = nearest.scatter_reduce(0, index, ahead, 'amin')[index]
    return z <= nearest * (1 + _OCCLUSION)


def _tensor(image: NDArray) -> Tensor:
    # Images from messages may be views of read-only memory, which torch does not know.
    return torch.from_numpy(image if image.flags.writeable else image.copy())


def _no_depth(depth: NDArray[np.float32], config: DepthConfig) -> str:
    measured = depth[np.isfinite(depth) & (depth > 0)]
    found = (
        f'its {measured.size} measured pixels lie between {measured.min():.2f} and '
        f'{measured.max():.2f} m' if measured.size else 'no pixel is measured'
    )  # fmt: skip
    return (
        f'no usable depth between {config.min} and {config.max} m: {found}; check depth.min, '
        'depth.max and the unit of the image (16UC1 is in mm, 32FC1 in m)'
    )
