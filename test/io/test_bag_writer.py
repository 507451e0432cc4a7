import numpy as np
import pytest

from concerto_ros.errors import SourceError
from concerto_ros.geometry.transforms import from_quaternion
from concerto_ros.io.bag_reader import BagReader
from concerto_ros.io.bag_writer import write_bag

T_COLOR_DEPTH = from_quaternion((0.05, 0.0, 0.01), (0.0, 0.02, 0.0, 1.0))


def roundtrip(folder, frames, **options):
    assert write_bag(folder, frames, **options) == len(frames)
    with BagReader(folder) as reader:
        back = list(reader)
        assert not reader.dropped
        return back, reader


@pytest.mark.parametrize('depth_encoding', ['16UC1', '32FC1'])
def test_raw_frames_come_back(make_frames, tmp_path, depth_encoding):
    frames = make_frames(3)
    back, reader = roundtrip(tmp_path / 'bag', frames, depth_encoding=depth_encoding)
    assert reader.frame_id == 'map'
    assert len(back) == 3
    for a, b in zip(frames, back, strict=True):
        assert a.stamp_ns == b.stamp_ns
        assert a.color_camera == b.color_camera
        assert a.depth_camera == b.depth_camera
        np.testing.assert_array_equal(a.color, b.color)
        np.testing.assert_array_equal(a.depth, b.depth)
        np.testing.assert_allclose(a.T_map_depth, b.T_map_depth, atol=1e-12)
        np.testing.assert_array_equal(b.T_color_depth, np.eye(4))


def test_compressed_frames_come_back(make_frames, tmp_path):
    frames = make_frames(2)
    back, reader = roundtrip(tmp_path / 'bag', frames, compressed=True)
    assert reader.topics.color == '/camera/color/image_raw/compressed'
    assert reader.topics.depth.endswith('/compressedDepth')
    np.testing.assert_array_equal(back[1].depth, frames[1].depth)
    assert back[1].color.shape == frames[1].color.shape


def test_what_is_no_measurement_stays_none(make_frames, tmp_path):
    frames = make_frames(1)
    frames[0].depth[0, :4] = (np.nan, np.inf, -1.0, 70.0)  # 70 m does not fit in 16 bits of mm
    (back,), _ = roundtrip(tmp_path / 'bag', frames)
    np.testing.assert_array_equal(back.depth[0, :4], 0.0)


def test_unregistered_frames_come_back(make_frames, tmp_path):
    frames = make_frames(2, T_COLOR_DEPTH)
    back, reader = roundtrip(tmp_path / 'bag', frames)
    assert reader.topics.depth == '/camera/depth/image_raw'
    np.testing.assert_allclose(back[1].T_color_depth, T_COLOR_DEPTH, atol=1e-12)
    np.testing.assert_allclose(back[1].T_map_depth, frames[1].T_map_depth, atol=1e-12)


def test_odom_between_map_and_camera(make_frames, tmp_path):
    frames = make_frames(2)
    T_map_odom = from_quaternion((3, 0, 0), (0, 0, 1, 1))
    back, reader = roundtrip(tmp_path / 'bag', frames, T_map_odom=T_map_odom)
    assert reader.frame_id == 'odom'
    np.testing.assert_allclose(reader.T_map_fusion, T_map_odom, atol=1e-12)
    np.testing.assert_allclose(T_map_odom @ back[1].T_map_depth, frames[1].T_map_depth, atol=1e-12)


def test_existing_folder_is_not_overwritten(make_frames, tmp_path):
    with pytest.raises(SourceError, match=r'cannot be written: .* exists already'):
        write_bag(tmp_path, make_frames(1))


def test_float_depth_cannot_be_compressed(make_frames, tmp_path):
    with pytest.raises(ValueError, match='must be 16UC1'):
        write_bag(tmp_path / 'bag', make_frames(1), compressed=True, depth_encoding='32FC1')
    assert not (tmp_path / 'bag').exists()
