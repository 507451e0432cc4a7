import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from geometry_msgs.msg import Point
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py.point_cloud2 import read_points
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from concerto_msgs.msg import LabelInfo, MapUpdate, Region
from concerto_msgs.srv import FindObjects, SaveMap
from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.model import BackboneConfig, PointTransformerV3, save_checkpoint
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.ros.conversions import pose_matrix
from concerto_ros.ros.perception_node import PerceptionNode
from concerto_ros.semantics import ClassHead, Translator
from concerto_ros.visualization.ply import read_ply

pytestmark = pytest.mark.ros

START = 1000 * 1_000_000_000
FRAME = 100_000_000  # 10 Hz
SIZE = (64, 48)  # width, height
FOCAL = 64.0  # pixels
NAMES = ('chair', 'table', 'lamp', 'floor')
CHANNELS = 192
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
FAST = {
    'depth.stride': 1,
    'publish.map_period': 0.05,
    'publish.update_period': 0.05,
    'semantics.period': 0.0,
}


def a_box_before_a_wall(offset=0):
    """Return an (H, W, 3) colour image of random colours and a (H, W) depth image [mm]."""
    color = np.random.default_rng(offset).integers(0, 256, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
    depth = np.full((SIZE[1], SIZE[0]), 1500, np.uint16)
    depth[16:36, 20 + offset : 44 + offset] = 1200
    return color, depth


def frame_of(number=0):
    """Return what `send(number)` sends, as the core sees it."""
    color, depth = a_box_before_a_wall(number)
    width, height = SIZE
    camera = PinholeCamera(
        fx=FOCAL, fy=FOCAL, cx=(width - 1) / 2, cy=(height - 1) / 2, width=width, height=height
    )
    T = np.eye(4)
    T[0, 3] = 0.1 * number
    return RGBDFrame(
        stamp_ns=START + number * FRAME,
        color=color,
        depth=depth.astype(np.float32) / 1000,
        color_camera=camera,
        depth_camera=camera,
        T_map_depth=T,
    )


def pipeline_of(parameters, *frames):
    """Return what the core makes of frames."""
    pipeline = PerceptionPipeline(build(ConcertoConfig, {**FAST, **parameters}))
    for frame in frames:
        pipeline.integrate(frame)
    return pipeline


def centred(features, weight):
    """Return weight and bias with which no class or direction is preferred on these features."""
    outputs = features.linear(weight, torch.zeros(len(weight)))
    scale = 2 / outputs.std(0)
    return scale[:, None] * weight, -scale * outputs.mean(0)


@pytest.fixture(scope='module')
@torch.inference_mode()
def weights(tmp_path_factory):
    """Write a small random network, head, translator and vocabulary; return their parameters."""
    folder = tmp_path_factory.mktemp('weights')
    torch.manual_seed(3)
    network = PointTransformerV3(
        BackboneConfig(
            enc_depths=(1, 1, 1, 1, 1),
            enc_channels=(16, 32, 32, 48, 64),
            enc_num_head=(1, 2, 2, 3, 4),
            enc_patch_size=(64, 64, 64, 64, 64),
        )
    ).eval()
    with torch.no_grad():
        for tensor in network.parameters():
            noise = torch.randn(tensor.shape)
            tensor.copy_(noise / tensor[0].numel() ** 0.5 if tensor.ndim > 1 else tensor + noise)
    save_checkpoint(network, folder / 'network.pth')
    bare = {'semantics.head': '', 'semantics.translator': ''}
    bare['semantics.checkpoint'] = str(folder / 'network.pth')
    pipeline = pipeline_of(bare, frame_of())
    (features,) = pipeline.run_semantics(pipeline.begin_semantics())
    weight, bias = centred(features, torch.randn(len(NAMES), CHANNELS))
    head = ClassHead(weight=weight, bias=bias, names=NAMES, vocabulary='rooms')
    head.save(folder / 'head.pth')
    words, embedding = (*NAMES, 'spoon'), np.random.default_rng(0).normal(size=(5, 8))
    np.savez(folder / 'words.npz', names=words, embedding=embedding, text_encoder='words')
    weight, bias = centred(features, torch.randn(8, CHANNELS))
    translator = Translator(weight=weight, bias=bias, text_encoder='words', logit_scale=1.0)
    translator.save(folder / 'translator.pth')
    return {
        'semantics.checkpoint': str(folder / 'network.pth'),
        'semantics.head': str(folder / 'head.pth'),
        'semantics.translator': str(folder / 'translator.pth'),
        'semantics.text_encoder': f'vocabulary:{folder / "words.npz"}',
    }


class Viewer:
    """A node that hears all the perception node says, and asks it."""

    def __init__(self, graph, name='viewer'):
        self.graph, self.node = graph, graph.node(name)
        self.heard = {}
        for kind, topic, qos in (
            (PointCloud2, 'map', LATCHED),
            (MapUpdate, 'map_updates', 10),
            (MarkerArray, 'objects', LATCHED),
            (Header, 'integrated', 10),
        ):
            self.listen(kind, topic, qos)

    def listen(self, kind, topic, qos=LATCHED):
        messages = self.heard[topic] = []
        name = f'perception_node/{topic}'
        self.node.create_subscription(kind, name, messages.append, qos)
        self.graph.until(lambda: self.node.count_publishers(name))
        return messages

    def call(self, kind, name, **request):
        client = self.node.create_client(kind, f'perception_node/{name}')
        self.graph.until(client.service_is_ready)
        future = client.call_async(kind.Request(**request))
        self.graph.until(future.done, seconds=20)
        self.node.destroy_client(client)
        return future.result()

    def map(self):
        """Return the points of the newest ~/map, sorted; none while there is no map."""
        return sorted_points(self.heard['map'][-1]) if self.heard['map'] else ()

    def updated_map(self):
        """Return epoch and sorted points that follow from all ~/map_updates in their order."""
        epoch, groups, poses = 0, {}, []
        for update in self.heard['map_updates']:
            if update.epoch > epoch:
                epoch, groups = update.epoch, {}
            poses = [pose_matrix(pose) for pose in update.submaps]
            points, first = read_points(update.points), 0
            for group in update.groups:
                key = group.submap, group.x, group.y, group.z
                assert group.sequence >= groups.get(key, (0, None))[0]
                groups[key] = group.sequence, points[first : first + group.num_points]
                first += group.num_points
                assert_inside(groups[key][1], key[1:], update.group_size)
            assert first == len(points)
        held = [placed(points, poses[key[0]]) for key, (_, points) in groups.items()]
        return epoch, np.sort(np.concatenate(held)) if held else ()


def placed(points, T):
    """Return points of a submap in the world."""
    points = points.copy()
    coord = np.stack([points[axis] for axis in 'xyz'], axis=1).astype(np.float64)
    for axis, column in zip('xyz', (coord @ T[:3, :3].T + T[:3, 3]).T, strict=True):
        points[axis] = column
    return points


def stamp_of(message):
    return Time.from_msg(message.header.stamp).nanoseconds


def sorted_points(message):
    return np.sort(read_points(message).copy())


def assert_inside(points, key, group_size):
    for axis, number in zip('xyz', key, strict=True):
        cell = (
            np.floor(points[axis] / group_size + 1e-4),
            np.floor(points[axis] / group_size - 1e-4),
        )
        assert ((cell[0] == number) | (cell[1] == number)).all()


@pytest.fixture
def start(graph, make_robot, make_image):
    """Return start(parameters): a perception node, its viewer and a robot in sight of a box."""

    def run(parameters=None, parent='map'):
        values = {'semantics.checkpoint': '', **FAST, **(parameters or {})}
        node = PerceptionNode(
            context=graph.context,
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
        )
        graph.executor.add_node(node)
        graph.nodes.append(node)
        robot, viewer = make_robot(), Viewer(graph)
        robot.until_heard()
        robot.info(f=FOCAL, size=SIZE)

        def send(number=0, depth=None):
            """Send one frame, each from another place, and wait until it is dealt with."""
            before = len(viewer.heard['integrated'])
            color, seen = a_box_before_a_wall(number)
            robot.tf(parent, 'camera', START + number * FRAME, (0.1 * number, 0.0, 0.0))
            stamp = START + number * FRAME
            robot.color.publish(make_image('camera', stamp, 'rgb8', color))
            depth = seen if depth is None else depth
            robot.depth.publish(make_image('camera', stamp, '16UC1', depth))
            graph.until(lambda: len(viewer.heard['integrated']) > before)

        def settle():
            """Wait until the newest map is out with its labels, in full and by its changes."""
            graph.until(lambda: node.semantics.is_settled)
            stamp_ns = node.pipeline.newest_stamp_ns
            for topic in ('map', 'map_updates'):
                heard = viewer.heard[topic]
                graph.until(lambda h=heard: h and stamp_of(h[-1]) == stamp_ns)
            graph.spin_for(0.3)

        return SimpleNamespace(node=node, viewer=viewer, robot=robot, send=send, settle=settle)

    return run


def test_what_is_published_is_what_the_network_says(start, weights):
    system = start(weights)
    system.send()
    system.settle()
    published = system.viewer.map()

    pipeline = pipeline_of(weights, frame_of())
    pipeline.update_semantics()
    cloud = pipeline.cloud()
    order = np.lexsort(cloud.coord.T[::-1])
    assert len(published) == len(cloud) > 1000
    for axis, column in zip('xyz', cloud.coord[order].T, strict=True):
        np.testing.assert_array_equal(published[axis], column)
    for name in ('label', 'language_label', 'confidence', 'language_confidence'):
        np.testing.assert_array_equal(published[name], getattr(cloud, name)[order])
    assert len(np.unique(published['label'])) > 1
    assert set(np.unique(published['language_label'])) <= set(range(1, len(NAMES) + 1))


def test_without_weights_every_label_is_unknown_and_nothing_can_be_found(start):
    system = start()
    system.send()
    system.settle()
    points = system.viewer.map()
    assert not points['label'].any()
    assert not points['confidence'].any()
    assert not points['language_label'].any()
    answer = system.viewer.call(FindObjects, 'find_objects', text='chair')
    assert not answer.success
    assert answer.verdict == FindObjects.Response.NONE
    assert 'no language model is loaded' in answer.message


def test_updates_in_their_order_give_the_whole_map(graph, start, weights):
    system = start(weights, parent='odom')
    system.robot.tf('map', 'odom', static=True, xyz=(5.0, -3.0, 0.5))
    graph.spin_for(0.1)
    for number in range(4):
        system.send(number)
    system.settle()
    epoch, points = system.viewer.updated_map()
    assert epoch == 1
    assert len(system.viewer.heard['map_updates']) > 1
    assert system.viewer.heard['map_updates'][-1].header.frame_id == 'map'
    newest = system.viewer.heard['map'][-1].header
    assert (newest.frame_id, newest.stamp.nanosec) == ('map', 3 * FRAME)
    assert points['z'].min() > 1.6
    np.testing.assert_array_equal(points, system.viewer.map())


def test_the_map_is_in_odom_while_nothing_leads_to_the_map_frame(start):
    system = start(parent='odom')
    system.send()
    system.settle()
    assert system.viewer.heard['map'][-1].header.frame_id == 'odom'


def test_who_comes_late_is_sent_every_group_once(graph, start):
    system = start()
    for number in range(3):
        system.send(number)
    system.settle()
    late = Viewer(graph, 'late')
    graph.until(lambda: late.heard['map_updates'] and late.heard['map'])
    graph.spin_for(0.3)
    assert len(late.heard['map_updates']) == 1
    np.testing.assert_array_equal(late.updated_map()[1], late.map())
    np.testing.assert_array_equal(late.map(), system.viewer.map())
    np.testing.assert_array_equal(system.viewer.updated_map()[1], late.map())


def test_reset_forgets_the_map_and_starts_a_new_epoch(graph, start):
    system = start()
    system.send()
    system.settle()
    num_voxels = system.node.pipeline.num_voxels
    answer = system.viewer.call(Trigger, 'reset')
    assert answer.success
    assert answer.message == f'{num_voxels} voxels forgotten'
    graph.until(lambda: len(system.viewer.map()) == 0)
    graph.until(lambda: system.viewer.updated_map()[0] == 2)
    assert len(system.viewer.updated_map()[1]) == 0
    system.send(1)
    system.settle()
    assert len(system.viewer.map()) > 0
    np.testing.assert_array_equal(system.viewer.updated_map()[1], system.viewer.map())


def test_the_map_is_saved_in_the_map_frame(start, tmp_path):
    system = start(parent='odom')
    system.robot.tf('map', 'odom', static=True, xyz=(0.0, 0.0, 2.0))
    system.send()
    system.settle()
    path = tmp_path / 'kitchen.ply'
    answer = system.viewer.call(SaveMap, 'save_map', path=str(path))
    assert answer.success
    assert answer.path == str(path)
    assert answer.num_points == len(system.viewer.map())
    assert answer.message == f'{answer.num_points} points in frame map written to {path}'
    cloud = read_ply(path)
    np.testing.assert_array_equal(np.sort(cloud.coord[:, 0]), system.viewer.map()['x'])
    assert cloud.coord[:, 2].min() == pytest.approx(3.2, abs=0.01)


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        ('~nobody-of-this-name/map.ply', 'there is no home folder for'),
        ('', 'no path is given'),
        ('/tmp/' + 'x' * 300 + '.ply', 'File name too long'),
        ('/tmp/' + 'x' * 300 + '/map.ply', 'File name too long'),
    ],
)
def test_a_name_that_no_file_can_have_is_told(start, path, message):
    system = start()
    answer = system.viewer.call(SaveMap, 'save_map', path=path)
    assert not answer.success
    assert message in answer.message
    assert 'internal' not in answer.message
    assert system.node.worker.num_failures == 0


