import pytest

from concerto_ros.errors import SourceError
from concerto_ros.io.bag_topics import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    TopicNames,
    choose_topics,
)

REALSENSE = {
    '/camera/color/image_raw': IMAGE,
    '/camera/color/image_raw/compressed': COMPRESSED_IMAGE,
    '/camera/color/camera_info': CAMERA_INFO,
    '/camera/infra1/image_rect_raw': IMAGE,
    '/camera/depth/image_rect_raw': IMAGE,
    '/camera/depth/image_rect_raw/compressedDepth': COMPRESSED_IMAGE,
    '/camera/depth/camera_info': CAMERA_INFO,
    '/camera/aligned_depth_to_color/image_raw': IMAGE,
    '/camera/aligned_depth_to_color/camera_info': CAMERA_INFO,
    '/tf': 'tf2_msgs/msg/TFMessage',
}


def without(*names: str) -> dict[str, str]:
    return {name: t for name, t in REALSENSE.items() if name not in names}


def test_raw_color_and_registered_depth_are_preferred():
    chosen = choose_topics(REALSENSE, TopicNames())
    assert chosen == TopicNames(
        color='/camera/color/image_raw',
        depth='/camera/aligned_depth_to_color/image_raw',
        camera_info='/camera/color/camera_info',
        depth_camera_info='/camera/aligned_depth_to_color/camera_info',
    )


def test_compressed_topics_are_second_choice():
    topics = without('/camera/color/image_raw', '/camera/depth/image_rect_raw')
    topics = {name: t for name, t in topics.items() if 'aligned' not in name}
    chosen = choose_topics(topics, TopicNames())
    assert chosen.color == '/camera/color/image_raw/compressed'
    assert chosen.camera_info == '/camera/color/camera_info'
    assert chosen.depth == '/camera/depth/image_rect_raw/compressedDepth'
    assert chosen.depth_camera_info == '/camera/depth/camera_info'


def test_depth_without_camera_info_of_its_own():
    topics = without('/camera/aligned_depth_to_color/camera_info')
    assert choose_topics(topics, TopicNames()).depth_camera_info == ''


def test_rectified_color_is_preferred():
    topics = REALSENSE | {'/camera/color/image_rect': IMAGE}
    assert choose_topics(topics, TopicNames()).color == '/camera/color/image_rect'


def test_given_names_win():
    given = TopicNames(
        depth='/camera/depth/image_rect_raw', camera_info='/camera/depth/camera_info'
    )
    chosen = choose_topics(REALSENSE, given)
    assert chosen.depth == given.depth
    assert chosen.camera_info == given.camera_info
    assert chosen.depth_camera_info == '/camera/depth/camera_info'


def test_only_camera_info_there_is_serves_color():
    topics = {'/rgb': IMAGE, '/depth': IMAGE, '/calibration': CAMERA_INFO}
    assert choose_topics(topics, TopicNames()).camera_info == '/calibration'


def test_what_is_missing_is_named_with_what_there_is():
    with pytest.raises(SourceError, match=r"no topic '/rgb' of type sensor_msgs.*has /camera"):
        choose_topics(REALSENSE, TopicNames(color='/rgb'))
    with pytest.raises(SourceError, match=r"no topic '/tf' of type sensor_msgs/msg/CameraInfo"):
        choose_topics(REALSENSE, TopicNames(camera_info='/tf'))
    with pytest.raises(SourceError, match=r'no color image topic.*has /scan \(x\)'):
        choose_topics({'/scan': 'x'}, TopicNames())
    with pytest.raises(SourceError, match='the recording has no topics'):
        choose_topics({}, TopicNames())
    with pytest.raises(SourceError, match=r"no camera_info topic beside '/camera/color/image_raw"):
        choose_topics(without('/camera/color/camera_info'), TopicNames())
    with pytest.raises(SourceError, match='no depth image topic'):
        choose_topics({'/rgb/image': IMAGE}, TopicNames())


def test_equally_good_topics_are_left_to_the_user():
    topics = REALSENSE | {'/rear/color/image_raw': IMAGE}
    with pytest.raises(SourceError, match=r'several color.*/camera/color/image_raw, /rear/color'):
        choose_topics(topics, TopicNames())
