"""The plain values of a camera_info, and the pinhole camera they stand for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from concerto_ros.errors import CalibrationError
from concerto_ros.geometry.camera import PinholeCamera


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What a sensor_msgs/CameraInfo says, without ROS.

    Size, K and P are those of the full resolution: what the image shows of it, and how many
    pixels make one of the image, say `roi` and `binning`.

    Attributes:
        width: Full width [px]; 0 if the driver left it out.
        height: Full height [px]; 0 if the driver left it out.
        k: (9,) intrinsics of the raw image, row by row; k[0] = 0 is uncalibrated.
        p: (12,) projection of the rectified image, row by row; p[0] = 0 is unset.
        d: Distortion coefficients of the raw image; empty or zeros is none.
        distortion_model: plumb_bob, rational_polynomial or equidistant.
        binning: Pixels along x and y that make one of the image; 0 is 1.
        roi: x and y of the first pixel, width and height of the window [px of the full
            resolution]; a size of 0 reaches to the end.
    """

    width: int
    height: int
    k: Sequence[float]
    p: Sequence[float]
    d: Sequence[float] = ()
    distortion_model: str = 'plumb_bob'
    binning: tuple[int, int] = (1, 1)
    roi: tuple[int, int, int, int] = (0, 0, 0, 0)

    def image_size(self, otherwise: tuple[int, int] = (0, 0)) -> tuple[int, int]:
        """Return width and height [px] of the image; `otherwise` where the driver left it out."""
        x, y, width, height = self.roi
        width = width or self.width - x
        height = height or self.height - y
        if width <= 0 or height <= 0:
            return otherwise
        return width // max(self.binning[0], 1), height // max(self.binning[1], 1)


def camera_from_info(
    calibration: Calibration, image_width: int, image_height: int
) -> PinholeCamera:
    """Return the camera of an image of this size, which is taken as rectified.

    P is used where it is set, else K. A calibration of another size is scaled to the image.

    Raises:
        CalibrationError: Neither is set, a value is impossible, or the image has another aspect
            ratio than the calibration.

    Source: sensor_msgs/CameraInfo, on binning_x, binning_y and roi.
    """
    k, p = calibration.k, calibration.p
    if len(p) == 12 and p[0] != 0:
        fx, fy, cx, cy = p[0], p[5], p[2], p[6]
    elif len(k) == 9 and k[0] != 0:
        fx, fy, cx, cy = k[0], k[4], k[2], k[5]
    else:
        raise CalibrationError(
            'camera is uncalibrated: camera_info has fx = 0 in both K and P; calibrate it or have '
            'its driver fill them'
        )
    x, y = calibration.roi[:2]
    step_x, step_y = (max(step, 1) for step in calibration.binning)
    width, height = calibration.image_size(otherwise=(image_width, image_height))
    camera = PinholeCamera(
        width=width, height=height, fx=float(fx) / step_x, fy=float(fy) / step_y,
        # the centre of a pixel of the image is that of the pixels which make it
        cx=(float(cx) - x - (step_x - 1) / 2) / step_x,
        cy=(float(cy) - y - (step_y - 1) / 2) / step_y,
    )  # fmt: skip
    return camera.scaled(image_width, image_height)


def stereo_warning(calibration: Calibration) -> str:
    """Return a sentence if P is that of a second stereo camera, which stands beside its frame."""
    p = calibration.p
    if len(p) != 12 or p[0] == 0 or (p[3] == 0 and p[7] == 0):
        return ''
    offset = float(np.hypot(p[3], p[7]) / p[0])
    return (
        f'P has Tx = {p[3]:g} and Ty = {p[7]:g}, as of the second camera of a stereo pair: unless '
        f'its frame_id is its own, the map is off by {offset:.3f} m; take the image of the first '
        '(left) camera'
    )


def distortion_shift(calibration: Calibration) -> float:
    """Return by how many pixels the lens distortion moves the border of the raw image, at most.

    Frames treat images as rectified; more than a pixel or two here is worth a warning unless the
    topic is a rectified one. Zero without distortion or without intrinsics.

    Source: OpenCV camera model documentation (plumb_bob, rational_polynomial, equidistant).
    """
    k, d = np.asarray(calibration.k, dtype=float), np.asarray(calibration.d, dtype=float)
    if not d.any() or k.size != 9 or k[0] == 0 or k[4] == 0:
        return 0.0
    x, y = _border(calibration.width or 2 * k[2], calibration.height or 2 * k[5])
    x, y = (x - k[2]) / k[0], (y - k[5]) / k[4]
    distort = _equidistant if calibration.distortion_model == 'equidistant' else _brown
    x_distorted, y_distorted = distort(x, y, d)
    return float(np.hypot((x_distorted - x) * k[0], (y_distorted - y) * k[4]).max())


def _border(width: float, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Return u and v (80,) of points along the image border."""
    along = np.linspace(0.0, 1.0, 20)
    zero, one = np.zeros_like(along), np.ones_like(along)
    u = np.concatenate([along, along, zero, one]) * (width - 1)
    v = np.concatenate([zero, one, along, along]) * (height - 1)
    return u, v


def _brown(x: np.ndarray, y: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Apply k1 k2 p1 p2 [k3 [k4 k5 k6]] to normalised coordinates; missing ones are zero."""
    k1, k2, p1, p2, k3, k4, k5, k6 = np.pad(d[:8], (0, max(0, 8 - d.size)))
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


def _equidistant(x: np.ndarray, y: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Apply the fisheye polynomial k1 k2 k3 k4 of the angle to normalised coordinates."""
    radius = np.hypot(x, y)
    angle = np.arctan(radius)
    a2 = angle * angle
    k1, k2, k3, k4 = np.pad(d[:4], (0, max(0, 4 - d.size)))
    distorted = angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
    scale = np.divide(distorted, radius, out=np.ones_like(radius), where=radius > 0)
    return x * scale, y * scale
