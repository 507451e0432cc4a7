"""What /diagnostics says, over real DDS and status by status."""

import threading
import time
from collections import Counter

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.parameter import Parameter
from sensor_msgs.msg import PointCloud2

from concerto_msgs.msg import MapUpdate
from concerto_ros.ros import diagnostics
from concerto_ros.ros.activity import Activity, MapSize
from concerto_ros.ros.diagnosis import CameraFacts, camera_status, map_status, worker_status
from concerto_ros.ros.perception_node import PerceptionNode

pytestmark = pytest.mark.ros

START = 1000 * 1_000_000_000
FRAME = 100_000_000  # 10 Hz
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class Observer:
    """A perception node and the newest status of each of its parts."""

    def __init__(self, graph, **parameters):
        values = {'semantics.checkpoint': '', 'depth.stride': 1}
        values |= {name.replace('__', '.'): value for name, value in parameters.items()}
        self.node = PerceptionNode(
            context=graph.context,
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
        )
        graph.executor.add_node(self.node)
        graph.nodes.append(self.node)
        self.status, self.heard = {}, set()
        graph.node('observer').create_subscription(DiagnosticArray, '/diagnostics', self._take, 10)

    def _take(self, message):
        assert message.header.stamp.sec > 0
        for status in message.status:
            self.status[status.name.removeprefix('perception_node: ')] = status
            self.heard.update(value.key for value in status.values)

    def values(self, part):
        return {v.key: v.value for v in self.status[part].values} if part in self.status else {}

    def message(self, part):
        return self.status[part].message if part in self.status else ''

    def level(self, part):
        return self.status[part].level if part in self.status else None


@pytest.fixture
def observe(graph, monkeypatch):
    """Return observe(**parameters): an observer of a node that reports 20 times a second."""
    monkeypatch.setattr(diagnostics, '_PERIOD', 0.05)
    return lambda **parameters: Observer(graph, **parameters)


def start(robot):
    robot.until_heard()
    robot.info()
    robot.tf('map', robot.frame, static=True)


def player(observer, robot):
    """Return play(): send the next images if those before have arrived, 50 times a second."""
    (camera,), sent = observer.node._cameras, [0.0]

    def play():
        if camera.num_pairs == len(sent) - 1 and time.monotonic() > sent[-1] + 0.02:
            robot.images(START + len(sent) * FRAME)
            sent.append(time.monotonic())

    return play


def test_two_cameras_the_worker_and_the_map(graph, observe, make_robot):
    observer = observe(input__cameras='left,right', publish__warning_period=0.1)
    robot = make_robot(namespace='left')
    start(robot)
    for number in range(3):
        robot.images(START + number * FRAME)
    graph.until(lambda: observer.values('map').get('voxels', '0') != '0')
    num_voxels = observer.node.pipeline.num_voxels
    graph.until(lambda: observer.level('camera right') == ERROR)
    graph.until(lambda: observer.values('map')['voxels'] == str(num_voxels))
    assert set(observer.status) == {'camera left', 'camera right', 'worker', 'map'}
    left = observer.values('camera left')
    assert float(left['age of the newest frame [s]']) < 30
    assert left['transform failures'] == '0'
    assert observer.status['camera left'].hardware_id == '/left/color/image'
    graph.until(lambda: 'has no publisher' in observer.message('camera right'))
    message = observer.message('camera right')
    assert message.startswith('no frames: /right/color/image has no publisher (start the camera')
    assert observer.values('camera right')['age of the newest frame [s]'] == 'none'
    size = observer.values('map')
    assert size['memory, all [bytes]'] == str(sum(observer.node.pipeline.memory.values()))
    assert float(size['bytes per voxel, all']) > 0
    assert observer.level('map') == observer.level('worker') == OK


