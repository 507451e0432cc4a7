"""Several cameras into one map, over real DDS."""

import numpy as np
import pytest
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from std_msgs.msg import Header

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.errors import ConfigError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.ros.cameras import camera_names
from concerto_ros.ros.perception_node import PerceptionNode
from concerto_ros.ros.time_jumps import TimeJumps

pytestmark = pytest.mark.ros

START = 1000 * 1_000_000_000
FRAME = 100_000_000  # 10 Hz
SIZES = {'left': (64, 48), 'right': (40, 30)}  # width, height
ENCODINGS = {'left': ('rgb8', '16UC1'), 'right': ('bgr8', '32FC1')}
FOCAL = 50.0  # pixels
VALUES = {'semantics.checkpoint': '', 'depth.stride': 2, 'input.cameras': 'left, right'}


def pose_of(name, number):
    return 0.05 * number, 0.0 if name == 'left' else 2.0, 0.0


def frame_of(name, stamp, number):
    """Return what `send(name, number)` sends, as the core sees it."""
    width, height = SIZES[name]
    camera = PinholeCamera(
        fx=FOCAL, fy=FOCAL, cx=(width - 1) / 2, cy=(height - 1) / 2, width=width, height=height
    )
    random = np.random.default_rng(number)
    depth = np.full((height, width), 1500, np.uint16)
    depth[10:20, 5 + number : 25 + number] = 1200
    T = np.eye(4)
    T[:3, 3] = pose_of(name, number)
    return RGBDFrame(
        stamp_ns=stamp,
        color=random.integers(0, 256, (height, width, 3)).astype(np.uint8),
        depth=depth.astype(np.float32) / 1000,
        color_camera=camera,
        depth_camera=camera,
        T_map_depth=T,
    )


class System:
    """A node that is to hear both cameras, and those of them that run."""

    def __init__(self, graph, make_robot, make_image, values):
        self.graph, self.make_robot, self.make_image = graph, make_robot, make_image
        self.values, self.robots, self.sent, self.integrated = values, {}, {}, []
        self.node = PerceptionNode(
            context=graph.context,
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
        )
        self.problems = self.node.problems
        graph.executor.add_node(self.node)
        graph.nodes.append(self.node)
        listener, topic = graph.node('listener'), 'perception_node/integrated'
        listener.create_subscription(Header, topic, self.integrated.append, 100)
        graph.until(lambda: listener.count_publishers(topic))

    def add(self, name, **options):
        """Start a camera."""
        robot = self.make_robot(namespace=name, frame=f'{name}_lens', size=SIZES[name], **options)
        robot.until_heard()
        robot.info(f=FOCAL)
        self.robots[name] = robot

    def send(self, name, number, encoding=None, place=True):
        """Send a frame; return its stamp, which is odd for the right camera."""
        robot, stamp = self.robots[name], START + number * FRAME + (name == 'right')
        frame = self.sent[stamp] = frame_of(name, stamp, number)
        if place:
            robot.tf('odom', robot.frame, stamp, pose_of(name, number))
        color_encoding, depth_encoding = ENCODINGS[name]
        color = frame.color if color_encoding == 'rgb8' else frame.color[..., ::-1]
        millimetres = np.rint(frame.depth * 1000).astype(np.uint16)
        depth = millimetres if depth_encoding == '16UC1' else frame.depth
        color_encoding = encoding or color_encoding
        robot.color.publish(self.make_image(robot.frame, stamp, color_encoding, color))
        robot.depth.publish(self.make_image(robot.frame, stamp, depth_encoding, depth))
        return stamp

    def fuse(self, name, number):
        """Send a frame and wait for it."""
        stamp = self.send(name, number)
        self.graph.until(lambda: stamp in self.acknowledged())

    def acknowledged(self):
        """Return the stamps of the frames that are in the map, in their order."""
        return [h.stamp.sec * 10**9 + h.stamp.nanosec for h in self.integrated]

    def cloud(self):
        """Return the node's map."""
        future = self.node.worker.run(self.node.pipeline.cloud)
        self.graph.until(future.done)
        return future.result()

    def expected(self):
        """Return the cloud that the core makes of the same frames in the same order."""
        pipeline = PerceptionPipeline(build(ConcertoConfig, self.values))
        for stamp in self.acknowledged():
            camera = 'right' if stamp % 2 else 'left'
            pipeline.integrate(self.sent[stamp], camera=camera, leads=camera == 'left')
        return pipeline.cloud()


@pytest.fixture
def start(graph, make_robot, make_image):
    """Return start(*names, **parameters): a system with these cameras."""

    def run(*names, **parameters):
        values = VALUES | {name.replace('__', '.'): value for name, value in parameters.items()}
        system = System(graph, make_robot, make_image, values)
        for name in names:
            system.add(name)
        return system

    return run


def assert_same_map(system, num_frames):
    """Compare the map with the one that the core makes of as many frames."""
    assert len(system.acknowledged()) == num_frames
    found, expected = system.cloud(), system.expected()
    assert len(found) == len(expected) > 300
    np.testing.assert_array_equal(found.coord, expected.coord)
    np.testing.assert_array_equal(found.color, expected.color)
    np.testing.assert_array_equal(found.normal, expected.normal)


