import dataclasses
import time

import numpy as np
import pytest
import torch
from rclpy.parameter import Parameter
from std_msgs.msg import Header

from concerto_msgs.srv import SaveMap
from concerto_ros.cli import main
from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.errors import ConfigError, SourceError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.transforms import from_quaternion
from concerto_ros.io.bag_writer import write_bag
from concerto_ros.io.frame_source import open_source
from concerto_ros.model import BackboneConfig, PointTransformerV3, save_checkpoint
from concerto_ros.ros.cameras import Cameras
from concerto_ros.ros.parameters import NodeParameters
from concerto_ros.ros.perception_node import PerceptionNode
from concerto_ros.ros.problems import Problems
from concerto_ros.ros.recordings import open_recording
from concerto_ros.ros.replay_node import ReplayNode
from concerto_ros.ros.transforms import Transforms
from concerto_ros.semantics import ClassHead
from concerto_ros.visualization.ply import read_ply

pytestmark = pytest.mark.ros

START = 1000 * 1_000_000_000
FRAME = 100_000_000  # 10 Hz
UNREGISTERED = from_quaternion((0.05, 0.0, 0.01), (0.01, 0.02, 0.0, 1.0))


def frames_of(num, T_color_depth):
    """Return 32x24 frames of a wall seen from a camera that moves and turns."""
    rng = np.random.default_rng(0)
    camera = PinholeCamera(width=32, height=24, fx=30.0, fy=31.0, cx=15.3, cy=11.7)
    return [
        RGBDFrame(
            stamp_ns=START + i * FRAME,
            color=rng.integers(0, 256, (24, 32, 3)).astype(np.uint8),
            depth=(rng.integers(1400, 1500, (24, 32)) / 1000).astype(np.float32),
            color_camera=camera,
            depth_camera=camera,
            T_map_depth=from_quaternion((0.1 * i, 1.0, 2.0), (0.1, 0.2, 0.03 * i, 0.9)),
            T_color_depth=T_color_depth,
        )
        for i in range(num)
    ]


@pytest.fixture
def make_bag(tmp_path):
    """Return make_bag(num, T_color_depth, **options): path of a bag."""

    def make(num=4, T_color_depth=None, **options):
        T_color_depth = np.eye(4) if T_color_depth is None else T_color_depth
        write_bag(tmp_path / 'bag', frames_of(num, T_color_depth), **options)
        return tmp_path / 'bag'

    return make


@pytest.fixture
def play(graph):
    """Return play(source, *ros_args): a replay node, and the list in which it notes its end."""

    def play(source, *arguments):
        ends = []
        cli_args = ['--ros-args', '-p', f'source:={source}', '-p', 'rate:=0.0']
        for argument in arguments:
            cli_args += ['-p', argument]
        node = ReplayNode(lambda: ends.append(True), context=graph.context, cli_args=cli_args)
        graph.executor.add_node(node)
        graph.nodes.append(node)
        return node, ends

    return play


@pytest.fixture
def receive(graph):
    """Return receive(confirm=True): the frames that a perception node would fuse."""

    def receive(confirm=True):
        node = graph.node('perception_node')
        parameters = NodeParameters(node)
        integrated = node.create_publisher(Header, '~/integrated', 10)
        frames = []

        def take(framed):
            frames.append(framed.frame)
            if confirm:
                header = Header(frame_id=framed.fusion_frame)
                header.stamp.sec, header.stamp.nanosec = divmod(framed.frame.stamp_ns, 10**9)
                integrated.publish(header)

        transforms = Transforms(node, parameters.config.frames)
        problems = Problems(node, lambda: 60.0)
        node.cameras = Cameras(node, parameters, transforms, problems, take, lambda: None)
        return frames

    return receive


@pytest.mark.parametrize('T_color_depth', [np.eye(4), UNREGISTERED])
def test_frames_arrive_as_the_recording_gives_them(graph, make_bag, play, receive, T_color_depth):
    bag = make_bag(T_color_depth=T_color_depth)
    frames = receive()
    node, ends = play(bag, 'lock_step:=true')
    graph.until(lambda: ends)
    assert (node.num_played, node.num_unconfirmed) == (4, 0)
    with open_source(bag) as source:
        for found, expected in zip(frames, source, strict=True):
            assert found.stamp_ns == expected.stamp_ns
            assert found.depth_camera == expected.depth_camera
            assert found.color_camera == expected.color_camera
            np.testing.assert_array_equal(found.depth, expected.depth)
            np.testing.assert_array_equal(found.color, expected.color)
            for name in ('T_map_depth', 'T_color_depth'):
                np.testing.assert_allclose(
                    getattr(found, name), getattr(expected, name), rtol=0, atol=1e-14
                )


@pytest.fixture
def kitchen(shared_data, tmp_path):
    """Return a bag of the first frames of a real recording."""
    with open_source(shared_data / 'bags' / 'sevenscenes_240_475', keep=lambda i: i < 6) as source:
        write_bag(tmp_path / 'kitchen', source)
    return tmp_path / 'kitchen'


