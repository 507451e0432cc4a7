import threading
import time
from types import SimpleNamespace

import pytest
import rclpy
from message_filters import (
    ApproximateTimeSynchronizer,
    Cache,
    SimpleFilter,
    Subscriber,
    TimeSynchronizer,
)
from rclpy.clock import ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.time import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Int32

pytestmark = pytest.mark.ros


def stamped(stamp_ms, **header):
    message = Image()
    message.header.stamp = Time(nanoseconds=round(stamp_ms * 1e6)).to_msg()
    return message


def stamp_ms(message):
    return Time.from_msg(message.header.stamp).nanoseconds / 1e6


def pairs_of(slop, arrivals, queue_size=10, num_inputs=2):
    """Feed (input, stamp [ms]) in order; return the sets of stamps that come out."""
    inputs = [SimpleFilter() for _ in range(num_inputs)]
    synchronizer = ApproximateTimeSynchronizer(inputs, queue_size, slop)
    sets = []
    synchronizer.registerCallback(lambda *messages: sets.append(tuple(map(stamp_ms, messages))))
    for index, stamp in arrivals:
        inputs[index].signalMessage(stamped(stamp))
    return sets, synchronizer


def test_callbacks_run_in_order_with_their_own_arguments():
    calls = []
    source = SimpleFilter()
    assert source.registerCallback(lambda *values: calls.append(values), 'first') == 0
    assert source.registerCallback(lambda *values: calls.append(values), 'second') == 1
    source.signalMessage(1, 2)
    assert calls == [(1, 2, 'first'), (1, 2, 'second')]


def test_nearest_messages_pair_whatever_their_order():
    sets, _ = pairs_of(0.02, [(0, 100), (1, 130), (0, 131), (1, 110)])
    assert sets == [(131, 130), (100, 110)]


def test_a_difference_of_exactly_slop_does_not_pair():
    assert pairs_of(0.05, [(0, 100), (1, 150)])[0] == []
    assert pairs_of(0.05, [(0, 100), (1, 149.999)])[0] == [(100, 149.999)]


@pytest.mark.parametrize('slop', [0.0, -1.0])
def test_without_slop_not_even_equal_stamps_pair(slop):
    assert pairs_of(slop, [(0, 100), (1, 100)])[0] == []


def test_an_unmatched_message_still_pairs_later():
    sets, _ = pairs_of(0.05, [(0, 100), (0, 130), (1, 135), (1, 101)])
    assert sets == [(130, 135), (100, 101)]


def test_one_set_fires_per_message_and_only_its_messages_go():
    sets, synchronizer = pairs_of(0.05, [(0, 100), (0, 110), (1, 105)])
    assert sets == [(100, 105)]
    assert [sorted(queue) for queue in synchronizer.queues] == [[110_000_000], []]


def test_the_oldest_stamps_leave_a_full_queue():
    sets, synchronizer = pairs_of(0.05, [(0, 300), (0, 400), (0, 100), (1, 110)], queue_size=2)
    assert sets == []
    assert sorted(synchronizer.queues[0]) == [300_000_000, 400_000_000]


def test_an_arrival_older_than_a_full_queue_does_not_pair():
    assert pairs_of(0.05, [(1, 100), (0, 300), (0, 100)], queue_size=1)[0] == []


def test_three_inputs_need_all_three_close_together():
    sets, _ = pairs_of(0.05, [(0, 100), (1, 140), (2, 160), (2, 120)], num_inputs=3)
    assert sets == [(100, 140, 120)]


def test_a_message_without_header_needs_permission():
    inputs = [SimpleFilter(), SimpleFilter()]
    strict = ApproximateTimeSynchronizer(inputs, 5, 10.0)
    lenient = ApproximateTimeSynchronizer(inputs, 5, 10.0, allow_headerless=True)
    calls = []
    strict.registerCallback(lambda *messages: calls.append('strict'))
    lenient.registerCallback(lambda *messages: calls.append('lenient'))
    for source in inputs:
        source.signalMessage(Int32())
    assert calls == ['lenient']