def test_rates_and_times_of_a_camera_without_a_name(graph, observe, make_robot, tiny_weights):
    values = {'semantics.period': 0.0, 'publish.map_period': 0.01, **tiny_weights()}
    observer, robot = observe(**values), make_robot()
    start(robot)
    for kind, topic in ((PointCloud2, 'map'), (MapUpdate, 'map_updates')):
        robot.node.create_subscription(kind, f'perception_node/{topic}', lambda _: None, 1)
    play = player(observer, robot)
    graph.until(lambda: observer.status)  # before the network looks, which it may do only once
    stages = {'points', 'paging', 'fusion', 'clearing', 'window', 'network', 'labels'}
    stages |= {'map', 'publishing'}
    expected = {f'{stage}, {kind} [s]' for stage in stages for kind in ('mean', 'max')}

    def all_is_heard():
        play()
        return expected <= observer.heard

    graph.until(all_is_heard)
    graph.until(lambda: float(observer.values('camera')['frames fused [Hz]']) > 0, seconds=1)
    graph.until(lambda: int(observer.values('map')['windows looked at']) > 0)
    assert float(observer.values('camera')['frames in [Hz]']) > 0
    assert observer.level('camera') == OK


def test_missing_transforms_are_an_error(graph, observe, make_robot):
    observer, robot = observe(input__transform_timeout=0.05), make_robot()
    robot.until_heard()
    robot.info()
    play = player(observer, robot)

    def is_told():
        play()
        return 'no transform from' in observer.message('camera')

    graph.until(is_told)
    assert observer.level('camera') == ERROR
    assert "no transform from 'camera' to 'odom'" in observer.message('camera')
    assert 'check that /tf connects' in observer.message('camera')
    assert int(observer.values('camera')['transform failures']) > 0
    assert int(observer.values('camera')['dropped, transform']) > 0


def test_a_network_that_fails_is_an_error_until_it_works(
    graph, observe, make_robot, tiny_weights, capfd
):
    observer, robot = observe(**{'semantics.period': 0.0, **tiny_weights()}), make_robot()
    start(robot)
    run = observer.node.pipeline.run_semantics

    failed = []

    def fail(window):
        failed.append(window)
        raise MemoryError('no room')

    observer.node.pipeline.run_semantics = fail
    robot.images()
    graph.until(lambda: observer.level('worker') == ERROR)
    assert observer.message('worker').startswith('the network fails: MemoryError: no room;')
    assert 'lower semantics.max_points' in observer.message('worker')
    assert observer.values('worker')['internal errors'] == '0'
    robot.images(START + FRAME)
    graph.until(lambda: observer.node.semantics.is_settled and len(failed) == 2)
    observer.node.pipeline.run_semantics = run
    robot.images(START + 2 * FRAME)
    graph.until(lambda: observer.level('worker') == OK)
    assert capfd.readouterr().err.count('the network fails: internal error: MemoryError') == 1


def facts(recent, **options):
    recent = Counter(recent)
    given = {'seconds': 5.0, 'age': 0.1, 'silence': '', 'sentences': {}, **options}
    return CameraFacts(topic='/color/image', counts=recent, recent=recent, **given)


@pytest.mark.parametrize(
    ('recent', 'options', 'level', 'message'),
    [
        ({'pairs': 50, 'fused': 40, 'overtaken': 10}, {}, OK, '40 frames fused in 5 s'),
        ({}, {}, ERROR, 'no frames: no pair of images came on /color/image; start the camera'),
        ({}, {'silence': 'clocks disagree'}, ERROR, 'no frames: clocks disagree'),
        ({'pairs': 9, 'fused': 8, 'image': 1}, {}, WARN, 'bad image; mend it'),
        ({'pairs': 29, 'image': 4, 'transform': 5, 'waiting': 20}, {}, ERROR, 'no tf; publish it'),
        ({'pairs': 9, 'fused': 1, 'internal': 4}, {}, WARN,
         'internal error, see the log: ValueError: 3'),
        ({'pairs': 9, 'overtaken': 8}, {}, WARN,
         'images come, but none was fused in 5 s: the network takes that long; '
         'lower semantics.max_points'),
        ({'pairs': 9}, {}, WARN,
         'images come, but none was fused in 5 s: they wait for their transforms; '
         'see that /tf comes sooner'),
        ({'pairs': 9}, {'seconds': 1.0}, OK, '0 frames fused in 1 s'),
    ],
)  # fmt: skip
def test_a_camera_is_judged(recent, options, level, message):
    sentences = {
        'image': 'bad image; mend it',
        'transform': 'no tf; publish it',
        'internal': 'internal error: Traceback\n  line 3\nValueError: 3',
    }
    status = camera_status(facts(recent, sentences=sentences, **options))
    assert (status.level, status.message) == (level, message)


