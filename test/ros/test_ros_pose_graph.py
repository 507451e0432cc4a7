from types import SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from concerto_ros.ros.conversions import make_header
from concerto_ros.ros.pose_graph import PoseGraphInput
from concerto_ros.ros.problems import Problems

pytestmark = pytest.mark.ros

START = 1000 * 1_000_000_000
SECOND = 1_000_000_000
HALF = float(np.sqrt(0.5))


def stamped(i, frame_id='map', x=None, quaternion=(0.0, 0.0, HALF, HALF)):
    pose = PoseStamped(header=make_header(frame_id, START + i * SECOND))
    pose.pose.position.x = float(i) if x is None else x
    pose.pose.position.z = 0.5
    q = pose.pose.orientation
    q.x, q.y, q.z, q.w = quaternion
    return pose


def message(*poses, frame_id='map'):
    return Path(header=make_header(frame_id, START), poses=list(poses))


BAD = {
    'it has no poses': message(),
    "in the frame 'odom', not in 'map'": message(stamped(0, 'odom'), frame_id='odom'),
    "in the frame 'map', 'odom'": message(stamped(0), stamped(1, 'odom')),
    'do not ascend': message(stamped(1), stamped(0)),
    'not finite': message(stamped(0), stamped(1, x=float('nan'))),
    'length is not 1': message(stamped(0, quaternion=(0.0, 0.0, 0.0, 0.0))),
}


@pytest.fixture
def listen(graph):
    """Return listen(*ros_args, **qos): an input, its paths and problems, and what it hears."""

    def start(*arguments, topic='pose_graph', **qos):
        node = graph.node('perception', *arguments)
        problems, paths, sentences = Problems(node, lambda: 1000.0), [], []
        add = problems.add
        problems.add = lambda kind, sentence: (sentences.append(sentence), add(kind, sentence))
        heard = PoseGraphInput(node, 'map', problems, paths.append)
        publisher = graph.node('slam').create_publisher(Path, topic, QoSProfile(depth=10, **qos))
        return SimpleNamespace(
            input=heard, paths=paths, counts=problems.counts, sentences=sentences,
            publisher=publisher,
        )  # fmt: skip

    return start


def test_a_path_arrives_as_numbers(graph, listen):
    running = listen(reliability=ReliabilityPolicy.BEST_EFFORT)
    graph.until(lambda: running.publisher.get_subscription_count() > 0)
    running.publisher.publish(message(stamped(0), stamped(2, frame_id='')))
    graph.until(lambda: running.paths)
    (path,) = running.paths
    assert path.stamps_ns.tolist() == [START, START + 2 * SECOND]
    assert path.translation.tolist() == [[0.0, 0.0, 0.5], [2.0, 0.0, 0.5]]
    np.testing.assert_allclose(path.quaternion, [[0.0, 0.0, HALF, HALF]] * 2)
    assert not running.counts


def test_a_path_that_was_published_before_arrives_under_its_remapped_name(graph, listen):
    running = listen(
        '-r', 'pose_graph:=slam/path', topic='slam/path',
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )  # fmt: skip
    running.publisher.publish(message(stamped(0), frame_id='/map'))
    graph.until(lambda: running.paths)
    assert running.input.topic == '/slam/path'


def test_a_path_that_cannot_be_right_is_dropped_and_counted(graph, listen):
    running = listen(reliability=ReliabilityPolicy.BEST_EFFORT)
    graph.until(lambda: running.publisher.get_subscription_count() > 0)
    for num, path in enumerate(BAD.values(), start=1):
        running.publisher.publish(path)
        graph.until(lambda num=num: running.counts['pose_graph'] == num)
    running.publisher.publish(message(stamped(0)))
    graph.until(lambda: running.paths)
    assert len(running.paths) == 1
    for reason, sentence in zip(BAD, running.sentences, strict=True):
        assert sentence.startswith('/pose_graph: dropped a path of ')
        assert reason in sentence
        assert 'remap pose_graph' in sentence
