import numpy as np
import pytest

from concerto_ros.errors import CalibrationError, TransformUnavailable
from concerto_ros.geometry.transforms import from_quaternion
from concerto_ros.io.calibration import Calibration
from concerto_ros.io.frame_assembly import (
    CameraImage,
    FrameTransforms,
    assemble_frame,
    frame_transforms,
)

T_MAP_DEPTH = from_quaternion((1, 2, 3), (0, 0, 0, 1))
T_COLOR_DEPTH = from_quaternion((0.05, 0, 0), (0, 0, 0, 1))


def info(width: int, height: int, f: float) -> Calibration:
    k = (f, 0, width / 2, 0, f, height / 2, 0, 0, 1)
    return Calibration(width=width, height=height, k=k, p=(0.0,) * 12)


def color(width: int = 8, height: int = 6) -> CameraImage:
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    return CameraImage(stamp_ns=5, frame_id='color', pixels=pixels)


def depth(width: int = 8, height: int = 6, frame_id: str = 'color') -> CameraImage:
    pixels = np.ones((height, width), dtype=np.float32)
    return CameraImage(stamp_ns=7, frame_id=frame_id, pixels=pixels)


REGISTERED = FrameTransforms(T_map_depth=T_MAP_DEPTH, T_color_depth=np.eye(4))
APART = FrameTransforms(T_map_depth=T_MAP_DEPTH, T_color_depth=T_COLOR_DEPTH)


def test_registered_depth_takes_the_color_camera():
    frame = assemble_frame(color(), depth(), info(8, 6, 10), None, REGISTERED)
    assert frame.stamp_ns == 7
    assert frame.depth_camera == frame.color_camera
    np.testing.assert_array_equal(frame.T_map_depth, T_MAP_DEPTH)


def test_registered_depth_of_half_size_takes_the_scaled_color_camera():
    frame = assemble_frame(color(), depth(4, 3), info(8, 6, 10), None, REGISTERED)
    assert frame.depth_camera == frame.color_camera.scaled(4, 3)


def test_registered_depth_prefers_its_own_calibration_if_the_size_fits():
    frame = assemble_frame(color(), depth(4, 3), info(8, 6, 10), info(4, 3, 6), REGISTERED)
    assert frame.depth_camera.fx == 6
    frame = assemble_frame(color(), depth(4, 3), info(8, 6, 10), info(16, 9, 6), REGISTERED)
    assert frame.depth_camera.fx == 5


def test_registered_depth_prefers_its_own_calibration_if_its_binned_region_fits():
    k = (6.0, 0, 5, 0, 6, 4, 0, 0, 1)
    cut = Calibration(width=20, height=10, k=k, p=(0.0,) * 12, binning=(2, 2), roi=(2, 1, 8, 6))
    frame = assemble_frame(color(), depth(4, 3), info(8, 6, 10), cut, REGISTERED)
    assert (frame.depth_camera.fx, frame.depth_camera.cx, frame.depth_camera.cy) == (3, 1.25, 1.25)


def test_leading_slash_does_not_make_another_frame():
    image = depth(frame_id='/color')
    assert assemble_frame(color(), image, info(8, 6, 10), None, REGISTERED).depth_camera.fx == 10


def test_unregistered_depth_takes_its_own_calibration():
    image = depth(16, 9, frame_id='depth')
    frame = assemble_frame(color(), image, info(8, 6, 10), info(16, 9, 6), APART)
    assert frame.depth_camera.fx == 6
    np.testing.assert_array_equal(frame.T_color_depth, T_COLOR_DEPTH)


def test_unregistered_depth_without_calibration_is_refused():
    with pytest.raises(
        CalibrationError, match=r"'ir' and color in 'color'.*depth/camera_info.*aligned_depth"
    ):
        assemble_frame(color(), depth(frame_id='ir'), info(8, 6, 10), None, APART)


def test_other_aspect_ratio_is_refused():
    with pytest.raises(CalibrationError, match='aspect ratio'):
        assemble_frame(color(), depth(16, 9), info(8, 6, 10), None, REGISTERED)


def test_transforms_are_looked_up_at_the_stamp_of_depth():
    asked = []

    def lookup(target: str, source: str, stamp_ns: int) -> np.ndarray:
        asked.append((target, source, stamp_ns))
        return T_MAP_DEPTH if target == 'map' else T_COLOR_DEPTH

    transforms = frame_transforms(lookup, 'map', '/color', 'depth', 7)
    assert asked == [('map', 'depth', 7), ('color', 'depth', 7)]
    np.testing.assert_array_equal(transforms.T_color_depth, T_COLOR_DEPTH)

    asked.clear()
    transforms = frame_transforms(lookup, 'map', '/color', 'color', 7)
    assert asked == [('map', 'color', 7)]
    np.testing.assert_array_equal(transforms.T_color_depth, np.eye(4))


def test_missing_transform_is_passed_on():
    def lookup(target: str, source: str, stamp_ns: int) -> np.ndarray:
        raise TransformUnavailable(f'no {target} from {source}')

    with pytest.raises(TransformUnavailable, match='no map from depth'):
        frame_transforms(lookup, 'map', 'color', 'depth', 7)