@pytest.fixture
def settings(tmp_path):
    """Return parameters of a coarse map, and of a small random network with its head."""
    torch.manual_seed(1)
    network = PointTransformerV3(
        BackboneConfig(
            enc_depths=(1, 1, 1, 1, 1),
            enc_channels=(16, 32, 32, 48, 64),
            enc_num_head=(1, 2, 2, 3, 4),
            enc_patch_size=(64, 64, 64, 64, 64),
        )
    )
    save_checkpoint(network, tmp_path / 'network.pth')
    names = ('chair', 'table', 'lamp', 'floor')
    weight = torch.randn(len(names), network.config.out_channels)
    ClassHead(weight=weight, bias=torch.zeros(4), names=names, vocabulary='rooms').save(
        tmp_path / 'head.pth'
    )
    return {
        'map.voxel_size': 0.05,
        'semantics.checkpoint': str(tmp_path / 'network.pth'),
        'semantics.head': str(tmp_path / 'head.pth'),
        'semantics.period': 0.0,
    }


def test_the_node_makes_the_map_of_the_command_line(
    graph, kitchen, settings, play, tmp_path, monkeypatch
):
    texts = [f'{name}={value}' for name, value in settings.items()]
    assert main(['map', str(kitchen), '-o', str(tmp_path / 'cli'), *texts]) == 0
    expected = read_ply(tmp_path / 'cli' / 'map.ply')

    overrides = [Parameter(name, value=value) for name, value in settings.items()]
    perception = PerceptionNode(context=graph.context, parameter_overrides=overrides)
    graph.executor.add_node(perception)
    graph.nodes.append(perception)
    monkeypatch.setattr(perception.pipeline, 'begin_semantics', lambda: None)  # until the end
    _, ends = play(kitchen, 'lock_step:=true')
    graph.until(lambda: ends and perception.worker.num_failures == 0, seconds=30)
    monkeypatch.undo()
    perception.worker.run(perception.semantics.map_changed)
    graph.until(lambda: perception.semantics.num_windows and perception.semantics.is_settled)
    client = graph.node('client').create_client(SaveMap, 'perception_node/save_map')
    graph.until(client.service_is_ready)
    answer = client.call_async(SaveMap.Request(path=str(tmp_path / 'node.ply')))
    graph.until(answer.done)
    found = read_ply(tmp_path / 'node.ply')

    assert len(found) > 1000
    assert len(np.unique(found.label)) > 1
    assert found.confidence.min() > 0
    order = [np.lexsort(cloud.coord.T) for cloud in (found, expected)]
    for field in dataclasses.fields(found):
        values = [getattr(cloud, field.name) for cloud in (found, expected)]
        np.testing.assert_array_equal(values[0][order[0]], values[1][order[1]], err_msg=field.name)
    assert not perception.problems.counts


def test_odom_and_its_place_in_the_map_are_told(graph, make_bag, play, receive):
    T_map_odom = from_quaternion((1.0, 2.0, 0.0), (0.0, 0.0, 1.0, 1.0))
    bag = make_bag(T_map_odom=T_map_odom)
    receive()
    listener = graph.node('listener')
    transforms = Transforms(listener, ConcertoConfig().frames)
    _, ends = play(bag, 'lock_step:=true')
    graph.until(lambda: ends)
    np.testing.assert_allclose(transforms.latest('map', 'odom'), T_map_odom, atol=1e-12)
    assert transforms.fusion_frame('camera_color_optical_frame', START) == 'odom'


def test_a_frame_that_is_never_fused_is_given_up_and_counted(graph, make_bag, play, receive):
    frames = receive(confirm=False)
    node, ends = play(make_bag(2), 'lock_step:=true', 'timeout:=0.1')
    graph.until(lambda: ends)
    assert len(frames) == 2
    assert node.num_unconfirmed == 2


def test_lock_step_waits_for_its_listener(graph, make_bag, play, receive):
    node, ends = play(make_bag(2), 'lock_step:=true')
    graph.spin_for(0.2)
    assert node.num_played == 0
    receive()
    graph.until(lambda: ends)
    assert (node.num_played, node.num_unconfirmed) == (2, 0)


def test_without_lock_step_nobody_needs_to_listen(graph, make_bag, play):
    node, ends = play(make_bag(3), 'lock_step:=false')
    graph.until(lambda: ends)
    assert node.num_played == 3


def test_a_loop_starts_again(graph, make_bag, play, receive):
    frames = receive()
    play(make_bag(2), 'lock_step:=true', 'loop:=true')
    graph.until(lambda: len(frames) >= 5)
    stamps = [(frame.stamp_ns - START) // FRAME for frame in frames[:5]]
    assert stamps == [0, 1, 0, 1, 0]


def test_the_rate_follows_the_recorded_time(graph, make_bag, play):
    node, ends = play(make_bag(4), 'lock_step:=false', 'rate:=2.0')
    graph.until(lambda: node.num_played)
    started = time.monotonic()
    graph.until(lambda: ends)
    assert 0.1 < time.monotonic() - started < 2.0  # three frames of 0.1 s, twice as fast


def test_a_room_is_a_recording_too():
    with open_recording('rooms:3', num_frames=2) as source:
        assert source.num_frames_hint == 2
        frames = list(source)
    assert [frame.depth.shape for frame in frames] == [(360, 480)] * 2
    assert frames[0].stamp_ns < frames[1].stamp_ns


@pytest.mark.parametrize(
    ('source', 'error', 'message'),
    [
        ('""', ConfigError, 'no recording to play'),
        ('rooms:x', ConfigError, 'expected rooms:SEED with a whole number'),
        ('/no/such/bag', SourceError, 'no recording that is understood'),
    ],
)
def test_what_cannot_be_played_is_refused(play, source, error, message):
    with pytest.raises(error, match=message):
        play(source)
