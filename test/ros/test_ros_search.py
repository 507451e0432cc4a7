"""Questions to the real node: many at once, slow ones, odd ones, and those that go on."""

import threading
import time
from dataclasses import replace
from functools import partialmethod
from types import SimpleNamespace

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from geometry_msgs.msg import Point
from rclpy.action import ActionClient
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py.point_cloud2 import read_points
from std_srvs.srv import Trigger
from visualization_msgs.msg import MarkerArray

from concerto_msgs.action import SearchObjects
from concerto_msgs.msg import LabelInfo, Region
from concerto_msgs.srv import FindObjects, Relabel
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.ros.camera_input import FramedImage
from concerto_ros.ros.perception_node import PerceptionNode
from concerto_ros.search.object_search import ObjectSearch

pytestmark = pytest.mark.ros

CAMERA = PinholeCamera(width=64, height=48, fx=58.0, fy=58.0, cx=31.5, cy=23.5)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
DEADLINE = 30.0  # seconds
SURE = 0.001  # a score that some voxels reach for every text
NEVER = 0.9999
LATER = 10**12  # [ns]
Result = SearchObjects.Result


@pytest.fixture(scope='module')
def frames():
    return list(SyntheticRoom(3).frames(12, camera=CAMERA))


@pytest.fixture
def start(graph, frames, tiny_weights):
    """Return start(parameters): a perception node, and a client of all it offers."""

    def run(**parameters):
        values = {
            **tiny_weights(),
            'depth.stride': 2,
            'publish.map_period': 0.05,
            'semantics.period': 0.0,
            **parameters,
        }
        node = PerceptionNode(
            context=graph.context,
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
        )
        graph.executor.add_node(node)
        graph.nodes.append(node)
        return System(graph, node, frames)

    return run


def framed(frame):
    return FramedImage(
        frame, fusion_frame='map', camera='', depth_frame='camera', depth_topic='depth/image'
    )


class System:
    """The node with a client; frames are handed to its worker as its camera would."""

    def __init__(self, graph, node, frames):
        self.graph, self.node, self.frames = graph, node, frames
        self.client = graph.node('client')
        self.action = ActionClient(self.client, SearchObjects, 'perception_node/search_objects')
        graph.until(self.action.server_is_ready)

    def send(self, *numbers):
        """Have frames fused and labelled."""
        for number in numbers or (0,):
            self.node.worker.submit_frame(framed(self.frames[number]))
            self.finish_frame()

    def finish_frame(self):
        """Wait until the newest frame is fused and labelled."""
        for _ in range(2):  # a frame waits for one job at most
            self.do(lambda: None)
        self.graph.until(lambda: self.do(lambda: self.node.semantics.is_settled))

    def do(self, job):
        """Wait until the worker has done something."""
        future = self.node.worker.run(job)
        self.graph.until(future.done)
        return future.result()

    def ask(self, kind, name, **request):
        """Send a request; return the future of the answer."""
        client = self.client.create_client(kind, f'perception_node/{name}')
        self.graph.until(client.service_is_ready)
        return client.call_async(kind.Request(**request))

    def call(self, kind, name, **request):
        future = self.ask(kind, name, **request)
        self.graph.until(future.done)
        return future.result()

    def find(self, text='lamp', **request):
        return self.call(FindObjects, 'find_objects', text=text, **request)

    def search(self, text='lamp', **goal):
        """Send a goal; return its handle, its future result, and its feedback so far."""
        feedback = []
        sent = self.action.send_goal_async(
            SearchObjects.Goal(text=text, **goal),
            lambda message: feedback.append(message.feedback),
        )
        self.graph.until(sent.done)
        handle = sent.result()
        return SimpleNamespace(handle=handle, end=handle.get_result_async(), feedback=feedback)

    def end(self, search):
        """Wait for the end of a goal; return its status and result."""
        self.graph.until(search.end.done)
        return search.end.result().status, search.end.result().result

    def listen(self, kind, topic):
        messages = []
        self.client.create_subscription(kind, f'perception_node/{topic}', messages.append, LATCHED)
        self.graph.until(lambda: messages)
        return messages