def test_dropped_frames_are_counted_by_reason():
    status = camera_status(facts({'pairs': 20, 'fused': 5, 'overtaken': 12, 'silence': 2}))
    values = {v.key: v.value for v in status.values}
    assert values == {
        'frames in [Hz]': '4.00',
        'frames fused [Hz]': '1.00',
        'age of the newest frame [s]': '0.10',
        'transform failures': '0',
        'dropped, overtaken': '12',
    }


def test_a_map_beyond_its_budget_is_warned_of():
    size = {'num_voxels': 20, 'num_resident': 10, 'revision': 3}
    size['memory'] = {'voxels': 3_000_000, 'cells': 500_000}
    status = map_status(MapSize(**size))
    assert (status.level, status.message) == (OK, '20 voxels, 3.5 MB')
    status = map_status(MapSize(**size, paged_bytes=2_000_000))
    assert status.message == '20 voxels, 3.5 MB in memory and 2.0 MB of files on the disk'
    status = map_status(MapSize(**size, max_bytes=3_400_000))
    assert status.level == OK
    status = map_status(MapSize(**size, max_bytes=2_000_000, paged_bytes=7), 1.5)
    assert status.level == WARN
    assert status.message.startswith('the map takes 3.5 MB and may take 2.0 MB; raise map.max_b')
    values = {v.key: v.value for v in status.values}
    assert values['memory, cells [bytes]'] == '500000'
    assert values['bytes per voxel, cells'] == '50000.0'
    assert values['bytes per voxel, all'] == '350000.0'
    assert values['on the disk, also of chunks back in memory [bytes]'] == '7'
    assert (values['voxels'], values['voxels in memory']) == ('20', '10')
    assert values['last autosave [s]'] == '1.5'
    assert values['budget [bytes]'] == '2000000'


def test_an_empty_map_and_an_idle_worker_are_well():
    empty = MapSize(num_voxels=0, num_resident=0, revision=0, memory={})
    assert map_status(empty).message == '0 voxels, 0.0 MB'
    status = worker_status({}, {}, {}, 0, 0)
    assert (status.level, status.message) == (OK, 'has nothing to do')


def test_errors_that_nobody_foresaw_are_warned_of():
    status = worker_status({'fusion': [0.1, 0.3]}, {}, {}, 5, 2)
    assert (status.level, status.message[:2]) == (WARN, '2 ')
    values = {v.key: v.value for v in status.values}
    assert values['fusion, mean [s]'] == '0.2000'
    assert values['fusion, max [s]'] == '0.3000'


def test_what_takes_long_is_told_while_it_runs():
    activity = Activity()
    with activity.stage('network'):
        status = worker_status({}, activity.running(), {}, 0, 0)
    assert (status.level, status.message) == (OK, 'network for 0.0 s so far')
    assert activity.running() == {}
    assert len(activity.take_seconds()['network']) == 1


def test_activity_may_be_written_and_read_at_once():
    activity, taken = Activity(), []

    def write():
        for _ in range(1000):
            activity.add('fusion', 1.0)
            activity.count_fused('left')

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken += activity.take_seconds().get('fusion', [])
    taken += activity.take_seconds().get('fusion', [])
    assert len(taken) == activity.num_fused('left') == 3000