def test_objects_are_found_and_shown(graph, start, weights):
    system = start(weights)
    system.send(2)
    system.settle()
    answer = system.viewer.call(
        FindObjects, 'find_objects', text='a chair', min_score=0.2, max_results=3
    )
    assert answer.success, answer.message
    assert answer.verdict == FindObjects.Response.FOUND
    assert (answer.text_encoder, answer.calibrated, answer.observed_share) == ('words', False, 1.0)
    assert 1 <= len(answer.objects) <= 3
    found = answer.objects[0]
    assert (found.frame_id, found.stamp.nanosec) == ('map', 2 * FRAME)
    assert found.num_points >= 20
    assert found.first_seen == found.last_seen == found.stamp
    assert 1.1 < found.center.z < 1.6
    graph.until(lambda: system.viewer.heard['objects'])
    markers = system.viewer.heard['objects'][-1].markers
    assert markers[0].action == Marker.DELETEALL
    assert len(markers) == 1 + 2 * len(answer.objects)
    assert markers[1].header.frame_id == 'map'
    assert markers[1].scale == found.box_size


def find_in(system, frame_id, low, high):
    region = Region(frame_id=frame_id)
    region.min, region.max = (Point(**dict(zip('xyz', p, strict=True))) for p in (low, high))
    return system.viewer.call(
        FindObjects, 'find_objects', text='chair', min_score=0.01, region=[region]
    )