class Gate:
    """Holds up who passes until it is opened."""

    def __init__(self, function):
        self.reached, self.opened = threading.Event(), threading.Event()
        self._function = function

    def __call__(self, *arguments, **options):
        self.reached.set()
        assert self.opened.wait(DEADLINE)
        return self._function(*arguments, **options)


def box(low, high, frame_id=''):
    corners = (
        Point(**dict(zip('xyz', map(float, corner), strict=True))) for corner in (low, high)
    )
    return [Region(frame_id=frame_id, **dict(zip(('min', 'max'), corners, strict=True)))]


EVERYWHERE = box((-50, -50, -50), (50, 50, 50))


def test_ten_clients_are_served_while_frames_are_fused(start):
    system = start()
    system.send(*range(len(system.frames)))  # later views of the floor would move the labels
    alone = system.find('lamp', min_score=SURE)
    assert alone.verdict == FindObjects.Response.FOUND
    futures = [
        system.ask(FindObjects, 'find_objects', text=text, min_score=SURE)
        for text in ('lamp', 'chair', 'wall', 'blue chair', 'teapot') * 2
    ]
    again = [replace(frame, stamp_ns=frame.stamp_ns + LATER) for frame in system.frames]
    for frame in again:
        system.node.worker.submit_frame(framed(frame))
        system.graph.spin_for(0.02)
    system.graph.until(lambda: all(future.done() for future in futures))
    system.finish_frame()
    answers = [future.result() for future in futures]
    assert [answer.success for answer in answers] == [True, True, True, True, False] * 2
    assert all(answer.objects for answer in answers if answer.success)
    assert system.node.worker.num_failures == 0
    assert system.node.pipeline.newest_stamp_ns == again[-1].stamp_ns


@pytest.mark.parametrize('what_is_slow', ['reading', 'grouping'])
def test_frames_are_fused_while_a_question_takes_long(start, monkeypatch, what_is_slow):
    system = start()
    system.send(0)
    if what_is_slow == 'reading':
        gate = Gate(system.node.pipeline.read)
        monkeypatch.setattr(system.node.pipeline, 'read', gate)
    else:
        gate = Gate(ObjectSearch.find)
        monkeypatch.setattr(ObjectSearch, 'find', partialmethod(gate))
    future = system.ask(FindObjects, 'find_objects', text='lamp', min_score=SURE)
    system.graph.until(gate.reached.is_set)
    for number in range(1, 5):
        system.send(number)
    assert system.node.pipeline.newest_stamp_ns == system.frames[4].stamp_ns
    assert not future.done()
    gate.opened.set()
    system.graph.until(future.done)
    assert future.result().success


def test_a_new_vocabulary_labels_the_map_at_once(start):
    system = start()
    system.send(0)
    tables = system.listen(LabelInfo, 'language_label_info')
    maps = system.listen(PointCloud2, 'map')
    assert tables[-1].names == ['unknown', 'wall', 'chair', 'lamp']
    num_maps = len(maps)
    answer = system.call(Relabel, 'relabel', names=['blue chair', 'wall'])
    assert answer.success, answer.message
    cloud = system.do(system.node.pipeline.cloud)
    share = f'{len(cloud)} of {len(cloud)} voxels'
    assert answer.message == f'the vocabulary has 2 names now, and {share} are labelled by it'
    assert answer.labels.names == ['unknown', 'blue chair', 'wall']
    system.graph.until(lambda: len(tables) == 2 and len(maps) > num_maps)
    assert tables[-1].names == answer.labels.names
    assert tables[-1].colors == answer.labels.colors
    published = read_points(maps[-1])['language_label']
    np.testing.assert_array_equal(np.sort(published), np.sort(cloud.language_label))
    assert set(published) == {1, 2}


