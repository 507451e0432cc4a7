import math
import threading
import time
from types import SimpleNamespace

import pytest
import rclpy
import tf2_ros
from builtin_interfaces.msg import Time as TimeMsg
from geometry_msgs.msg import TransformStamped
from rclpy.clock import ClockChange, TimeJump
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.time import Time
from rosgraph_msgs.msg import Clock

pytestmark = pytest.mark.ros

HALF = math.sqrt(0.5)
YAW_90 = (0.0, 0.0, HALF, HALF)


def at(seconds):
    return Time(nanoseconds=round(seconds * 1e9))


def transform(parent, child, seconds=0.0, xyz=(0.0, 0.0, 0.0), quaternion=(0.0, 0.0, 0.0, 1.0)):
    message = TransformStamped()
    message.header.frame_id = parent
    message.header.stamp = at(seconds).to_msg()
    message.child_frame_id = child
    v, q = message.transform.translation, message.transform.rotation
    v.x, v.y, v.z = xyz
    q.x, q.y, q.z, q.w = quaternion
    return message


def buffer_of(*moving, static=()):
    buffer = tf2_ros.Buffer()
    for message in moving:
        buffer.set_transform(message, 'test')
    for message in static:
        buffer.set_transform_static(message, 'test')
    return buffer


def xyz(message):
    v = message.transform.translation
    return pytest.approx((v.x, v.y, v.z), abs=1e-9)


def quaternion(message):
    q = message.transform.rotation
    return pytest.approx((q.x, q.y, q.z, q.w), abs=1e-9)


def test_a_lookup_maps_source_coordinates_to_the_target():
    buffer = buffer_of(
        static=[
            transform('map', 'base', xyz=(1.0, 0.0, 0.0), quaternion=YAW_90),
            transform('base', 'camera', xyz=(2.0, 0.0, 0.5)),
        ]
    )
    found = buffer.lookup_transform('map', 'camera', at(7))
    assert xyz(found) == (1.0, 2.0, 0.5)
    assert quaternion(found) == YAW_90
    assert (found.header.frame_id, found.child_frame_id) == ('map', 'camera')
    assert found.header.stamp == at(7).to_msg()
    back = buffer.lookup_transform('camera', 'map', at(7))
    assert xyz(back) == (-2.0, 1.0, -0.5)


def test_siblings_meet_at_their_common_parent():
    buffer = buffer_of(
        static=[
            transform('base', 'left', xyz=(0.0, 1.0, 0.0)),
            transform('base', 'right', xyz=(0.0, -1.0, 0.0)),
        ]
    )
    assert xyz(buffer.lookup_transform('right', 'left', Time())) == (0.0, 2.0, 0.0)


def test_between_samples_it_moves_straight_and_turns_steadily():
    buffer = buffer_of(
        transform('map', 'base', 1.0),
        transform('map', 'base', 2.0, (4.0, 0.0, 0.0), YAW_90),
    )
    found = buffer.lookup_transform('map', 'base', at(1.25))
    assert xyz(found) == (1.0, 0.0, 0.0)
    angle = math.radians(22.5) / 2
    assert (0.0, 0.0, math.sin(angle), math.cos(angle)) == quaternion(found)


def test_the_turn_goes_the_short_way_round():
    angle = math.radians(10) / 2
    buffer = buffer_of(
        transform('map', 'base', 1.0),
        transform('map', 'base', 2.0, quaternion=(0, 0, -math.sin(angle), -math.cos(angle))),
    )
    turned = buffer.lookup_transform('map', 'base', at(1.5)).transform.rotation
    assert abs(turned.w) == pytest.approx(math.cos(angle / 2))


