import logging
import shutil

import numpy as np
import pytest
from rosbags.convert.converter import convert
from rosbags.rosbag2 import StoragePlugin

from concerto_ros.config.schema import FramesConfig
from concerto_ros.errors import ConfigError, SourceError
from concerto_ros.geometry.transforms import from_quaternion
from concerto_ros.io.bag_reader import BagReader
from concerto_ros.io.bag_topics import TopicNames
from concerto_ros.io.bag_writer import write_bag


def convert_bag(folder, target):
    """Write the bag again, as ROS 1 if the target ends in .bag, else as SQLite."""
    convert(
        srcs=[folder], dst=target, dst_storage='sqlite3', dst_version=8, compress=None,
        compress_mode='', default_typestore=None, typestore=None, exclude_topics=[],
        include_topics=[], exclude_msgtypes=[], include_msgtypes=[],
    )  # fmt: skip
    return target


def add_camera_tree(bag, seconds, world='map', until=1.0):
    """Move the camera along x with 1 m/s below `world`."""
    for s in np.linspace(0.0, until, 5):
        bag.tf(world, 'base', seconds(s), xyz=(s, 0, 0))
    bag.tf('base', 'camera', seconds(0), xyz=(0, 0, 1), static=True)


def read(path, **options):
    with BagReader(path, **options) as reader:
        return list(reader), reader


def test_frame_has_images_cameras_and_interpolated_pose(bag, seconds, tmp_path):
    add_camera_tree(bag, seconds)
    bag.rgbd(seconds(0.3), depth_stamp_ns=seconds(0.31))
    frames, reader = read(bag.write(tmp_path / 'bag'))
    assert len(frames) == reader.num_frames_hint == 1
    assert not reader.dropped
    assert reader.frame_id == 'map'
    (frame,) = frames
    assert frame.stamp_ns == seconds(0.31)
    np.testing.assert_allclose(frame.T_map_depth[:3, 3], (0.31, 0, 1), atol=1e-9)
    assert frame.depth_camera == frame.color_camera
    assert (frame.color_camera.fx, frame.color_camera.cx) == (8.0, 3.5)
    assert np.all(frame.color == 7)
    assert np.all(frame.depth == np.float32(1.5))


def test_transforms_may_come_after_the_images(bag, seconds, tmp_path):
    bag.rgbd(seconds(0.5))
    add_camera_tree(bag, seconds)
    frames, _ = read(bag.write(tmp_path / 'bag'))
    assert len(frames) == 1