@pytest.mark.parametrize(
    ('names', 'reason'),
    [
        ([], 'needs 1 to 65535 names, got 0: name what labels shall tell apart, such as "chair"'),
        (['wall', 'lamp', 'wall'], 'names wall more than once'),
        (['wall', ' '], 'has no word'),
        (['wall', 'teapot'], "'teapot' is not among"),
        (['wall', 'x' * 10_000], '10000 characters'),
        ([f'thing {i}' for i in range(2000)], "'thing 0' is not among"),
    ],
)
def test_a_vocabulary_that_is_none_is_refused_and_the_old_one_stays(start, names, reason):
    system = start()
    system.send(0)
    before = system.do(system.node.pipeline.cloud).language_label
    answer = system.call(Relabel, 'relabel', names=names)
    assert not answer.success
    assert reason in answer.message
    assert not answer.labels.names
    np.testing.assert_array_equal(system.do(system.node.pipeline.cloud).language_label, before)
    assert system.node.pipeline.language_labels.names == ('unknown', 'wall', 'chair', 'lamp')
    assert system.node.worker.num_failures == 0


def test_the_message_says_how_much_of_the_map_has_labels(start):
    system = start(**{'semantics.max_points': 300, 'semantics.period': 1000.0})
    system.node.worker.submit_frame(framed(system.frames[0]))
    system.graph.until(lambda: system.node.semantics.num_windows == 1)
    answer = system.call(Relabel, 'relabel', names=['wall'])
    label = system.do(system.node.pipeline.cloud).language_label
    assert 0 < np.count_nonzero(label) < len(label)
    assert answer.message == (
        f'the vocabulary has 1 name now, and {np.count_nonzero(label)} of {len(label)} voxels are '
        'labelled by it; the rest is unknown until the network looks at it'
    )


@pytest.mark.parametrize('names', [[], ['wall'] * 70_000, ['wall', ' Wall'], ['wall', '?']])
def test_what_is_no_vocabulary_is_not_read(start, monkeypatch, names):
    system = start()
    read = []
    monkeypatch.setattr(system.node.pipeline, 'read', read.append)
    answer = system.call(Relabel, 'relabel', names=names)
    assert not answer.success
    assert not read


def test_two_thousand_names_are_a_vocabulary(start, tiny_weights, tmp_path):
    names = [f'thing {i}' for i in range(2000)]
    known = np.load(tiny_weights()['semantics.text_encoder'].split(':', 1)[1])
    vectors = np.random.default_rng(0).normal(size=(len(names), known['embedding'].shape[1]))
    np.savez(
        tmp_path / 'words.npz',
        names=[*known['names'], *names],
        embedding=np.concatenate([known['embedding'], vectors]),
        text_encoder='test space',
    )
    system = start(**{'semantics.text_encoder': f'vocabulary:{tmp_path / "words.npz"}'})
    system.send(0)
    answer = system.call(Relabel, 'relabel', names=names)
    assert answer.success, answer.message
    assert len(answer.labels.names) == 2001
    assert system.do(system.node.pipeline.cloud).language_label.max() > 3


QUESTIONS = {
    'empty': ({'text': ''}, 'the query is empty'),
    'blank': ({'text': ' \t\n'}, 'the query is empty'),
    'long': ({'text': 'a chair ' * 1250}, '10000 characters'),
    'Chinese': ({'text': '椅子'}, "'椅子' is not among"),
    'Arabic': ({'text': 'كرسي'}, 'is not among'),
    'only control characters': ({'text': '\x1b\x07'}, 'has no word'),
    'only marks': ({'text': '?!'}, 'has no word'),
    'negative score': ({'min_score': -0.5}, 'expected min_score between 0 and 1, got -0.5'),
    'no score': ({'min_score': float('nan')}, 'expected min_score between 0 and 1, got nan'),
    'no region': ({'region': box((0, 0, 0), (np.nan, 1, 1))}, 'finite'),
    'endless region': ({'region': box((0, 0, 0), (np.inf, 1, 1))}, 'finite'),
    'empty region': ({'region': box((0, 0, 0), (0, 1, 1))}, 'the region is empty'),
    'unknown frame': ({'region': box((0, 0, 0), (1, 1, 1), 'nowhere')}, 'nowhere'),
}


