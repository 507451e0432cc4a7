import io
from array import array
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as PillowImage
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from concerto_ros.ros.camera_input import image_topic
from concerto_ros.ros.cameras import Cameras
from concerto_ros.ros.parameters import NodeParameters
from concerto_ros.ros.problems import Problems
from concerto_ros.ros.transforms import Transforms

pytestmark = pytest.mark.ros

START = 1000 * 1_000_000_000
FRAME = 100_000_000  # 10 Hz


@pytest.fixture
def make_input(graph):
    """Return make_input(*ros_args, namespace=''): an input and what came out of it."""

    def make(*arguments, namespace=''):
        node = graph.node('perception', *arguments, namespace=namespace)
        parameters = NodeParameters(node)
        problems = Problems(node, lambda: parameters.config.publish.warning_period)
        transforms = Transforms(node, parameters.config.frames)
        frames, jumps, sentences = [], [], []
        cameras = Cameras(
            node, parameters, transforms, problems,
            lambda framed: frames.append((framed.frame, framed.fusion_frame)),
            lambda: jumps.append(len(frames)),
        )  # fmt: skip
        add = problems.add
        problems.add = lambda kind, sentence, count=1: (
            sentences.append(sentence), add(kind, sentence, count)
        )  # fmt: skip
        return SimpleNamespace(
            cameras=cameras, camera=next(iter(cameras)), frames=frames, jumps=jumps,
            counts=problems.counts, sentences=sentences, report=problems.report,
        )  # fmt: skip

    return make


@pytest.fixture
def running(make_input, make_robot):
    """Return an input and a robot that hear each other; the map is the robot's only frame."""
    node, robot = (
        make_input('-p', 'input.transform_timeout:=0.3', '-p', 'publish.warning_period:=1000.0'),
        make_robot(),
    )
    robot.until_heard()
    robot.info()
    robot.tf('map', 'camera', static=True)
    return node, robot


def test_a_registered_pair_becomes_a_frame(graph, make_input, make_robot):
    node, robot = make_input(), make_robot()
    robot.until_heard()
    robot.info()
    robot.tf('odom', 'base', START, (1, 2, 3))
    robot.tf('base', 'camera', static=True, xyz=(0, 0, 1))
    robot.images()
    graph.until(lambda: node.frames)
    frame, fusion_frame = node.frames[0]
    assert fusion_frame == 'odom'
    assert frame.stamp_ns == START
    assert frame.T_map_depth[:3, 3].tolist() == [1, 2, 4]
    assert (frame.depth == np.float32(1.5)).all()
    assert (frame.color == 7).all()
    assert frame.depth_camera == frame.color_camera
    assert frame.depth_camera.fx == 8.0
    assert not node.counts


def test_the_map_frame_serves_where_there_is_no_odom(graph, running):
    node, robot = running
    robot.images()
    graph.until(lambda: node.frames)
    assert node.frames[0][1] == 'map'


def test_odom_is_preferred_and_kept_until_forgotten(graph, make_input, make_robot):
    node, robot = make_input(), make_robot()
    robot.until_heard()
    robot.info()
    robot.tf('odom', 'camera', START)
    robot.images()
    graph.until(lambda: node.frames)
    robot.tf('map', 'odom', static=True)
    robot.tf('odom', 'camera', START + FRAME)
    robot.images(START + FRAME)
    graph.until(lambda: len(node.frames) == 2)
    node.cameras.forget_fusion_frame()
    robot.tf('odom', 'camera', START + 2 * FRAME)
    robot.images(START + 2 * FRAME)
    graph.until(lambda: len(node.frames) == 3)
    assert [fusion_frame for _, fusion_frame in node.frames] == ['odom'] * 3


def test_a_frame_waits_for_a_transform_that_comes_late(graph, make_input, make_robot):
    node, robot = make_input('-p', 'input.transform_timeout:=10.0'), make_robot()
    robot.until_heard()
    robot.info()
    robot.images()
    graph.spin_for(0.2)
    assert not node.frames
    robot.tf('map', 'camera', START, (5, 0, 0))
    graph.until(lambda: node.frames)
    assert node.frames[0][0].T_map_depth[0, 3] == 5
    assert not node.counts