@pytest.mark.parametrize(
    ('seconds', 'message'),
    [
        (
            4.0,
            r'^Lookup would require extrapolation into the future\.  Requested time 4\.000000 but '
            r'the latest data is at time 3\.000000, when looking up transform from frame \[base\] '
            r'to frame \[map\]$',
        ),
        (1.0, r'into the past\.  Requested time 1\.000000 but the earliest .* time 2\.000000'),
    ],
)
def test_it_never_extrapolates(seconds, message):
    buffer = buffer_of(transform('map', 'base', 2.0), transform('map', 'base', 3.0))
    with pytest.raises(tf2_ros.ExtrapolationException, match=message):
        buffer.lookup_transform('map', 'base', at(seconds))


def test_a_single_sample_holds_at_its_own_time_only():
    buffer = buffer_of(transform('map', 'base', 2.0, (1.0, 0.0, 0.0)))
    assert xyz(buffer.lookup_transform('map', 'base', at(2))) == (1.0, 0.0, 0.0)
    with pytest.raises(tf2_ros.ExtrapolationException, match=r'but only time 2\.000000 is in'):
        buffer.lookup_transform('map', 'base', at(2.5))


def test_time_zero_is_the_newest_common_time():
    buffer = buffer_of(
        *(transform('map', 'odom', t, (t, 0.0, 0.0)) for t in (1.0, 2.0, 3.0)),
        *(transform('odom', 'base', t, (0.0, t, 0.0)) for t in (1.0, 2.0)),
        static=[transform('base', 'camera')],
    )
    found = buffer.lookup_transform('map', 'camera', Time())
    assert xyz(found) == (2.0, 2.0, 0.0)
    assert found.header.stamp == at(2).to_msg()
    assert buffer.get_latest_common_time('map', 'camera').nanoseconds == 2_000_000_000


def test_the_part_above_the_common_parent_may_be_missing_at_that_time():
    buffer = buffer_of(
        transform('map', 'odom', 1.0),
        transform('odom', 'base', 5.0),
        transform('odom', 'base', 6.0),
    )
    assert buffer.can_transform('odom', 'base', at(5.5)) == 1
    assert buffer.can_transform('map', 'base', at(5.5)) == 0


def test_static_frames_hold_at_all_times_and_their_stamp_is_zero_for_time_zero():
    buffer = buffer_of(static=[transform('base', 'camera', 50.0)])
    assert buffer.lookup_transform('base', 'camera', Time()).header.stamp == TimeMsg()
    assert buffer.can_transform('base', 'camera', at(1)) == 1
    assert buffer.can_transform('base', 'camera', TimeMsg(sec=99)) == 1


def test_a_frame_may_change_its_parent():
    buffer = buffer_of(
        transform('table', 'cup', 1.0, (1.0, 0.0, 0.0)),
        transform('hand', 'cup', 2.0, (2.0, 0.0, 0.0)),
        static=[transform('map', 'table'), transform('map', 'hand', xyz=(0.0, 5.0, 0.0))],
    )
    assert xyz(buffer.lookup_transform('map', 'cup', at(1.9))) == (1.0, 0.0, 0.0)
    assert xyz(buffer.lookup_transform('map', 'cup', at(2))) == (2.0, 5.0, 0.0)


def test_samples_older_than_ten_seconds_are_gone():
    buffer = buffer_of(*(transform('map', 'base', t, (t, 0.0, 0.0)) for t in (1.0, 5.0, 12.0)))
    buffer.set_transform(transform('map', 'base', 1.5), 'too late')
    with pytest.raises(tf2_ros.ExtrapolationException, match=r'earliest data is at time 5\.0'):
        buffer.lookup_transform('map', 'base', at(4.9))
    assert xyz(buffer.lookup_transform('map', 'base', at(8.5))) == (8.5, 0.0, 0.0)


def test_samples_may_come_out_of_order_and_twice():
    buffer = buffer_of(*(transform('map', 'base', t, (t, 0.0, 0.0)) for t in (3.0, 1.0, 2.0)))
    buffer.set_transform(transform('map', 'base', 2.0, (20.0, 0.0, 0.0)), 'again')
    assert xyz(buffer.lookup_transform('map', 'base', at(2))) == (20.0, 0.0, 0.0)
    assert xyz(buffer.lookup_transform('map', 'base', at(1.5))) == (10.5, 0.0, 0.0)