def test_a_question_that_makes_no_sense_is_answered_by_a_reason(start):
    system = start()
    system.send(0)
    for name, (question, reason) in QUESTIONS.items():
        asked = {'text': 'lamp', **question}
        answer = system.find(**asked)
        status, result = system.end(system.search(**asked))
        assert status == GoalStatus.STATUS_ABORTED, name
        for told in (answer, result):
            assert not told.success, name
            assert reason in told.message, name
            assert (told.verdict, told.objects) == (Result.NONE, []), name
    for limit in (-1.0, float('nan')):
        status, result = system.end(system.search(time_limit=limit))
        assert status == GoalStatus.STATUS_ABORTED
        assert 'expected time_limit of 0' in result.message
    assert system.node.worker.num_failures == 0
    assert system.find('lamp', min_score=SURE).objects


def test_odd_questions_that_can_be_answered_are(start):
    system = start()
    system.send(0)
    answer = system.find('a\x1b blue\x07_chair\u202e', min_score=SURE)
    assert '"blue chair"' in answer.message
    many = system.find(min_score=SURE, max_results=500)
    assert many.verdict == FindObjects.Response.FOUND
    assert 0 < len(many.objects) <= 500
    for corner in (30.0, 1e30):
        outside = system.find(region=box((corner,) * 3, (2 * corner,) * 3))
        assert outside.success
        assert outside.verdict == FindObjects.Response.UNOBSERVED
        assert (outside.observed_share, outside.objects) == (0.0, [])


def test_a_lone_surrogate_is_refused_by_the_client_or_arrives_as_another_character(start):
    system = start()
    with pytest.raises(UnicodeEncodeError):
        system.ask(FindObjects, 'find_objects', text='\ud800')
    # what clients in other languages may send
    sent = serialize_message(FindObjects.Request(text='abc')).replace(b'abc', b'\xed\xa0\x80')
    text = deserialize_message(sent, FindObjects.Request).text
    assert 'has no word' in system.find(text).message
    assert system.find('lamp').success


def test_without_weights_every_question_is_answered_by_what_is_missing(start):
    names = ('checkpoint', 'head', 'translator', 'text_encoder', 'vocabulary')
    system = start(**{f'semantics.{name}': '' for name in names})
    system.send(0)
    status, result = system.end(system.search())
    assert status == GoalStatus.STATUS_ABORTED
    for told in (system.find(), system.call(Relabel, 'relabel', names=['lamp']), result):
        assert not told.success
        assert 'no language model is loaded' in told.message


def test_a_map_that_is_empty_or_not_looked_at_is_unobserved(start):
    system = start(**{'semantics.period': 1000.0})
    for _ in range(2):
        answer = system.find()
        assert answer.success
        assert answer.verdict == FindObjects.Response.UNOBSERVED
        system.call(Trigger, 'reset')


def test_a_search_ends_when_the_thing_is_found(start):
    system = start()
    search = system.search(min_score=SURE)
    system.graph.until(lambda: search.feedback)
    assert not search.feedback[0].objects
    assert search.feedback[0].observed_share == 0.0
    assert not search.end.done()
    system.send(0)
    status, result = system.end(search)
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert result.success
    assert result.verdict == Result.FOUND
    assert result.objects[0].frame_id == 'map'
    assert result.text_encoder == 'test space'
    found = system.find(min_score=SURE)
    assert result.objects == found.objects
    assert result.message == found.message
    assert search.feedback[-1].objects == result.objects
    assert search.feedback[-1].seconds > search.feedback[0].seconds > 0