def test_a_frame_that_waits_does_not_hold_up_the_next(graph, make_input, make_robot):
    node, robot = make_input('-p', 'input.transform_timeout:=10.0'), make_robot()
    robot.until_heard()
    robot.info()
    robot.images(START)
    robot.tf('map', 'camera', START + FRAME)
    robot.images(START + FRAME)
    graph.until(lambda: node.frames)
    assert node.frames[0][0].stamp_ns == START + FRAME


def test_a_missing_transform_names_both_frames_and_the_wait(graph, make_input, make_robot):
    node, robot = make_input('-p', 'input.transform_timeout:=0.1'), make_robot()
    robot.until_heard()
    robot.info()
    robot.images()
    graph.until(lambda: node.counts['transform'])
    assert "from 'camera' to 'odom'" in node.sentences[0]
    assert "from 'camera' to 'map'" in node.sentences[0]
    assert 'after waiting 0.1' in node.sentences[0]
    assert '/depth/image' in node.sentences[0]
    robot.tf('map', 'camera', static=True)
    robot.images(START + FRAME)
    graph.until(lambda: node.frames)  # the node goes on


def test_a_camera_that_starts_after_the_node_is_heard(graph, make_input, make_robot):
    node = make_input()
    graph.spin_for(0.3)
    robot = make_robot(qos=qos_profile_sensor_data)
    robot.until_heard()
    robot.info()
    robot.tf('map', 'camera', static=True)
    robot.images()
    graph.until(lambda: node.frames)


def test_a_namespaced_robot_with_remapped_tf(graph, make_input, make_robot):
    node = make_input('-r', '/tf:=tf', '-r', '/tf_static:=tf_static', namespace='/left')
    robot = make_robot(namespace='/left', tf='tf')
    robot.until_heard()
    robot.info()
    robot.tf('odom', 'camera', START)
    robot.images()
    graph.until(lambda: node.frames)
    assert robot.tf_topic.topic_name == '/left/tf'
    assert robot.color.topic_name == '/left/color/image'


def test_depth_of_its_own_frame_is_registered_by_both_calibrations(graph, make_input, make_robot):
    node, robot = make_input(), make_robot()
    depth_info = robot.node.create_publisher(CameraInfo, 'depth/camera_info', 10)
    robot.until_heard()
    robot.until_heard(depth_info)
    robot.info()
    robot.tf('map', 'camera', static=True, xyz=(1, 0, 0))
    robot.tf('camera', 'depth', static=True, xyz=(0, 0.5, 0))
    robot.images(depth_frame='depth', depth_size=(4, 2))
    graph.spin_for(0.1)
    assert not node.frames  # somebody publishes depth/camera_info: it is awaited
    robot.info(depth_info, f=3.0, size=(4, 2))
    graph.until(lambda: node.frames)
    frame, _ = node.frames[0]
    assert frame.T_map_depth[:3, 3].tolist() == [1, 0.5, 0]
    assert frame.T_color_depth[:3, 3].tolist() == [0, 0.5, 0]
    assert frame.depth_camera.fx == 3.0
    assert frame.color_camera.fx == 8.0


def test_depth_of_its_own_frame_needs_its_own_calibration(graph, running):
    node, robot = running
    robot.tf('camera', 'depth', static=True)
    robot.images(depth_frame='depth')
    graph.until(lambda: node.counts['image'])
    assert 'publish depth/camera_info' in node.sentences[0]


def test_depth_of_another_shape_in_the_same_frame_is_refused(graph, running):
    node, robot = running
    robot.images(depth_size=(8, 8))
    graph.until(lambda: node.counts['image'])
    assert node.sentences[0].startswith('/depth/image with /depth/camera_info: image is 8x8')
    robot.images(START + FRAME)
    graph.until(lambda: node.frames)


def test_an_uncalibrated_camera_is_refused(graph, running):
    node, robot = running
    graph.until(lambda: node.camera._infos)
    robot.info(f=0.0)
    graph.until(lambda: node.camera._infos['color'].k[0] == 0)
    robot.images()
    graph.until(lambda: node.counts['image'])
    assert node.sentences[0].startswith('/color/camera_info: camera is uncalibrated')


def test_an_unknown_encoding_is_refused(graph, running):
    node, robot = running
    robot.images(encoding='bayer_rggb8')
    graph.until(lambda: node.counts['image'])
    assert node.sentences[0].startswith('/color/image: expected color as rgb8')
    assert not node.frames