def test_time_synchronizer_pairs_equal_stamps_only():
    inputs = [SimpleFilter(), SimpleFilter()]
    synchronizer = TimeSynchronizer(inputs, 2)
    sets = []
    synchronizer.registerCallback(lambda a, b: sets.append((stamp_ms(a), stamp_ms(b))))
    for index, stamp in [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3.001), (1, 3)]:
        inputs[index].signalMessage(stamped(stamp))
    assert sets == [(2, 2), (3, 3)]


def test_an_error_in_a_callback_does_not_stop_the_synchronizer():
    inputs = [SimpleFilter(), SimpleFilter()]
    synchronizer = TimeSynchronizer(inputs, 5)
    synchronizer.registerCallback(lambda a, b: 1 / 0)
    inputs[0].signalMessage(stamped(1))
    with pytest.raises(ZeroDivisionError):
        inputs[1].signalMessage(stamped(1))
    assert not synchronizer.lock.locked()


def test_cache_finds_messages_by_time():
    source = SimpleFilter()
    cache = Cache(source, cache_size=3)
    assert cache.getLast() is None
    assert cache.getOldestTime() is None
    for stamp in (10, 20, 40, 30):
        source.signalMessage(stamped(stamp))
    at_25 = Time(nanoseconds=25_000_000, clock_type=ClockType.ROS_TIME)
    at_30 = Time(nanoseconds=30_000_000, clock_type=ClockType.ROS_TIME)
    assert stamp_ms(cache.getElemAfterTime(at_25)) == 30
    assert stamp_ms(cache.getElemBeforeTime(at_25)) == 20
    assert [stamp_ms(message) for message in cache.getInterval(at_25, at_30)] == [30]
    assert stamp_ms(cache.getLast()) == 40
    assert cache.getLastestTime().nanoseconds == 40_000_000
    assert cache.getOldestTime().nanoseconds == 20_000_000
    with pytest.raises(TypeError, match='clock'):
        cache.getElemAfterTime(Time(nanoseconds=1, clock_type=ClockType.SYSTEM_TIME))


@pytest.fixture
def graph():
    """Yield a node with its executor in a context of its own."""
    context = rclpy.Context()
    context.init()
    node = rclpy.create_node('message_filters_test', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    yield SimpleNamespace(node=node, executor=executor)
    executor.shutdown()
    node.destroy_node()
    context.shutdown()


def test_subscribers_feed_a_synchronizer_over_dds(graph):
    inputs = [Subscriber(graph.node, Image, name, qos_profile=5) for name in ('color', 'depth')]
    synchronizer = ApproximateTimeSynchronizer(inputs, 5, 0.01)
    sets = []
    synchronizer.registerCallback(lambda a, b: sets.append((stamp_ms(a), stamp_ms(b))))
    publishers = [graph.node.create_publisher(Image, name, 5) for name in ('color', 'depth')]
    deadline = time.monotonic() + 10
    while not all(p.get_subscription_count() for p in publishers):
        assert time.monotonic() < deadline
        graph.executor.spin_once(timeout_sec=0.01)
    publishers[0].publish(stamped(100))
    publishers[1].publish(stamped(104))
    while not sets:
        assert time.monotonic() < deadline
        graph.executor.spin_once(timeout_sec=0.1)
    assert sets == [(100, 104)]
    assert inputs[0].getTopic() == 'color'
    assert inputs[0].topic_name == '/color'


def test_subscriber_takes_the_topic_by_position_only(graph):
    with pytest.raises(TypeError, match='topic'):
        Subscriber(graph.node, Image, topic='color')
    with pytest.raises(TypeError, match='positional'):
        Subscriber(graph.node, Image, 'color', 10)


def test_inputs_from_several_threads_lose_no_pair():
    inputs = [SimpleFilter(), SimpleFilter()]
    synchronizer = ApproximateTimeSynchronizer(inputs, 100, 0.0005)
    sets = []
    synchronizer.registerCallback(lambda *messages: sets.append(messages))
    feed = lambda source: [source.signalMessage(stamped(stamp)) for stamp in range(1, 101)]  # noqa: E731
    threads = [threading.Thread(target=feed, args=(source,)) for source in inputs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sets) == 100