def test_feedback_comes_only_with_news(start):
    system = start()
    system.send(0)
    search = system.search(min_score=NEVER)
    system.graph.until(lambda: search.feedback)
    looks = []
    finish = system.node.pipeline.begin_search
    system.node.pipeline.begin_search = lambda *a, **k: looks.append(0) or finish(*a, **k)
    for _ in range(3):
        system.do(system.node.semantics.labels_changed)
        system.graph.until(lambda: len(looks) > 0)
        looks.clear()
    system.graph.spin_for(0.1)
    assert len(search.feedback) == 1
    search.handle.cancel_goal_async()
    system.end(search)


def test_a_search_ends_when_its_time_is_over(start):
    system = start()
    system.send(0)
    status, result = system.end(system.search(min_score=NEVER, time_limit=0.2))
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert result.success
    assert result.verdict == Result.ABSENT
    assert result.observed_share == 1.0
    assert all(hit.score < NEVER for hit in result.objects)
    outside = box((30, 30, 30), (31, 31, 31))
    status, result = system.end(system.search(region=outside, time_limit=1e-6))
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert result.verdict == Result.UNOBSERVED


def test_what_scores_less_than_wanted_is_told_as_the_best_so_far(start):
    system = start(**{'search.min_score': SURE})
    system.send(0)
    near = system.find()
    assert near.verdict == FindObjects.Response.FOUND
    search = system.search(min_score=NEVER, time_limit=0.3)
    _, result = system.end(search)
    assert result.verdict == Result.ABSENT
    assert [hit.id for hit in result.objects] == [hit.id for hit in near.objects]
    assert search.feedback[0].objects == result.objects
    assert f'best is {result.objects[0].id}' in result.message


def test_a_cancelled_search_gives_the_best_so_far(start):
    system = start(**{'search.min_score': SURE})
    system.send(0)
    search = system.search(min_score=NEVER)
    system.graph.until(lambda: search.feedback)
    cancelled = search.handle.cancel_goal_async()
    status, result = system.end(search)
    assert len(cancelled.result().goals_canceling) == 1
    assert status == GoalStatus.STATUS_CANCELED
    assert result.success
    assert result.verdict == Result.ABSENT
    assert result.objects == search.feedback[-1].objects
    assert result.objects
    assert result.message.startswith('cancelled: ')


def test_who_cancels_does_not_wait_for_a_look(start, monkeypatch):
    system = start()
    gate = Gate(system.node.pipeline.read)
    monkeypatch.setattr(system.node.pipeline, 'read', gate)
    search = system.search()
    system.graph.until(gate.reached.is_set)
    search.handle.cancel_goal_async()
    status, result = system.end(search)
    gate.opened.set()
    assert status == GoalStatus.STATUS_CANCELED
    assert not result.success
    assert result.message == 'cancelled: the map was not looked at yet'


def test_several_searches_go_on_at_once(start):
    system = start()
    slow = [system.search('chair', min_score=NEVER) for _ in range(3)]
    quick = [system.search(text, min_score=SURE) for text in ('lamp', 'wall')]
    system.send(0)
    for search in quick:
        status, result = system.end(search)
        assert (status, result.verdict) == (GoalStatus.STATUS_SUCCEEDED, Result.FOUND)
    assert not any(search.end.done() for search in slow)
    slow[1].handle.cancel_goal_async()
    assert system.end(slow[1])[0] == GoalStatus.STATUS_CANCELED
    system.graph.spin_for(0.1)
    assert not slow[0].end.done()
    assert not slow[2].end.done()
    for search in (slow[0], slow[2]):
        search.handle.cancel_goal_async()
        system.end(search)