@pytest.mark.parametrize('storage', [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_single_file_without_metadata(bag, seconds, tmp_path, storage):
    add_camera_tree(bag, seconds)
    bag.rgbd(seconds(0.5))
    folder = bag.write(tmp_path / 'bag', storage)
    (file,) = [f for f in folder.iterdir() if f.suffix != '.yaml']
    assert len(read(file)[0]) == 1
    (folder / 'metadata.yaml').unlink()
    frames, reader = read(folder)
    assert len(frames) == 1
    assert not reader.dropped


def test_ros1_bag(make_frames, tmp_path):
    frames = make_frames(3)
    write_bag(tmp_path / 'bag', frames)
    back, reader = read(convert_bag(tmp_path / 'bag', tmp_path / 'one.bag'))
    assert [f.stamp_ns for f in back] == [f.stamp_ns for f in frames]
    assert not reader.dropped
    np.testing.assert_allclose(back[2].T_map_depth, frames[2].T_map_depth, atol=1e-9)
    np.testing.assert_array_equal(back[2].color, frames[2].color)


@pytest.mark.parametrize(('world', 'frame_id'), [('odom', 'odom'), ('map', 'map')])
def test_fusion_frame_of_one_world(bag, seconds, tmp_path, world, frame_id):
    add_camera_tree(bag, seconds, world)
    bag.rgbd(seconds(0.5))
    frames, reader = read(bag.write(tmp_path / 'bag'))
    assert reader.frame_id == frame_id
    assert len(frames) == 1
    np.testing.assert_array_equal(reader.T_map_fusion, np.eye(4))


def test_odom_is_preferred_and_map_is_applied_on_output(bag, seconds, tmp_path):
    add_camera_tree(bag, seconds, 'odom')
    bag.tf('map', 'odom', seconds(0), xyz=(5, 0, 0))
    bag.tf('map', 'odom', seconds(0.9), xyz=(6, 0, 0))
    bag.rgbd(seconds(0.5))
    path = bag.write(tmp_path / 'bag')
    frames, reader = read(path)
    assert reader.frame_id == 'odom'
    np.testing.assert_allclose(frames[0].T_map_depth[:3, 3], (0.5, 0, 1), atol=1e-9)
    np.testing.assert_allclose(reader.T_map_fusion[:3, 3], (6, 0, 0), atol=1e-9)

    frames, reader = read(path, frames=FramesConfig(odom='map'))
    np.testing.assert_array_equal(reader.T_map_fusion, np.eye(4))
    assert frames[0].T_map_depth[0, 3] == pytest.approx(0.5 + 5 + 0.5 / 0.9)


def test_odom_of_another_robot_is_not_taken(bag, seconds, tmp_path):
    add_camera_tree(bag, seconds, 'map')
    bag.tf('odom', 'other_base', seconds(0))
    bag.rgbd(seconds(0.5))
    assert read(bag.write(tmp_path / 'bag'))[1].frame_id == 'map'


def test_root_where_there_is_neither_odom_nor_map(bag, seconds, tmp_path, caplog):
    add_camera_tree(bag, seconds, 'vicon')
    bag.rgbd(seconds(0.5))
    with caplog.at_level(logging.WARNING):
        assert read(bag.write(tmp_path / 'bag'))[1].frame_id == 'vicon'
    assert "so its root frame 'vicon' is taken" in caplog.text
    assert 'ever changes' not in caplog.text


def test_camera_that_never_moves_is_warned_about(bag, seconds, tmp_path, caplog):
    bag.tf('base', 'camera', seconds(0), static=True)
    bag.rgbd(seconds(0.5))
    with caplog.at_level(logging.WARNING):
        frames, _ = read(bag.write(tmp_path / 'bag'))
    assert len(frames) == 1
    assert "no transform between 'base' and 'camera' ever changes" in caplog.text


def test_bag_without_transforms_is_refused(bag, seconds, tmp_path):
    bag.rgbd(seconds(0))
    with pytest.raises(SourceError, match=r'no transforms.*record /tf and /tf_static'):
        BagReader(bag.write(tmp_path / 'bag'))


def test_camera_outside_of_the_tree_is_refused(bag, seconds, tmp_path):
    add_camera_tree(bag, seconds)
    bag.rgbd(seconds(0.5), depth_frame_id='ir_optical')
    path = bag.write(tmp_path / 'bag')
    with pytest.raises(SourceError, match=r"camera frame 'ir_optical'.*have base, camera, map"):
        BagReader(path)


def test_frames_that_do_not_place_the_camera_are_named(bag, seconds, tmp_path, caplog):
    add_camera_tree(bag, seconds)
    bag.rgbd(seconds(0.5))
    frames = FramesConfig(odom='wheels', map='earth')
    with BagReader(bag.write(tmp_path / 'bag'), frames=frames) as reader:
        assert reader.frame_id == 'map'  # the root
    assert "neither frames.odom ('wheels') nor frames.map ('earth') places" in caplog.text


def test_images_outside_of_the_transforms_are_counted(bag, seconds, tmp_path):
    add_camera_tree(bag, seconds, until=1.0)
    for s in (-0.5, 0.5, 1.5, 2.5):
        bag.rgbd(seconds(s))
    frames, reader = read(bag.write(tmp_path / 'bag'))
    assert [f.stamp_ns for f in frames] == [seconds(0.5)]
    assert reader.dropped == {
        "no transform from 'camera' to 'map' at the stamp of the image": 3,
    }


def test_iterating_twice_gives_the_same(make_frames, tmp_path):
    write_bag(tmp_path / 'bag', make_frames(3))
    with BagReader(tmp_path / 'bag') as reader:
        first, second = list(reader), list(reader)
    assert [f.stamp_ns for f in first] == [f.stamp_ns for f in second]
    assert len(first) == 3


def test_unpaired_and_damaged_images_are_counted(bag, seconds, tmp_path):
    add_camera_tree(bag, seconds)
    bag.rgbd(seconds(0.2))
    bag.image('/depth/image', 'camera', seconds(0.5), '16UC1', np.ones((6, 8), np.uint16))
    bag.rgbd(seconds(0.8))
    bag.messages[-1][2].encoding = '64FC1'
    frames, reader = read(bag.write(tmp_path / 'bag'))
    assert len(frames) == 1
    assert sorted(reader.dropped.values()) == [1, 1]
    reasons = ' '.join(reader.dropped)
    assert 'no color image and camera_info within 0.05 s of a depth image' in reasons
    assert "found '64FC1'" in reasons


def test_keep_chooses_by_index(make_frames, tmp_path):
    frames = make_frames(5)
    write_bag(tmp_path / 'bag', frames)
    back, reader = read(tmp_path / 'bag', keep=lambda i: i % 2 == 1)
    assert [f.stamp_ns for f in back] == [frames[1].stamp_ns, frames[3].stamp_ns]
    assert reader.num_frames_hint == 2


def test_looped_recording_gives_each_frame_once(bag, seconds, tmp_path):
    add_camera_tree(bag, seconds, until=3.0)
    for _ in range(2):
        for s in np.arange(0.0, 3.0, 0.5):
            bag.rgbd(seconds(s))
    frames, reader = read(bag.write(tmp_path / 'bag'))
    assert [f.stamp_ns for f in frames] == [seconds(s) for s in np.arange(0.0, 3.0, 0.5)]
    assert reader.dropped == {
        'stamp is not newer than the frame before (clock reset, or looped bag)': 6
    }


def test_unregistered_depth_with_its_own_camera_info(bag, seconds, tmp_path):
    add_camera_tree(bag, seconds)
    bag.tf('camera', 'ir', seconds(0), xyz=(0.05, 0, 0), static=True)
    bag.info('/depth/camera_info', 'ir', seconds(0.5), f=6.0)
    bag.rgbd(seconds(0.5), depth_frame_id='ir')
    ((frame,), reader) = read(bag.write(tmp_path / 'bag'))
    assert reader.topics.depth_camera_info == '/depth/camera_info'
    assert (frame.color_camera.fx, frame.depth_camera.fx) == (8.0, 6.0)
    np.testing.assert_allclose(frame.T_color_depth[:3, 3], (0.05, 0, 0), atol=1e-12)
    np.testing.assert_allclose(frame.T_map_depth[:3, 3], (0.55, 0, 1), atol=1e-9)


def test_unregistered_depth_without_camera_info_is_counted(bag, seconds, tmp_path):
    add_camera_tree(bag, seconds)
    bag.tf('camera', 'ir', seconds(0), static=True)
    bag.rgbd(seconds(0.5), depth_frame_id='ir')
    frames, reader = read(bag.write(tmp_path / 'bag'))
    assert not frames
    ((reason, count),) = reader.dropped.items()
    assert count == 1
    assert "depth is in frame 'ir' and color in 'camera'" in reason


def test_up_turns_the_world(bag, seconds, tmp_path):
    add_camera_tree(bag, seconds, 'odom')
    bag.tf('map', 'odom', seconds(0), xyz=(0, 3, 0))
    bag.rgbd(seconds(0.5))
    frames, reader = read(bag.write(tmp_path / 'bag'), up='0,1,0')
    np.testing.assert_allclose(frames[0].T_map_depth[:3, 3], (0.5, -1, 0), atol=1e-9)
    np.testing.assert_allclose(
        reader.T_map_fusion, from_quaternion((0, 0, 3), (0, 0, 0, 1)), atol=1e-9
    )


def test_malformed_up_is_refused_before_reading(tmp_path):
    with pytest.raises(ConfigError, match='up must be'):
        BagReader(tmp_path / 'absent', up='sideways')


def test_missing_topic_lists_what_is_there(bag, seconds, tmp_path):
    add_camera_tree(bag, seconds)
    bag.rgbd(seconds(0.5))
    path = bag.write(tmp_path / 'bag')
    with pytest.raises(SourceError, match=r"no topic '/rgb'.*/color/image \(sensor_msgs"):
        BagReader(path, topics=TopicNames(color='/rgb'))


def test_distorted_images_are_warned_about(bag, seconds, tmp_path, caplog):
    add_camera_tree(bag, seconds)
    bag.rgbd(seconds(0.5))
    for topic, _, message in bag.messages:
        if topic == '/color/camera_info':
            message.d = np.array([3.0, 0, 0, 0, 0])
    with caplog.at_level(logging.WARNING):
        read(bag.write(tmp_path / 'bag'))
    assert 'the lens moves the border of /color/image by' in caplog.text


def color_infos(bag):
    return [message for topic, _, message in bag.messages if topic == '/color/camera_info']


def test_a_region_of_interest_in_camera_info_is_obeyed(bag, seconds, tmp_path):
    add_camera_tree(bag, seconds)
    bag.rgbd(seconds(0.5))
    for message in color_infos(bag):
        message.width, message.height, message.binning_x, message.binning_y = 64, 48, 2, 2
        roi = message.roi
        roi.x_offset, roi.y_offset, roi.width, roi.height = 1, 2, 16, 12
    (frame,), _ = read(bag.write(tmp_path / 'bag'))
    camera = frame.color_camera
    assert (camera.width, camera.height, camera.fx) == (8, 6, 4)
    assert (camera.cx, camera.cy) == ((3.5 - 1 - 0.5) / 2, (2.5 - 2 - 0.5) / 2)


def test_the_second_camera_of_a_stereo_pair_is_warned_about(bag, seconds, tmp_path, caplog):
    add_camera_tree(bag, seconds)
    bag.rgbd(seconds(0.5))
    for message in color_infos(bag):
        message.p = np.array([8.0, 0, 3.5, -1.6, 0, 8, 2.5, 0, 0, 0, 1, 0])
    with caplog.at_level(logging.WARNING):
        read(bag.write(tmp_path / 'bag'))
    assert '/color/camera_info: P has Tx = -1.6' in caplog.text
    assert 'off by 0.200 m' in caplog.text


@pytest.mark.parametrize('suffix', ['.mcap', '.db3', '.bag'])
def test_truncated_recording_is_read_up_to_its_end(make_frames, tmp_path, suffix):
    frames = make_frames(40)
    write_bag(tmp_path / 'bag', frames)
    folder = tmp_path / 'bag'
    if suffix != '.mcap':
        folder = convert_bag(folder, tmp_path / ('sqlite' if suffix == '.db3' else 'one.bag'))
    (file,) = [f for f in tmp_path.rglob('*') if f.suffix == suffix]
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 6 // 10])
    back, reader = read(folder)
    assert 5 < len(back) < 40
    assert [f.stamp_ns for f in back] == [f.stamp_ns for f in frames[: len(back)]]
    assert sum('recording is damaged after' in reason for reason in reader.dropped) == 1


def test_damage_within_a_finished_recording(make_frames, tmp_path):
    write_bag(tmp_path / 'bag', make_frames(1000))  # chunks are of 1 MiB
    (file,) = (tmp_path / 'bag').glob('*.mcap')
    content = bytearray(file.read_bytes())
    start = len(content) * 3 // 4
    content[start : start + 20_000] = b'\xff' * 20_000
    file.write_bytes(content)
    back, reader = read(tmp_path / 'bag')
    assert 200 < len(back) < 800
    assert any('damaged' in reason for reason in reader.dropped)


@pytest.mark.parametrize('name', ['empty.mcap', 'empty.db3', 'empty.bag'])
@pytest.mark.parametrize('content', [b'', b'not a bag at all, but long enough for a header ' * 9])
def test_unreadable_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=f'{name} (cannot be read|holds no messages)'):
        BagReader(tmp_path / name)


def test_bag_without_messages_is_refused(bag, tmp_path):
    with pytest.raises(SourceError, match='holds no messages'):
        BagReader(bag.write(tmp_path / 'bag'))
    with pytest.raises(SourceError, match='absent does not exist'):
        BagReader(tmp_path / 'absent')


def test_folder_without_a_bag_is_refused(tmp_path):
    (tmp_path / 'notes.txt').touch()
    with pytest.raises(SourceError, match=r'cannot be read.*the folder holds notes.txt'):
        BagReader(tmp_path)


def test_real_bag_agrees_with_the_folder_it_was_made_of(recordings):
    from concerto_ros.io.frame_source import open_source

    with BagReader(recordings / 'bags' / 'sevenscenes_240_475') as reader:
        bag_frames = list(reader)
        assert not reader.dropped
    with open_source(recordings / 'sevenscenes', keep=lambda i: 48 <= i < 96) as source:
        folder_frames = list(source)
    assert len(bag_frames) == len(folder_frames) == 48
    for a, b in zip(bag_frames, folder_frames, strict=True):
        np.testing.assert_allclose(a.T_map_depth, b.T_map_depth, atol=2e-6)  # 7 digits in the bag
        np.testing.assert_array_equal(a.depth, b.depth)
        np.testing.assert_array_equal(a.color, b.color)
        assert a.depth_camera == a.color_camera == b.color_camera


def test_truncated_real_bag(recordings, tmp_path):
    source = recordings / 'bags' / 'sevenscenes_240_475' / 'sevenscenes_240_475.mcap'
    file = tmp_path / 'cut.mcap'
    shutil.copyfile(source, file)
    with file.open('r+b') as f:
        f.truncate(file.stat().st_size // 2)
    frames, reader = read(file)
    assert 15 < len(frames) < 30
    assert any('recording is damaged after' in reason for reason in reader.dropped)