@pytest.mark.parametrize(
    ('target', 'source', 'error', 'message'),
    [
        ('map', 'x', tf2_ros.LookupException, r'"x" passed to lookupTransform argument source_fr'),
        ('x', 'map', tf2_ros.LookupException, r'argument target_frame does not exist\. $'),
        ('map', 'moon', tf2_ros.ConnectivityException, r"connection between 'map' and 'moon'"),
        ('', 'map', tf2_ros.InvalidArgumentException, r'cannot be empty'),
        ('map', '/base', tf2_ros.InvalidArgumentException, r"cannot start with a '/'"),
    ],
)
def test_frames_that_cannot_be_looked_up(target, source, error, message):
    buffer = buffer_of(static=[transform('map', 'base'), transform('earth', 'moon')])
    with pytest.raises(error, match=message):
        buffer.lookup_transform(target, source, Time())
    assert issubclass(error, tf2_ros.TransformException)


def test_a_loop_is_found():
    buffer = buffer_of(static=[transform('a', 'b'), transform('b', 'a'), transform('c', 'd')])
    with pytest.raises(tf2_ros.LookupException, match='contains a loop'):
        buffer.lookup_transform('d', 'a', Time())


def test_a_frame_to_itself_is_the_identity_even_if_unknown():
    found = tf2_ros.Buffer().lookup_transform('x', 'x', at(3))
    assert xyz(found) == (0.0, 0.0, 0.0)
    assert found.transform.rotation.w == 1.0
    assert found.header.stamp == at(3).to_msg()


@pytest.mark.parametrize(
    'bad',
    [
        transform('base', 'base'),
        transform('', 'base'),
        transform('map', ''),
        transform('map', 'base', xyz=(math.nan, 0.0, 0.0)),
        transform('map', 'base', quaternion=(0.0, 0.0, 0.0, 0.0)),
        transform('map', 'base', quaternion=(0.0, 0.0, 0.0, 1.01)),
    ],
)
def test_unusable_transforms_are_ignored(bad):
    buffer = buffer_of(bad)
    with pytest.raises(tf2_ros.LookupException, match='does not exist'):
        buffer.lookup_transform('map', 'base', Time())


def test_a_leading_slash_is_stripped_when_set():
    assert buffer_of(static=[transform('/map', '/base')]).can_transform('map', 'base', Time()) == 1


def test_clear_forgets_moving_frames_and_keeps_static_ones():
    buffer = buffer_of(transform('map', 'base', 1.0), static=[transform('base', 'camera')])
    buffer.clear()
    assert buffer.can_transform('base', 'camera', Time()) == 1
    with pytest.raises(tf2_ros.ConnectivityException):
        buffer.lookup_transform('map', 'base', Time())


def test_can_transform_says_why_not():
    buffer = buffer_of(static=[transform('map', 'base')])
    assert buffer.can_transform('map', 'base', Time(), return_debug_tuple=True) == (1, '')
    possible, why = buffer.can_transform('map', 'x', Time(), return_debug_tuple=True)
    assert possible == 0
    assert '"x" passed to' in why


def test_what_is_no_time_is_refused():
    with pytest.raises(TypeError, match='expected a rclpy or builtin_interfaces Time, got float'):
        buffer_of(static=[transform('map', 'base')]).lookup_transform('map', 'base', 1.0)


def test_a_lookup_waits_for_its_transform():
    buffer = tf2_ros.Buffer()
    late = threading.Timer(0.05, buffer.set_transform, [transform('map', 'base', 1.0), 'late'])
    late.start()
    found = buffer.lookup_transform('map', 'base', at(1), timeout=Duration(seconds=5))
    assert found.child_frame_id == 'base'


def test_a_lookup_gives_up_after_its_timeout():
    started = time.monotonic()
    with pytest.raises(tf2_ros.LookupException):
        tf2_ros.Buffer().lookup_transform('map', 'base', at(1), timeout=Duration(seconds=0.1))
    assert 0.1 <= time.monotonic() - started < 2.0