def test_a_region_may_be_given_in_any_frame(graph, start, weights):
    system = start(weights)
    system.robot.tf('map', 'room', static=True, xyz=(0.0, 0.0, 1.0))
    system.send()
    system.settle()
    everywhere = system.viewer.call(FindObjects, 'find_objects', text='chair', min_score=0.01)
    box = (-0.6, -0.6, 1.1), (0.6, 0.6, 1.3)
    near = find_in(system, '', *box)
    assert near.verdict == FindObjects.Response.FOUND
    assert (
        0 < sum(o.num_points for o in near.objects) < sum(o.num_points for o in everywhere.objects)
    )
    assert all(o.center.z < 1.3 for o in near.objects)
    assert find_in(system, 'map', *box).objects == near.objects
    assert find_in(system, '/map', *box).objects == near.objects
    same = find_in(system, 'room', (-0.6, -0.6, 0.1), (0.6, 0.6, 0.3))
    assert [o.num_points for o in same.objects] == [o.num_points for o in near.objects]
    assert same.observed_share == near.observed_share
    behind = find_in(system, 'room', (-0.6, -0.6, 3.0), (0.6, 0.6, 4.0))
    assert behind.success
    assert behind.verdict == FindObjects.Response.UNOBSERVED


def test_questions_that_cannot_be_answered_get_a_reason(start, weights):
    system = start(weights)
    system.send()
    box = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    for answer, reason in (
        (system.viewer.call(FindObjects, 'find_objects', text='  '), 'the query is empty'),
        (system.viewer.call(FindObjects, 'find_objects', text='teapot'), "'teapot' is not among"),
        (find_in(system, 'nowhere', *box), 'nowhere'),
        (find_in(system, 'map', *box[::-1]), 'the region is empty'),
    ):
        assert not answer.success
        assert reason in answer.message
        assert answer.verdict == FindObjects.Response.NONE
    assert system.node.worker.num_failures == 0