def test_images_without_camera_info_are_reported(graph, make_input, make_robot):
    node, robot = make_input('-p', 'input.transform_timeout:=0.1'), make_robot()
    robot.until_heard()
    robot.tf('map', 'camera', static=True)
    robot.images()
    graph.until(lambda: node.counts['camera_info'])
    assert node.sentences[0].startswith('/color/camera_info: no camera_info has arrived')


@pytest.mark.parametrize('stamp', [-5 * FRAME, 0])
def test_images_without_a_time_are_refused(graph, running, stamp):
    node, robot = running
    robot.tf('odom', 'camera', START)  # the newest transform, which is not to be taken
    robot.images(stamp)
    graph.until(lambda: node.counts['stamp'] == 2)
    assert not node.frames
    assert {sentence.split(':')[0] for sentence in node.sentences} == {
        '/color/image', '/depth/image',
    }  # fmt: skip
    assert all('the driver leaves header.stamp empty' in s for s in node.sentences)
    robot.images(START)
    graph.until(lambda: node.frames)
    assert node.jumps == []


def test_an_error_that_nobody_foresaw_is_counted_and_survived(graph, running):
    node, robot = running
    node.camera._on_frame = lambda *_: 1 / 0
    for i in range(3):
        robot.images(START + i * FRAME)
    graph.until(lambda: node.counts['internal'] == 3)
    assert 'ZeroDivisionError' in node.sentences[-1]
    node.camera._take_info = node.camera._pairing.add = None
    robot.images(START + 3 * FRAME)
    graph.until(lambda: node.counts['internal'] == 5)
    assert 'is not callable' in node.sentences[-1]


def test_a_silent_publisher_of_the_depth_calibration_is_given_up(graph, running):
    node, robot = running
    depth_info = robot.node.create_publisher(CameraInfo, 'depth/camera_info', 10)
    robot.until_heard(depth_info)
    robot.images(START)
    graph.spin_for(0.1)
    assert not node.frames
    graph.until(lambda: len(node.frames) == 1)
    assert node.frames[0][0].depth_camera == node.frames[0][0].color_camera
    assert node.counts == {'depth_info': 1}
    assert 'depth is taken as registered to color' in node.sentences[0]
    robot.images(START + FRAME)
    graph.until(lambda: len(node.frames) == 2, seconds=0.25)  # no wait any more
    robot.info(depth_info, f=3.0)
    graph.until(lambda: 'depth' in node.camera._infos)
    robot.images(START + 2 * FRAME)
    graph.until(lambda: len(node.frames) == 3)
    assert node.frames[2][0].depth_camera.fx == 3.0
    assert node.counts == {'depth_info': 2}


def test_unregistered_depth_is_dropped_while_its_calibration_is_silent(graph, running):
    node, robot = running
    robot.until_heard(robot.node.create_publisher(CameraInfo, 'depth/camera_info', 10))
    robot.tf('camera', 'depth', static=True)
    robot.images(depth_frame='depth')
    graph.until(lambda: node.counts['camera_info'])
    assert 'so images are dropped' in node.sentences[0]
    assert not node.frames