def test_a_future_is_done_when_its_transform_comes():
    buffer = buffer_of(transform('map', 'base', 1.0))
    future = buffer.wait_for_transform_async('map', 'base', at(1.5))
    known = buffer.wait_for_transform_async('map', 'base', at(1))
    given_up = buffer.wait_for_transform_async('map', 'base', at(1.5))
    given_up.cancel()
    assert known.result().child_frame_id == 'base'
    assert not future.done()
    buffer.set_transform(transform('map', 'base', 2.0, (2.0, 0.0, 0.0)), 'test')
    assert xyz(future.result()) == (1.0, 0.0, 0.0)
    assert given_up.cancelled()


def test_a_jump_of_time_clears_the_buffer():
    buffer = buffer_of(transform('map', 'base', 1.0))
    buffer.time_jump_callback(TimeJump(ClockChange.ROS_TIME_NO_CHANGE, Duration(seconds=-5)))
    assert buffer.can_transform('map', 'base', Time()) == 0


@pytest.fixture
def graph():
    """Yield a node and its executor in a context of its own; `until` spins with a deadline."""
    context = rclpy.Context()
    context.init()
    node = rclpy.create_node('tf2_test', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def until(condition):
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline
            executor.spin_once(timeout_sec=0.02)

    yield SimpleNamespace(node=node, until=until)
    executor.shutdown()
    node.destroy_node()
    context.shutdown()


def test_frames_travel_over_dds_and_static_ones_reach_a_late_listener(graph):
    static = tf2_ros.StaticTransformBroadcaster(graph.node)
    static.sendTransform(transform('base', 'left', xyz=(0.0, 1.0, 0.0)))
    static.sendTransform([transform('base', 'right', xyz=(0.0, -1.0, 0.0))])
    moving = tf2_ros.TransformBroadcaster(graph.node)
    buffer = tf2_ros.Buffer(node=graph.node)
    listener = tf2_ros.TransformListener(buffer, graph.node)
    graph.until(lambda: buffer.can_transform('left', 'right', Time()))
    graph.until(moving.pub_tf.get_subscription_count)
    moving.sendTransform(transform('map', 'base', 3.0, (3.0, 0.0, 0.0)))
    graph.until(lambda: buffer.can_transform('map', 'left', at(3)))
    assert xyz(buffer.lookup_transform('map', 'left', at(3))) == (3.0, 1.0, 0.0)
    listener.unregister()


def test_a_listener_with_its_own_thread_fills_while_the_caller_waits(graph):
    other = rclpy.create_node('tf2_listener', context=graph.node.context)
    buffer = tf2_ros.Buffer(node=other)
    listener = tf2_ros.TransformListener(buffer, other, spin_thread=True)
    static = tf2_ros.StaticTransformBroadcaster(graph.node)
    static.sendTransform(transform('base', 'camera'))
    found = buffer.lookup_transform('base', 'camera', Time(), timeout=Duration(seconds=10))
    assert found.child_frame_id == 'camera'
    listener.unregister()
    other.destroy_node()


def test_a_restarted_recording_clears_the_buffer(graph):
    graph.node.set_parameters([Parameter('use_sim_time', value=True)])
    buffer = tf2_ros.Buffer(node=graph.node)
    clock = graph.node.create_publisher(Clock, '/clock', 1)
    graph.until(clock.get_subscription_count)
    clock.publish(Clock(clock=at(100).to_msg()))
    graph.until(lambda: graph.node.get_clock().now().nanoseconds == 100_000_000_000)
    buffer.set_transform(transform('map', 'base', 99.0), 'test')
    clock.publish(Clock(clock=at(10).to_msg()))
    graph.until(lambda: graph.node.get_clock().now().nanoseconds == 10_000_000_000)
    assert buffer.can_transform('map', 'base', Time()) == 0