def test_two_cameras_make_the_map_that_the_core_makes(start):
    system = start('left', 'right')
    for number in range(4):
        system.fuse('left', number)
        if number % 3 == 0:
            system.fuse('right', number)
    assert_same_map(system, 6)
    is_right = system.cloud().coord[:, 1] > 1
    assert 0.1 < is_right.mean() < 0.9
    assert not system.problems.counts


def test_frames_that_come_at_once_are_taken_in_turn(graph, start):
    system = start('left', 'right')
    system.fuse('left', 0)  # it leads
    for number in range(1, 12):
        system.send('left', number)
        if number % 4 == 3:
            system.send('right', number)
    last = START + 11 * FRAME
    graph.until(lambda: {last, last + 1} <= set(system.acknowledged()))
    assert_same_map(system, len(system.acknowledged()))
    assert sum(stamp % 2 for stamp in system.acknowledged()) >= 1
    assert set(system.problems.counts) <= {'left: overtaken', 'right: overtaken'}


def test_a_silent_camera_does_not_hold_up_the_other(graph, start):
    system = start('left', publish__warning_period=0.1)
    system.fuse('left', 0)
    graph.until(lambda: system.problems.counts['right: silence'])
    sentence = system.problems.sentences['right: silence']
    assert sentence.startswith('no frames: /right/color/image has no publisher')
    assert '/right/depth/image has no publisher' in sentence
    assert '/right/color/camera_info has no publisher' in sentence
    assert '/left' not in sentence
    system.fuse('left', 1)


def test_a_wrong_encoding_is_told_of_its_camera_only(graph, start):
    system = start('left', 'right', publish__warning_period=1000.0)
    system.send('right', 0, encoding='bayer_rggb8')
    system.fuse('left', 0)
    graph.until(lambda: system.problems.counts['right: image'])
    assert system.problems.sentences['right: image'].startswith('/right/color/image: expected')
    system.send('left', 1, encoding='yuv422')
    graph.until(lambda: system.problems.counts['left: image'])
    assert system.problems.counts == {'right: image': 1, 'left: image': 1}
    assert system.problems.of('left').counts == {'image': 1}
    assert system.problems.sentences['right: image'].startswith('/right/color/image')
    system.fuse('right', 1)
    assert_same_map(system, 2)


def test_a_camera_without_transforms_waits_alone(graph, start):
    system = start('left', 'right', input__transform_timeout=0.2)
    system.send('right', 0, place=False)
    system.fuse('left', 0)
    graph.until(lambda: system.problems.counts['right: transform'])
    sentence = system.problems.sentences['right: transform']
    assert sentence.startswith('/right/depth/image')
    assert "'right_lens'" in sentence
    assert set(system.problems.counts) == {'right: transform'}


def test_a_camera_that_restarts_is_heard_again(start):
    system = start('left', 'right')
    system.fuse('left', 0)
    system.fuse('right', 0)
    system.robots['right'].close()
    system.fuse('left', 1)
    system.add('right', qos=qos_profile_sensor_data)
    system.fuse('right', 2)
    system.fuse('left', 2)
    assert_same_map(system, 5)


def test_all_cameras_are_fused_in_one_frame(graph, start):
    system = start('left', 'right')
    system.fuse('left', 0)
    right = system.robots['right']
    right.tf('map', right.frame, static=True)  # not connected with odom
    system.send('right', 0, place=False)
    graph.until(lambda: system.problems.counts['right: transform'], seconds=5)
    assert "to 'odom'" in system.problems.sentences['right: transform']
    assert len(system.acknowledged()) == 1


def test_a_loop_of_all_cameras_is_one_jump_of_time(graph, start):
    system = start('left', 'right', input__reset_on_time_jump=True)
    loop = [(name, number) for number in (0, 20) for name in ('left', 'right')]
    for count, (name, number) in enumerate(loop * 3, start=1):
        system.send(name, number)
        graph.until(lambda c=count: len(system.acknowledged()) == c)
    assert system.node.pipeline.epoch == 3
    assert not system.problems.counts


@pytest.fixture
def jumps():
    """Return time jumps of cameras a, b and c, their numbers of pairs, and what was told."""
    pairs, told = dict.fromkeys('abc', 1), []
    return TimeJumps(lambda: dict(pairs), told.append), pairs, told


def test_who_jumps_later_joins_in(jumps):
    time, pairs, told = jumps
    for loop in range(3):
        for camera in 'bac' if loop else 'abc':
            assert time.add(camera, loop)
            pairs.update({name: number + 1 for name, number in pairs.items()})
    assert told == [0, 1, 2]


def test_a_clock_that_jumps_alone_is_no_jump_of_time(jumps):
    time, pairs, told = jumps
    assert time.add('a', 5)  # it might be the first of all
    for _ in range(3):
        pairs['b'] += 1
        assert not time.add('a', 6)
    assert told == [5]
    assert time.add('a', 7)  # the others have ended
    assert told == [5, 7]


@pytest.mark.parametrize(
    ('text', 'names'),
    [('', ['']), (' , ', ['']), ('front', ['front']), ('/a/b_2, c ,', ['/a/b_2', 'c'])],
)
def test_names_of_cameras(text, names):
    assert camera_names(text) == names


@pytest.mark.parametrize('text', ['front rear', '1st', 'a__b', 'a/', 'a//b', 'änne', 'a, a', '~'])
def test_what_cannot_name_cameras_is_refused(text):
    with pytest.raises(ConfigError, match=r'input\.cameras'):
        camera_names(text)