def test_the_second_camera_of_a_stereo_pair_is_told(graph, make_input, make_robot):
    node, robot = make_input(), make_robot()
    robot.until_heard()
    message = CameraInfo(width=8, height=6)
    message.p = [8.0, 0.0, 3.5, -0.8, 0.0, 8.0, 2.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    for _ in range(2):
        robot.color_info.publish(message)
    graph.until(lambda: node.counts['stereo'])
    assert node.sentences[0].startswith('/color/camera_info: P has Tx = -0.8')
    graph.spin_for(0.1)
    assert node.counts == {'stereo': 1}


def test_a_camera_info_published_once_before_the_node_came(graph, make_input, make_robot):
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    robot = make_robot(info_qos=latched)
    robot.info()
    node = make_input()
    robot.until_heard()
    robot.tf('map', 'camera', static=True)
    robot.images()
    graph.until(lambda: node.frames)


@pytest.mark.parametrize('reliability', ['reliable', 'best_effort'])
def test_auto_takes_what_the_camera_offers(graph, make_input, make_robot, reliability):
    policy = ReliabilityPolicy[reliability.upper()]
    node = make_input()
    robot = make_robot(qos=QoSProfile(depth=5, reliability=policy))
    robot.until_heard()
    robot.info()
    robot.tf('map', 'camera', static=True)
    robot.images()
    graph.until(lambda: node.frames)
    found = robot.node.get_subscriptions_info_by_topic('/color/image')
    assert [s.qos_profile.reliability for s in found] == [policy]
    assert not node.counts


def test_a_second_publisher_that_offers_less_is_heard_too(graph, running):
    node, robot = running
    robot.images()
    graph.until(lambda: node.frames)
    robot.until_heard(robot.node.create_publisher(Image, 'color/image', qos_profile_sensor_data))


def test_reliable_on_demand_says_what_it_misses(graph, make_input, make_robot):
    node = make_input('-p', 'input.qos:=reliable')
    make_robot(qos=qos_profile_sensor_data)
    graph.until(lambda: node.counts['qos'] >= 2)
    assert any(s.startswith('/color/image: a publisher offers best eff') for s in node.sentences)
    assert all('set input.qos to auto' in s for s in node.sentences)


def test_compressed_images(graph, make_input, make_robot):
    node = make_input(
        '-p', 'input.color_transport:=compressed', '-p', 'input.depth_transport:=compressedDepth',
        '-r', 'color/image:=/cam/color', '-r', 'depth/image:=/cam/depth',
    )  # fmt: skip
    robot = make_robot()
    color = robot.node.create_publisher(CompressedImage, '/cam/color/compressed', 5)
    depth = robot.node.create_publisher(CompressedImage, '/cam/depth/compressedDepth', 5)
    robot.until_heard(color, depth, robot.color_info)
    robot.info()
    robot.tf('map', 'camera', static=True)
    jpeg, png = io.BytesIO(), io.BytesIO()
    PillowImage.new('RGB', (8, 6), (200, 10, 10)).save(jpeg, 'JPEG')
    PillowImage.fromarray(np.full((6, 8), 2500, np.uint16)).save(png, 'PNG')
    for publisher, form, content in (
        (color, 'rgb8; jpeg compressed bgr8', jpeg.getvalue()),
        (depth, '16UC1; compressedDepth png', bytes(12) + png.getvalue()),
    ):
        message = CompressedImage(format=form, data=array('B', content))
        message.header.frame_id = 'camera'
        message.header.stamp.sec = 1000
        publisher.publish(message)
    graph.until(lambda: node.frames)
    frame, _ = node.frames[0]
    assert (frame.depth == np.float32(2.5)).all()
    assert frame.color[0, 0].tolist() == pytest.approx([200, 10, 10], abs=4)


def test_topics_of_images_follow_the_remapped_raw_topic(graph):
    node = graph.node('names', '-r', 'depth/image:=/front/depth')
    assert image_topic(node, 'depth/image', 'raw') == '/front/depth'
    assert image_topic(node, 'depth/image', 'compressedDepth') == '/front/depth/compressedDepth'


def test_every_loop_of_a_recording_gives_the_same_frames(graph, make_input, make_robot):
    node, robot = make_input(), make_robot()
    robot.until_heard()
    robot.info()
    expected = 0
    for _ in range(3):
        for i in range(15):
            robot.tf('odom', 'camera', START + i * FRAME, (i, 0, 0))
            robot.images(START + i * FRAME)
            expected += 1
            graph.until(lambda: len(node.frames) >= expected)  # noqa: B023
    assert node.jumps == [15, 30]
    stamps = Counter(frame.stamp_ns for frame, _ in node.frames)
    assert set(stamps.values()) == {3}
    assert [frame.T_map_depth[0, 3] for frame, _ in node.frames] == [*range(15)] * 3
    assert not node.counts


def test_transforms_of_a_restarted_robot_replace_those_of_the_later_time(
    graph, make_input, make_robot
):
    node, robot = make_input(), make_robot()
    robot.until_heard()
    robot.info()
    for i in range(20):
        robot.tf('odom', 'camera', START + i * FRAME, (1, 0, 0))
    robot.images(START + 19 * FRAME)
    graph.until(lambda: len(node.frames) == 1)
    robot.images(START)  # the old transforms would place it
    graph.spin_for(0.1)
    assert len(node.frames) == 1
    robot.tf('odom', 'camera', START, (2, 0, 0))
    graph.until(lambda: len(node.frames) == 2)
    assert node.frames[1][0].T_map_depth[0, 3] == 2
    assert node.jumps == [1]


def test_transforms_may_jump_back_by_more_than_they_are_kept(graph, make_input, make_robot):
    node, robot = make_input(), make_robot()
    robot.until_heard()
    robot.info()
    for num_frames, stamp in enumerate((START, START - 500 * FRAME), start=1):
        robot.tf('odom', 'camera', stamp)
        robot.images(stamp)
        graph.until(lambda: len(node.frames) == num_frames)  # noqa: B023
    assert not node.counts


def test_silence_is_explained_once(graph, make_input, make_robot):
    node = make_input('-p', 'publish.warning_period:=0.1')
    graph.until(lambda: node.counts['silence'])
    assert '/color/image has no publisher' in node.sentences[0]
    assert '/depth/image has no publisher' in node.sentences[0]
    graph.spin_for(0.3)
    assert node.counts['silence'] == 1


@pytest.fixture
def send(graph, running, make_image):
    """Return send(color, depth): images with these stamps [frames from the start] arrive."""
    node, robot = running
    color, depth = np.zeros((6, 8, 3), np.uint8), np.full((6, 8), 1500, np.uint16)

    def send(color_stamps, depth_stamps):
        for subscription, publisher, stamps, encoding, pixels in (
            (node.camera._color, robot.color, color_stamps, 'rgb8', color),
            (node.camera._depth, robot.depth, depth_stamps, '16UC1', depth),
        ):
            for number in stamps:
                before = subscription.num_received
                stamp = START + round(number * FRAME)
                publisher.publish(make_image('camera', stamp, encoding, pixels))
                graph.until(lambda s=subscription, b=before: s.num_received > b)

    return send


def report(node):
    """Have the node report what is new; return the number of problems of each kind so far."""
    del node.sentences[:]
    node.report()
    return dict(node.counts)


def test_images_without_a_partner_are_counted_and_told(graph, running, send):
    node, _ = running
    for i in range(0, 100, 5):  # 80 % of color are lost
        send([i], range(i, i + 5))
    assert report(node) == {'unpaired_depth': 70}  # and 10 still wait
    assert '70 of 100 images on /depth/image found no partner on /color/image' in node.sentences[0]
    assert '20 came on /color/image and 100 on /depth/image' in node.sentences[0]
    assert 'config/fastdds_shm.xml' in node.sentences[0]
    for i in range(100, 120):
        send([i], [i])
    assert report(node) == {'unpaired_depth': 70}
    assert not node.sentences


def test_images_lost_on_both_topics_are_no_matter_of_clocks(graph, running, send):
    node, _ = running
    color, depth = (0, 3, 4, 8, 9, 12, 17), (1, 2, 6, 7, 11, 14, 15)
    send(color, depth)
    assert report(node) == {'silence': 1}
    assert 'with gaps: images are lost' in node.sentences[0]
    assert 'config/fastdds_shm.xml' in node.sentences[0]
    assert 'clocks' not in node.sentences[0]


def test_a_topic_that_comes_too_late_is_no_matter_of_clocks(graph, running, send):
    node, _ = running
    send(range(15), [])
    assert report(node) == {'silence': 1}
    assert 'nothing arrives on /depth/image' in node.sentences[0]
    send(range(15, 30), range(15))
    assert report(node) == {'silence': 2}
    assert 'one may come late (raise input.queue_size)' in node.sentences[0]


def test_clocks_that_disagree_are_named(graph, running, send):
    node, _ = running
    send(range(8), (number + 30.5 for number in range(8)))
    assert report(node) == {'silence': 1}
    assert 'nearest stamps are 2.350 s apart, more than input.slop (0.05 s)' in node.sentences[0]
    assert 'synchronise the clocks' in node.sentences[0]
    assert not node.frames
    send([8, 9], [39.5, 40.5])
    assert report(node) == {'silence': 1}  # told once, though the numbers are others


def test_images_without_a_time_are_not_silence(graph, running, send):
    node, _ = running
    send([-START / FRAME], [-START / FRAME])
    assert report(node) == {'stamp': 2}
