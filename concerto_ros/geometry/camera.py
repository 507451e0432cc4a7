"""The pinhole camera: intrinsics that are checked on entry and follow the size of their image."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import CalibrationError


@dataclass(frozen=True, slots=True, kw_only=True)
class PinholeCamera:
    """An ideal camera in its optical frame: z forward, x right, y down (REP 103).

    Attributes:
        width: Image width in pixels.
        height: Image height in pixels.
        fx: Focal length along x [px].
        fy: Focal length along y [px].
        cx: Principal point along x [px]; the centre of the first pixel is at 0.
        cy: Principal point along y [px].

    Raises:
        CalibrationError: A size or focal length is not positive, or anything is not finite.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise CalibrationError(f'camera size must be positive, got {self.width}x{self.height}')
        if not all(math.isfinite(v) for v in (self.fx, self.fy, self.cx, self.cy)):
            raise CalibrationError(f'camera intrinsics must be finite, got {self}')
        if self.fx <= 0 or self.fy <= 0:
            raise CalibrationError(
                f'camera is uncalibrated: fx = {self.fx}, fy = {self.fy}; calibrate it or '
                'have its driver fill K in camera_info'
            )

    def scaled(self, width: int, height: int) -> 'PinholeCamera':
        """Return the camera of the same image resized to `width` x `height`.

        Raises:
            CalibrationError: The aspect ratio differs by more than 1 %, so it is another image.
        """
        if (width, height) == (self.width, self.height):
            return self
        sx, sy = width / self.width, height / self.height
        if abs(sx / sy - 1) > 0.01:
            raise CalibrationError(
                f'image is {width}x{height} but its camera_info says {self.width}x{self.height}, '
                'another aspect ratio: give each image the camera_info of its own stream'
            )
        return PinholeCamera(
            width=width, height=height, fx=self.fx * sx, fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5, cy=(self.cy + 0.5) * sy - 0.5,
        )  # fmt: skip

    def project(self, points: NDArray) -> tuple[NDArray, NDArray]:
        """Project points of the optical frame.

        Args:
            points: (N, 3) float [m].

        Returns:
            pixel: (N, 2) float (u, v); meaningless where `depth` is not positive.
            depth: (N,) float [m] along the optical axis.
        """
        depth = points[:, 2]
        safe = np.where(depth > 0, depth, 1.0)
        u = points[:, 0] / safe * self.fx + self.cx
        v = points[:, 1] / safe * self.fy + self.cy
        return np.stack([u, v], axis=1), depth

    def rays(self) -> NDArray[np.float32]:
        """Return (H, W, 3) float32 points at depth 1 on the ray of each pixel centre."""
        x = (np.arange(self.width) - self.cx) / self.fx
        y = (np.arange(self.height) - self.cy) / self.fy
        rays = np.ones((self.height, self.width, 3), dtype=np.float32)
        rays[..., 0] = x[None, :]
        rays[..., 1] = y[:, None]
        return rays
