"""Camera and transform messages to plain values and back; no node is needed here."""

import sys
from array import array
from typing import Any

import numpy as np
from geometry_msgs.msg import Pose, TransformStamped
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.transforms import from_quaternion, to_quaternion
from concerto_ros.io.calibration import Calibration
from concerto_ros.io.frame_assembly import CameraImage
from concerto_ros.io.images import (
    decode_color,
    decode_compressed_color,
    decode_compressed_depth,
    decode_depth,
)

SECOND_NS = 1_000_000_000
_LARGEST_DEPTH_MM = 65535


def stamp_ns(message: object) -> int:
    """Return the stamp in a message's header [ns]."""
    stamp = message.header.stamp  # type: ignore[attr-defined]
    return int(stamp.sec) * SECOND_NS + int(stamp.nanosec)


def make_header(frame_id: str, stamp: int) -> Header:
    """Return a header with this stamp [ns]."""
    header = Header(frame_id=frame_id)
    header.stamp.sec, header.stamp.nanosec = divmod(stamp, SECOND_NS)
    return header


def color_image(message: Image | CompressedImage) -> CameraImage:
    """Decode a colour image; raw rgb8 shares the memory of the message.

    Raises:
        FrameError: The encoding is not understood, or sizes and data do not fit together.
    """
    if isinstance(message, CompressedImage):
        return _camera_image(message, decode_compressed_color(message.format, message.data))
    return _camera_image(message, decode_color(*_raw_fields(message)))


def depth_image(message: Image | CompressedImage) -> CameraImage:
    """Decode a depth image to metres; raw 32FC1 shares the memory of the message.

    Raises:
        FrameError: The encoding is not understood, or sizes and data do not fit together.
    """
    if isinstance(message, CompressedImage):
        return _camera_image(message, decode_compressed_depth(message.format, message.data))
    return _camera_image(message, decode_depth(*_raw_fields(message)))


def calibration(message: CameraInfo) -> Calibration:
    """Return what a camera_info says."""
    return Calibration(
        width=message.width,
        height=message.height,
        k=message.k,
        p=message.p,
        d=message.d,
        distortion_model=message.distortion_model,
        binning=(message.binning_x, message.binning_y),
        roi=(message.roi.x_offset, message.roi.y_offset, message.roi.width, message.roi.height),
    )


def transform_matrix(message: TransformStamped) -> NDArray[np.float64]:
    """Return T_parent_child (4, 4).

    Raises:
        ValueError: A number is not finite, or the quaternion is zero.
    """
    t, q = message.transform.translation, message.transform.rotation
    return from_quaternion((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))


def transform_message(
    parent: str, child: str, stamp: int, T_parent_child: NDArray[np.float64]
) -> TransformStamped:
    """Return T_parent_child (4, 4) at a stamp [ns]; exact up to the rounding of float64."""
    message = TransformStamped(header=make_header(parent, stamp), child_frame_id=child)
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = map(float, T_parent_child[:3, 3])
    q.x, q.y, q.z, q.w = map(float, to_quaternion(T_parent_child))
    return message


def pose_message(T_parent_child: NDArray[np.float64]) -> Pose:
    """Return T_parent_child (4, 4) as a pose; exact up to the rounding of float64."""
    message = Pose()
    p, q = message.position, message.orientation
    p.x, p.y, p.z = map(float, T_parent_child[:3, 3])
    q.x, q.y, q.z, q.w = map(float, to_quaternion(T_parent_child))
    return message


def pose_matrix(message: Pose) -> NDArray[np.float64]:
    """Return T_parent_child (4, 4) of a pose.

    Raises:
        ValueError: A number is not finite, or the quaternion is zero.
    """
    p, q = message.position, message.orientation
    return from_quaternion((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))


def color_message(header: Header, color: NDArray[np.uint8]) -> Image:
    """Return (H, W, 3) uint8 RGB as rgb8."""
    return _image_message(header, 'rgb8', color)


def depth_message(header: Header, depth: NDArray[np.float32]) -> Image:
    """Return (H, W) float32 [m] as 16UC1 where that loses nothing but its NaNs, else as 32FC1."""
    with np.errstate(invalid='ignore'):
        measured = np.isfinite(depth) & (depth > 0)
        millimetres = np.where(measured, np.rint(depth * np.float32(1000)), 0)
        if millimetres.max(initial=0) <= _LARGEST_DEPTH_MM:
            rounded = millimetres.astype(np.uint16)
            metres = rounded.astype(np.float32) / np.float32(1000)
            if np.array_equal(metres[measured], depth[measured]):
                return _image_message(header, '16UC1', rounded)
    return _image_message(header, '32FC1', depth)


def camera_info_message(header: Header, camera: PinholeCamera) -> CameraInfo:
    """Return the intrinsics of a camera without distortion."""
    fx, fy, cx, cy = map(float, (camera.fx, camera.fy, camera.cx, camera.cy))
    return CameraInfo(
        header=header,
        width=camera.width,
        height=camera.height,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def _camera_image(message: Image | CompressedImage, pixels: NDArray[Any]) -> CameraImage:
    return CameraImage(stamp_ns=stamp_ns(message), frame_id=message.header.frame_id, pixels=pixels)


def _raw_fields(message: Image) -> tuple[str, int, int, int, bool, Any]:
    return (
        message.encoding,
        message.height,
        message.width,
        message.step,
        bool(message.is_bigendian),
        message.data,
    )


def _image_message(header: Header, encoding: str, pixels: NDArray[Any]) -> Image:
    pixels = np.ascontiguousarray(pixels)
    message = Image(header=header, encoding=encoding)
    message.height, message.width = pixels.shape[:2]
    message.step = pixels.nbytes // pixels.shape[0]
    message.is_bigendian = int(sys.byteorder == 'big')
    data = array('B')
    data.frombytes(pixels.data.cast('B'))  # the only fast way into `data`
    message.data = data
    return message
