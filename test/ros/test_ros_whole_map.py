"""A map as a robot keeps it: the network beside it, drift, who listens, and the disk."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py.point_cloud2 import read_points
from std_srvs.srv import Trigger

from concerto_msgs.msg import MapUpdate
from concerto_msgs.srv import FindObjects, LoadMap, Relabel, SaveMap
from concerto_ros.errors import MapFileError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.map_saver import MapSaver
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.ros import map_publisher, perception_node
from concerto_ros.ros.camera_input import FramedImage
from concerto_ros.ros.conversions import make_header, pose_matrix, pose_message
from concerto_ros.ros.perception_node import PerceptionNode
from concerto_ros.storage import MapFolder

pytestmark = pytest.mark.ros

CAMERA = PinholeCamera(width=64, height=48, fx=58.0, fy=58.0, cx=31.5, cy=23.5)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
QUOTES = "''"  # how YAML writes an empty text
BARE = {'semantics.checkpoint': ''}
FAST = {
    'depth.stride': 2,
    'publish.map_period': 0.05,
    'publish.update_period': 0.05,
    'semantics.period': 0.0,
}


@pytest.fixture(scope='module')
def frames():
    return list(SyntheticRoom(3).frames(12, camera=CAMERA))


@pytest.fixture
def start(graph, frames, tiny_weights):
    """Return start(parameters): a node whose worker is handed frames as its camera would."""

    def run(parameters=None, weights=True):
        values = {**FAST, **(tiny_weights() if weights else BARE), **(parameters or {})}
        node = PerceptionNode(
            context=graph.context,
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
        )
        graph.executor.add_node(node)
        graph.nodes.append(node)
        return System(graph, node, frames)

    return run


class System:
    def __init__(self, graph, node, frames):
        self.graph, self.node, self.frames = graph, node, frames
        self.client = graph.node('client')
        self.pipeline = node.pipeline

    def send(self, *numbers, fusion_frame='map', camera='', frame=None):
        """Have frames fused."""
        for number in numbers:
            framed = FramedImage(
                frame or self.frames[number], fusion_frame, camera, 'camera', 'depth/image'
            )
            self.node.worker.submit_frame(framed)
            for _ in range(2):  # a frame waits for one job at most
                self.do(lambda: None)

    def end_by_signal(self):
        """End the node as Ctrl-C does, which takes the context away first."""
        self.graph.executor.remove_node(self.node)
        self.graph.nodes.remove(self.node)
        self.graph.context.shutdown()
        self.node.destroy_node()

    def settle(self):
        self.graph.until(lambda: self.do(lambda: self.node.semantics.is_settled))

    def do(self, job):
        """Return what the worker finds."""
        future = self.node.worker.run(job)
        self.graph.until(future.done)
        return future.result()

    def cloud(self):
        return self.do(self.pipeline.cloud)

    def call(self, kind, name, **request):
        future = self.ask(kind, name, **request)
        self.graph.until(future.done)
        return future.result()

    def ask(self, kind, name, **request):
        client = self.client.create_client(kind, f'perception_node/{name}')
        self.graph.until(client.service_is_ready)
        return client.call_async(kind.Request(**request))

    def listen(self, kind, topic, qos=10):
        messages = []
        topic = f'perception_node/{topic}'
        self.client.create_subscription(kind, topic, messages.append, qos)
        return messages

    def page_out(self):
        """Have all chunks but one wait on the disk."""

        def put():
            keys = self.pipeline._map.chunks().key.tolist()
            for key in keys[1:]:
                self.pipeline._paging.put(key)
            return len(keys) - 1

        assert self.do(put) > 1


class Gate:
    """Holds up who passes until it is opened."""

    def __init__(self, function):
        self.reached, self.opened = threading.Event(), threading.Event()
        self._function = function

    def __call__(self, *arguments):
        self.reached.set()
        assert self.opened.wait(30)
        return self._function(*arguments)


def sorted_coord(cloud):
    return cloud.coord[np.lexsort(cloud.coord.T)]


def coord_of(message):
    points = read_points(message)
    return np.stack([points[axis] for axis in 'xyz'], axis=1)


def map_of(updates):
    """Return the points (N, 3) in the world that follow from updates in any order."""
    groups, epoch = {}, max(update.epoch for update in updates)
    for update in updates:
        coord, first = coord_of(update.points), 0
        for group in update.groups:
            key = group.submap, group.x, group.y, group.z
            points = coord[first : first + group.num_points]
            first += group.num_points
            if update.epoch == epoch and group.sequence >= groups.get(key, (0, 0))[0]:
                groups[key] = group.sequence, points
    poses = [pose_matrix(pose) for pose in updates[-1].submaps]
    return np.concatenate(
        [
            points.astype(np.float64) @ poses[key[0]][:3, :3].T + poses[key[0]][:3, 3]
            for key, (_, points) in groups.items()
        ]
    )


def assert_same_points(found, expected):
    assert len(found) == len(expected) > 100
    found, expected = (np.round(np.float64(c), 4) for c in (found, expected))
    a, b = (np.sort(c @ (1.0, np.sqrt(2), np.sqrt(5))) for c in (found, expected))
    np.testing.assert_allclose(a, b, atol=1e-3)


def test_frames_are_fused_while_the_network_looks(start, frames):
    system = start()
    gate = system.pipeline.run_semantics = Gate(system.pipeline.run_semantics)
    system.send(0)
    assert gate.reached.wait(30)
    system.send(1, 2, 3, 4)
    assert system.pipeline.newest_stamp_ns == frames[4].stamp_ns
    assert not system.cloud().label.any()
    gate.opened.set()
    system.settle()
    assert system.cloud().label.any()
    assert system.node.semantics.num_windows > 1


@pytest.mark.parametrize('is_given_up', [True, False])
def test_a_window_that_cannot_be_written_is_looked_at_again(start, capfd, is_given_up):
    system = start()
    pipeline = system.pipeline
    finish, give_up = pipeline.finish_semantics, pipeline.give_up_semantics

    def fail(*_):
        raise MapFileError('the disk is gone')

    pipeline.finish_semantics = fail
    if not is_given_up:
        pipeline.give_up_semantics = fail
    system.send(0)
    system.settle()
    assert not system.cloud().label.any()
    assert system.node.semantics.num_windows == 0
    pipeline.finish_semantics, pipeline.give_up_semantics = finish, give_up
    system.do(system.node.semantics.map_changed)
    system.settle()
    assert system.cloud().label.any() == is_given_up
    assert system.node.worker.num_failures == 0
    assert capfd.readouterr().err.count('the network fails: the disk is gone') == 1


def test_a_parked_camera_costs_no_network(start):
    system = start()
    system.send(*[0] * 8)
    system.settle()
    num_windows = system.node.semantics.num_windows
    assert num_windows > 0
    for _ in range(12):
        system.send(0)
        system.settle()
    assert system.node.semantics.num_windows == num_windows


def test_a_reset_drops_what_the_network_still_looks_at(start):
    system = start()
    gate = system.pipeline.run_semantics = Gate(system.pipeline.run_semantics)
    system.send(0)
    assert gate.reached.wait(30)
    assert system.call(Trigger, 'reset').success
    gate.opened.set()
    system.settle()
    assert system.node.semantics.num_windows == 0
    assert system.pipeline.num_voxels == 0
    system.send(1)
    system.settle()
    assert system.cloud().label.any()


@pytest.mark.parametrize('is_path', [False, True])
def test_drift_that_becomes_known_moves_the_map_without_the_network(start, make_robot, is_path):
    system, robot = start(), make_robot()
    robot.until_heard(robot.tf_topic)
    robot.tf('map', 'odom', 1, (10.0, 0.0, 0.0))
    robot.tf('base_link', 'camera', static=True)
    system.graph.spin_for(0.2)
    maps = system.listen(PointCloud2, 'map', LATCHED)
    updates = system.listen(MapUpdate, 'map_updates')
    system.send(0, 0, 0, fusion_frame='odom')
    system.settle()
    before = system.cloud()
    assert before.coord[:, 0].mean() > 5
    assert before.label.any()
    system.graph.until(lambda: maps and updates)
    system.graph.spin_for(0.5)
    num_windows, num_updates = system.node.semantics.num_windows, len(updates)
    if is_path:
        publish_path(system, robot, (10.0, 2.0, 0.0))
    robot.tf('map', 'odom', 2, (10.0, 2.0, 0.0))
    moved = before.coord + np.float32((0, 2, 0))
    system.graph.until(lambda: abs(coord_of(maps[-1]).mean(0) - moved.mean(0)).max() < 1e-3)
    system.graph.until(lambda: len(updates) > num_updates)
    assert not updates[-1].groups
    assert updates[-1].header.frame_id == maps[-1].header.frame_id == 'map'
    assert_same_points(coord_of(maps[-1]), moved)
    assert_same_points(map_of(updates), moved)
    after = system.cloud()
    np.testing.assert_array_equal(np.sort(after.label), np.sort(before.label))
    assert system.node.semantics.num_windows == num_windows
    hit = system.call(FindObjects, 'find_objects', text='lamp', min_score=0.001).objects[0]
    assert (hit.frame_id, hit.center.y > before.coord[:, 1].min() + 2) == ('map', True)


def publish_path(system, robot, offset):
    """Publish where the camera was, moved by an offset, as a pose graph does."""
    frame = system.frames[0]
    message = Path(header=make_header('map', frame.stamp_ns))
    for stamp_ns in (frame.stamp_ns - 1000, frame.stamp_ns + 1000):
        pose = PoseStamped(header=make_header('map', stamp_ns))
        T = np.array(frame.T_map_depth)
        T[:3, 3] += offset
        pose.pose = pose_message(T)
        message.poses.append(pose)
    publisher = robot.node.create_publisher(Path, 'pose_graph', 1)
    robot.until_heard(publisher)
    publisher.publish(message)


def test_frames_of_other_cameras_go_where_the_first_one_is(start, frames):
    system = start({'input.cameras': 'front,rear', 'map.submap_radius': 2.0}, weights=False)
    far = np.array(frames[0].T_map_depth)
    far[0, 3] += 6
    far = dataclasses.replace(frames[0], T_map_depth=far)
    system.send(0, camera='front')
    system.send(0, camera='rear', frame=far)
    assert system.pipeline.num_submaps == 1
    system.send(0, camera='front', frame=far)
    assert system.pipeline.num_submaps == 2


def test_a_map_that_nobody_hears_is_not_made(start, monkeypatch):
    system, made = start(weights=False), []
    system.send(0, 1)
    expected, read = system.cloud().coord, system.pipeline.read_cloud
    monkeypatch.setattr(system.pipeline, 'read_cloud', lambda: made.append(0) or read())
    system.graph.spin_for(0.5)
    assert not made
    maps = system.listen(PointCloud2, 'map', LATCHED)
    system.graph.until(lambda: maps)
    assert_same_points(coord_of(maps[-1]), expected)
    later = system.listen(PointCloud2, 'map', LATCHED)  # of the same map
    system.graph.until(lambda: later)
    assert len(made) == 1


def test_who_comes_late_is_sent_all_in_parts_that_on_the_disk_too(start, monkeypatch):
    monkeypatch.setattr(map_publisher, '_MAX_GROUPS', 8)
    system = start()
    system.send(0, 3, 6)
    system.settle()
    expected = system.cloud().coord
    system.page_out()
    maps = system.listen(PointCloud2, 'map', LATCHED)
    updates = system.listen(MapUpdate, 'map_updates', 100)
    system.graph.until(lambda: updates and len(map_of(updates)) == len(expected))
    system.graph.until(lambda: maps)
    assert len(updates) > 3
    assert max(len(update.groups) for update in updates) <= 8
    assert_same_points(map_of(updates), expected)
    assert_same_points(coord_of(maps[-1]), expected)
    assert system.do(lambda: system.pipeline.paged_bytes) > 0


def test_a_new_vocabulary_counts_what_waits_on_the_disk_apart(start):
    system = start()
    system.send(0, 3, 6)
    system.settle()
    system.page_out()
    answer = system.call(Relabel, 'relabel', names=['wall'])
    assert answer.success, answer.message
    num_labelled, num_points = system.do(system.pipeline.num_language_labels)
    num_paged = system.pipeline.num_voxels - system.pipeline.num_resident
    assert num_paged > 0
    assert f'{num_labelled} of {num_points} voxels in memory are labelled by it' in answer.message
    assert answer.message.endswith(f'; {num_paged} on the disk will be when they are read')


def test_a_map_is_saved_loaded_and_gone_on_with(start, tmp_path):
    system = start()
    system.send(0, 3)
    system.settle()
    before, path = system.cloud(), tmp_path / 'map'
    saved = system.call(SaveMap, 'save_map', path=str(path))
    assert saved.success, saved.message
    assert saved.num_points == system.pipeline.num_voxels
    assert saved.message.endswith(f'in frame map written to {path}')
    again = system.call(SaveMap, 'save_map', path=str(path))
    assert '(0 chunks that were new, 0.0 MB)' in again.message
    num_windows = system.node.semantics.num_windows
    system.call(Trigger, 'reset')
    loaded = system.call(LoadMap, 'load_map', path=str(path))
    assert loaded.success, loaded.message
    assert (loaded.num_voxels, loaded.num_submaps) == (saved.num_points, 1)
    after = system.cloud()
    assert_same_points(after.coord, before.coord)
    np.testing.assert_array_equal(np.sort(after.label), np.sort(before.label))
    answer = system.call(FindObjects, 'find_objects', text='lamp', min_score=0.001)
    assert answer.verdict == FindObjects.Response.FOUND
    system.settle()
    assert system.node.semantics.num_windows == num_windows
    system.send(6)
    assert system.pipeline.num_voxels > loaded.num_voxels
    refused = system.call(LoadMap, 'load_map', path=str(tmp_path / 'nothing'))
    assert not refused.success
    assert 'nothing' in refused.message
    assert system.pipeline.num_voxels > loaded.num_voxels
    assert system.node.worker.num_failures == 0


def test_a_reset_during_a_save_spoils_nothing(start, tmp_path, monkeypatch):
    system = start(weights=False)
    system.send(0)
    assert system.call(SaveMap, 'save_map', path=str(tmp_path / 'map')).success
    system.send(3, 6)
    num_voxels, record = system.pipeline.num_voxels, system.pipeline.record

    def record_then_reset(key):
        monkeypatch.undo()
        found = record(key)
        system.pipeline.reset()
        return found

    monkeypatch.setattr(system.pipeline, 'record', record_then_reset)
    answer = system.call(SaveMap, 'save_map', path=str(tmp_path / 'map'))
    assert not answer.success
    assert 'reset' in answer.message
    assert system.node.worker.num_failures == 0
    system.call(LoadMap, 'load_map', path=str(tmp_path / 'map'))
    assert 0 < system.pipeline.num_voxels < num_voxels


def test_what_was_saved_by_itself_survives_a_kill(graph, make_robot, start, tmp_path):
    path = tmp_path / 'map'
    values = {**BARE, 'depth.stride': 1, 'map.autosave_path': path, 'map.autosave_period': 0.2}
    arguments = [a for name, value in values.items() for a in ('-p', f'{name}:={value or QUOTES}')]
    robot = make_robot(size=(32, 24))
    process = subprocess.Popen(
        [sys.executable, '-m', 'concerto_ros.ros.perception_node', '--ros-args', *arguments],
        start_new_session=True,
        env=os.environ,
    )
    try:
        robot.until_heard()
        robot.info()
        robot.tf('map', 'camera', static=True)
        sent = SimpleNamespace(number=0)

        def is_saved():
            sent.number += 1
            robot.images(10**12 + sent.number * 10**8)
            graph.spin_for(0.05)
            return (path / 'manifest.json').exists()

        graph.until(is_saved)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    MapFolder.open(path).verify()
    robot.close()
    values = {'map.load': str(path), 'map.autosave_path': str(path), 'map.autosave_period': 0.1}
    system = start(values, weights=False)
    assert system.pipeline.num_voxels > 0
    number = MapFolder.open(path).manifest.number
    system.send(0)
    system.graph.until(lambda: MapFolder.open(path).manifest.number > number)


def until_the_end(system):
    """Return the `record` of a map that is slow to give."""
    record = system.pipeline.record

    def slowly(key):
        while not system.node.worker._closed:
            time.sleep(0.01)
        return record(key)

    return slowly


def test_each_thread_has_a_name_that_tells_what_it_does(start):
    before = set(threading.enumerate())
    start(weights=False)
    names = [thread.name for thread in set(threading.enumerate()) - before]
    own = sorted({name for name in names if name.startswith('concerto_')})
    assert own == [
        f'concerto_{what}' for what in ('files', 'network', 'pages', 'search', 'texts', 'worker')
    ]


@pytest.mark.parametrize('in_time', [True, False])
def test_the_end_of_the_node_saves_the_map_once_more(start, tmp_path, monkeypatch, in_time):
    path = tmp_path / 'map'
    system = start({'map.autosave_path': str(path), 'map.autosave_period': 3600.0}, weights=False)
    system.send(0)
    num_voxels = system.pipeline.num_voxels
    if not in_time:
        monkeypatch.setattr(perception_node, '_SAVING_TIME', 0.05)
        monkeypatch.setattr(system.pipeline, 'record', until_the_end(system))
    system.end_by_signal()
    if in_time:
        saved = MapFolder.open(path)
        assert sum(chunk.num_voxels for chunk in saved.chunks.values()) == num_voxels
    else:
        assert not (path / 'manifest.json').exists()


@pytest.mark.parametrize('was_killed', [False, True])
def test_a_first_start_finds_no_map_to_go_on_with(start, tmp_path, was_killed):
    path, link = tmp_path / 'map', tmp_path / 'link'
    link.symlink_to(path)
    if was_killed:
        MapSaver(path).close()  # ended in its first save
        (path / 'chunks' / '0000000000000001.00000001.safetensors').write_bytes(b'half')
    system = start({'map.load': f'{path}/', 'map.autosave_path': str(link)}, weights=False)
    assert system.pipeline.num_voxels == 0


def test_a_folder_of_something_else_is_no_map_to_go_on_with(start, tmp_path):
    (tmp_path / 'thesis.tex').touch()
    with pytest.raises(MapFileError, match='is no map'):
        start({'map.load': str(tmp_path), 'map.autosave_path': str(tmp_path)}, weights=False)