def test_label_tables_are_latched(graph, start, weights):
    system = start(weights)
    tables = [system.viewer.listen(LabelInfo, t) for t in ('label_info', 'language_label_info')]
    graph.until(lambda: all(tables))
    for table in tables:
        assert table[0].names == ['unknown', *NAMES]
        assert list(table[0].ids) == [0, 1, 2, 3, 4]
        assert len(table[0].colors) == 5
    assert tables[0][0].vocabulary == 'rooms'


def test_label_tables_without_weights_know_only_unknown(graph, start):
    system = start()
    table = system.viewer.listen(LabelInfo, 'label_info')
    graph.until(lambda: table)
    assert (table[0].names, table[0].vocabulary) == (['unknown'], '')


def test_maps_are_throttled_until_the_period_is_changed(graph, start):
    system = start({'publish.map_period': 1000.0})
    maps = system.viewer.heard['map']
    system.send(0)
    graph.until(lambda: maps)
    system.send(1)
    graph.spin_for(0.3)
    assert len(maps) == 1
    client = AsyncParameterClient(system.viewer.node, 'perception_node')
    graph.until(client.services_are_ready)
    future = client.set_parameters([Parameter('publish.map_period', value=0.01)])
    graph.until(future.done)
    assert future.result().results[0].successful
    graph.until(lambda: len(maps) == 2)  # without another frame
    assert [stamp_of(message) - START for message in maps] == [0, FRAME]
    graph.spin_for(0.3)
    assert len(maps) == 2


