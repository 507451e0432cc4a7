import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

from concerto_ros.errors import FrameError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.transforms import from_quaternion
from concerto_ros.io.calibration import camera_from_info
from concerto_ros.ros.conversions import (
    calibration,
    camera_info_message,
    color_image,
    color_message,
    depth_image,
    depth_message,
    make_header,
    pose_matrix,
    pose_message,
    stamp_ns,
    transform_matrix,
    transform_message,
)

pytestmark = pytest.mark.ros

STAMP = 1_234_567_890_123_456_789


def test_headers_keep_the_stamp_to_the_nanosecond():
    message = Image(header=make_header('camera', STAMP))
    assert stamp_ns(message) == STAMP
    assert message.header.frame_id == 'camera'


def test_color_survives_a_round_trip_without_a_copy():
    color = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    message = color_message(make_header('camera', STAMP), color[:, ::-1])
    found = color_image(message)
    np.testing.assert_array_equal(found.pixels, color[:, ::-1])
    assert (found.stamp_ns, found.frame_id) == (STAMP, 'camera')
    message.data[0] = 99
    assert found.pixels[0, 0, 0] == 99


def test_millimetres_come_back_as_the_same_numbers():
    millimetres = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    depth = millimetres.astype(np.float32) / np.float32(1000)
    message = depth_message(make_header('camera', STAMP), depth)
    assert message.encoding == '16UC1'
    np.testing.assert_array_equal(depth_image(message).pixels, depth)


def test_finer_depth_is_sent_as_metres():
    depth = np.array([[0.12345, np.nan, 70.0, -1.0]], np.float32)
    message = depth_message(make_header('camera', STAMP), depth)
    assert message.encoding == '32FC1'
    np.testing.assert_array_equal(depth_image(message).pixels, depth)


def test_no_measurement_is_zero_millimetres():
    depth = np.array([[np.nan, np.inf, -1.0, 0.0, 2.0]], np.float32)
    message = depth_message(make_header('camera', STAMP), depth)
    assert message.encoding == '16UC1'
    assert depth_image(message).pixels.tolist() == [[0, 0, 0, 0, 2]]


def test_intrinsics_survive_a_round_trip():
    camera = PinholeCamera(width=64, height=48, fx=50.1, fy=50.2, cx=31.3, cy=23.4)
    message = camera_info_message(make_header('camera', STAMP), camera)
    assert camera_from_info(calibration(message), 64, 48) == camera


def test_binning_and_region_of_a_camera_info_are_kept():
    camera = PinholeCamera(width=64, height=48, fx=50.0, fy=50.0, cx=31.5, cy=23.5)
    message = camera_info_message(make_header('camera', STAMP), camera)
    message.binning_x = message.binning_y = 2
    message.roi.x_offset, message.roi.y_offset = 8, 4
    message.roi.width, message.roi.height = 32, 24
    found = camera_from_info(calibration(message), 16, 12)
    assert (found.fx, found.cx, found.cy) == (25, 11.5, 9.5)


def test_transforms_survive_a_round_trip_in_float32():
    rng = np.random.default_rng(0)
    for _ in range(100):
        T = from_quaternion(rng.normal(size=3), rng.normal(size=4))
        message = transform_message('map', 'camera', STAMP, T)
        np.testing.assert_allclose(transform_matrix(message), T, rtol=0, atol=1e-15)
        np.testing.assert_allclose(pose_matrix(pose_message(T)), T, rtol=0, atol=1e-15)


@pytest.mark.parametrize('decode', [color_image, depth_image])
def test_bad_images_are_refused(decode):
    with pytest.raises(FrameError, match=r'expected .* found'):
        decode(Image(encoding='yuv422', height=1, width=1, step=2))
    with pytest.raises(FrameError, match='expected'):
        decode(CompressedImage(format='jpeg'))