def test_a_search_survives_reset_and_a_new_vocabulary(start):
    system = start()
    system.send(0)
    search = system.search(min_score=NEVER, region=EVERYWHERE)
    system.graph.until(lambda: search.feedback)
    seen = search.feedback[-1].observed_share
    assert system.call(Relabel, 'relabel', names=['wall']).success
    assert system.call(Trigger, 'reset').success
    if seen >= 0.005:
        system.graph.until(lambda: search.feedback[-1].observed_share == 0.0)
    assert not search.end.done()
    system.send(1)
    search.handle.cancel_goal_async()
    status, result = system.end(search)
    assert status == GoalStatus.STATUS_CANCELED
    assert result.success


def is_shown(message):
    return len(message.markers) > 1  # the first one deletes what was shown before


def test_a_reset_takes_the_objects_away(start):
    system = start()
    system.send(0)
    system.find(min_score=SURE)
    objects = system.listen(MarkerArray, 'objects')
    assert is_shown(objects[-1])
    assert system.call(Trigger, 'reset').success
    system.graph.until(lambda: not is_shown(objects[-1]))


def held_up_search(system, monkeypatch):
    """Return a gate that every search waits at when it has seen the map, and what is shown."""
    system.send(0)
    system.find(min_score=NEVER)
    objects = system.listen(MarkerArray, 'objects')
    gate = Gate(ObjectSearch.find)
    monkeypatch.setattr(ObjectSearch, 'find', partialmethod(gate))
    return gate, objects


@pytest.mark.parametrize('kind', ['service', 'action'])
def test_a_search_that_a_reset_overtakes_shows_nothing(start, monkeypatch, kind):
    system = start()
    gate, objects = held_up_search(system, monkeypatch)
    if kind == 'service':
        future = system.ask(FindObjects, 'find_objects', text='lamp', min_score=SURE)
    else:
        future = system.search(min_score=SURE).end
    system.graph.until(gate.reached.is_set)
    assert system.call(Trigger, 'reset').success
    gate.opened.set()
    system.graph.until(future.done)
    system.graph.spin_for(0.1)
    assert not any(map(is_shown, objects))


def test_a_cancelled_search_shows_nothing_afterwards(start, monkeypatch):
    system = start()
    gate, objects = held_up_search(system, monkeypatch)
    search = system.search(min_score=SURE)
    system.graph.until(gate.reached.is_set)
    search.handle.cancel_goal_async()
    assert system.end(search)[0] == GoalStatus.STATUS_CANCELED
    gate.opened.set()
    system.find(min_score=NEVER)  # takes its turn behind the other one
    system.graph.spin_for(0.1)
    assert not any(map(is_shown, objects))


def test_a_search_that_fails_is_aborted_and_the_next_one_served(start, monkeypatch):
    system = start()
    system.send(0)
    with monkeypatch.context() as patch:
        patch.setattr(ObjectSearch, 'find', lambda *_, **__: 1 / 0)
        status, result = system.end(system.search())
    assert status == GoalStatus.STATUS_ABORTED
    assert 'internal error, see the log' in result.message
    assert system.end(system.search(min_score=SURE))[0] == GoalStatus.STATUS_SUCCEEDED


def test_a_node_may_end_in_the_middle_of_searches(start, monkeypatch, capfd):
    system = start()
    system.send(0)
    gate = Gate(system.node.pipeline.read)
    monkeypatch.setattr(system.node.pipeline, 'read', gate)
    looking, waiting = system.search(min_score=NEVER), system.search('chair', min_score=NEVER)
    system.graph.until(gate.reached.is_set)
    threading.Timer(0.2, gate.opened.set).start()
    began = time.monotonic()
    system.graph.nodes.remove(system.node)
    system.graph.executor.remove_node(system.node)
    system.node.destroy_node()
    assert time.monotonic() - began < 4.0
    system.graph.spin_for(0.1)
    assert not looking.end.done()
    assert not waiting.end.done()
    output = capfd.readouterr()
    assert 'Traceback' not in output.out + output.err