def test_depth_without_any_measurement_is_counted_and_harms_nothing(graph, start):
    system = start()
    system.send(0)
    system.settle()
    before = system.viewer.map()
    system.send(1, depth=np.zeros((SIZE[1], SIZE[0]), np.uint16))  # ~/integrated all the same
    assert system.node.problems.counts == {'unusable': 1}
    graph.spin_for(0.2)
    np.testing.assert_array_equal(system.viewer.map(), before)
    system.send(2)
    system.settle()
    assert len(system.viewer.map()) > len(before)


def test_an_unusable_image_is_named_by_its_topic(start):
    system = start()
    told = []
    system.node.problems.add = lambda kind, sentence, count: told.append(sentence)
    system.send(depth=np.zeros((SIZE[1], SIZE[0]), np.uint16))
    assert told[0].startswith('/depth/image: no usable depth')


@pytest.mark.parametrize('is_reset', [True, False])
def test_time_that_jumps_back_clears_the_map_if_so_configured(graph, start, is_reset):
    system = start({'input.reset_on_time_jump': is_reset})
    for number in (98, 99, 100):
        system.send(number)
    for number in (0, 1):
        system.send(number)
    graph.until(lambda: system.node.pipeline.epoch == 1 + is_reset)
    system.settle()
    assert system.node.pipeline.epoch == 1 + is_reset
    assert (system.viewer.map()['x'].max() > 5) is not is_reset


def test_an_unforeseen_error_ends_nothing(graph, start):
    system = start()
    system.send(0)
    integrate = system.node.pipeline.integrate
    system.node.pipeline.integrate = None  # not callable
    system.send(1)
    system.node.pipeline.integrate = integrate
    assert system.node.worker.num_failures == 1
    system.send(2)
    system.settle()
    assert system.viewer.heard['map'][-1].header.stamp.nanosec == 2 * FRAME


def run_process(*arguments):
    return subprocess.Popen(
        [sys.executable, '-m', 'concerto_ros.ros.perception_node', '--ros-args', *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ,
    )


def finish(process):
    try:
        output, _ = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, output


@pytest.mark.parametrize('signals', [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT] * 2])
def test_a_signal_ends_the_process_cleanly(graph, make_robot, make_image, signals):
    robot = make_robot()  # first, so that the process finds somebody to announce itself to
    process = run_process('-p', 'publish.map_period:=0.01')
    try:
        viewer = Viewer(graph)
        robot.until_heard()
        robot.info(f=FOCAL, size=SIZE)
        robot.tf('map', 'camera', static=True)
        number = 0
        deadline = time.monotonic() + 30
        while not viewer.heard['map']:  # in the middle of the work
            assert time.monotonic() < deadline
            color, depth = a_box_before_a_wall()
            robot.color.publish(make_image('camera', START + number * FRAME, 'rgb8', color))
            robot.depth.publish(make_image('camera', START + number * FRAME, '16UC1', depth))
            number += 1
            graph.spin_for(0.05)
        for number in signals:
            process.send_signal(number)
            time.sleep(0.02)
    finally:
        if sys.exc_info()[0]:
            process.kill()
    code, output = finish(process)
    assert code == 0, output
    assert 'Traceback' not in output
    assert 'rror' not in output
    assert 'nano.safetensors: 3.0 M parameters' in output


@pytest.mark.parametrize(
    ('parameter', 'message'),
    [
        (
            'map.voxel_siz:=0.05',
            'unknown parameter "map.voxel_siz"; did you mean "map.voxel_size"?',
        ),
        ('map.voxel_size:=true', 'parameter "map.voxel_size" must be a float'),
        ('semantics.checkpoint:=/nowhere.pth', '/nowhere.pth: there is no such file'),
    ],
)
def test_a_start_that_cannot_work_says_why_in_one_line(parameter, message):
    code, output = finish(run_process('-p', parameter))
    assert code == 2
    assert message in output
    assert len(output.strip().splitlines()) == 1, output
