"""From two images, their calibration and the transforms to one RGBDFrame: the policy, once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import CalibrationError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.io.calibration import Calibration, camera_from_info

Matrix = NDArray[np.float64]

# lookup(target, source, stamp_ns) -> T_target_source (4, 4), or raises TransformUnavailable
Lookup = Callable[[str, str, int], Matrix]


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraImage:
    """A decoded image with its header.

    Attributes:
        stamp_ns: Time of exposure [ns].
        frame_id: Name of the camera's optical frame; a leading '/' is ignored.
        pixels: (H, W, 3) uint8 RGB, or (H, W) float32 depth [m].
    """

    stamp_ns: int
    frame_id: str
    pixels: NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameTransforms:
    """Where the cameras were when the depth image was taken.

    Attributes:
        T_map_depth: (4, 4) float64, depth camera to map.
        T_color_depth: (4, 4) float64, depth camera to colour camera.
    """

    T_map_depth: Matrix
    T_color_depth: Matrix


def frame_transforms(
    lookup: Lookup, map_frame: str, color_frame: str, depth_frame: str, stamp_ns: int
) -> FrameTransforms:
    """Look up both transforms of a frame at the stamp of its depth image.

    Raises:
        TransformUnavailable: From `lookup`.
    """
    color_frame, depth_frame = color_frame.lstrip('/'), depth_frame.lstrip('/')
    same = color_frame == depth_frame
    return FrameTransforms(
        T_map_depth=lookup(map_frame, depth_frame, stamp_ns),
        T_color_depth=np.eye(4) if same else lookup(color_frame, depth_frame, stamp_ns),
    )


def assemble_frame(
    color: CameraImage,
    depth: CameraImage,
    color_info: Calibration,
    depth_info: Calibration | None,
    transforms: FrameTransforms,
) -> RGBDFrame:
    """Make a frame; its geometry and its stamp come from the depth image.

    Images of one frame id are registered: the depth camera is `depth_info` if that is of the
    size of the depth image, else the colour camera scaled to it. Images of two frame ids need
    `depth_info`.

    Raises:
        CalibrationError: A camera is uncalibrated, has another aspect ratio than its image, or
            unregistered depth comes without its own calibration.
        FrameError: An array has a wrong shape or type, or a transform is not rigid.
    """
    color_height, color_width = color.pixels.shape[:2]
    color_camera = camera_from_info(color_info, color_width, color_height)
    return RGBDFrame(
        stamp_ns=depth.stamp_ns,
        color=color.pixels,
        depth=depth.pixels,
        color_camera=color_camera,
        depth_camera=_depth_camera(color, depth, color_camera, depth_info),
        T_map_depth=transforms.T_map_depth,
        T_color_depth=transforms.T_color_depth,
    )


def _depth_camera(
    color: CameraImage, depth: CameraImage, color_camera: PinholeCamera, info: Calibration | None
) -> PinholeCamera:
    height, width = depth.pixels.shape[:2]
    if color.frame_id.lstrip('/') == depth.frame_id.lstrip('/'):
        if info is not None and info.image_size() == (width, height):
            return camera_from_info(info, width, height)
        return color_camera.scaled(width, height)
    if info is None:
        raise CalibrationError(
            f'depth is in frame {depth.frame_id!r} and color in {color.frame_id!r}, so depth '
            'needs a camera_info of its own, and there is none: publish depth/camera_info, or use '
            "the driver's registered depth topic (aligned_depth_to_color, depth_registered)"
        )
    return camera_from_info(info, width, height)
