"""Stand-in for the ROS package message_filters where ROS is not installed from apt.

The real one: https://github.com/ros2/message_filters. The classes here take the same arguments
and pair messages by the same rules as those of ROS 2 Jazzy, including the less welcome ones: a
difference of exactly `slop` does not pair, and unmatched messages wait until `queue_size` pushes
them out. One thing is kinder: an exception in a callback does not leave the lock held for ever.
"""

import itertools
import operator
import threading
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.clock import ROSClock
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.time import Time

__all__ = [
    'ApproximateTimeSynchronizer',
    'Cache',
    'SimpleFilter',
    'Subscriber',
    'TimeSynchronizer',
]


class SimpleFilter:
    """A source of messages to which callbacks and other filters connect."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable, tuple]] = {}

    def registerCallback(self, cb: Callable, *args: Any) -> int:
        """Call `cb(*messages, *args)` for every output from now on; return the connection."""
        connection = len(self.callbacks)
        self.callbacks[connection] = (cb, args)
        return connection

    def signalMessage(self, *msg: Any) -> None:
        """Give messages to every callback, in the order of registration, in this thread."""
        for callback, args in self.callbacks.values():
            callback(*msg, *args)


class Subscriber(SimpleFilter):
    """A subscription as a filter.

    Args:
        node: The node that subscribes.
        msg_type: Type of the messages.
        topic: Name of the topic.
        **kwargs: Passed to `node.create_subscription`; `qos_profile` defaults to 10 (reliable).

    Attributes that the filter lacks are those of the subscription, `sub`.
    """

    def __init__(self, node: Node, msg_type: type, topic: str, /, **kwargs: Any) -> None:
        super().__init__()
        self.node = node
        self.topic = topic
        kwargs.setdefault('qos_profile', 10)
        self.sub = node.create_subscription(msg_type, topic, self.callback, **kwargs)

    def callback(self, msg: Any) -> None:
        """Pass on one message."""
        self.signalMessage(msg)

    def getTopic(self) -> str:
        """Return the name of the topic as it was given."""
        return self.topic

    def __getattr__(self, name: str) -> Any:
        if name == 'sub':  # not subscribed yet: do not look it up in itself
            raise AttributeError(name)
        return getattr(self.sub, name)


def _stamp(msg: Any, allow_headerless: bool, owner: str) -> Time | None:
    """Return the stamp of a message; for one without a header, now or (not allowed) None."""
    if hasattr(msg, 'header') and hasattr(msg.header, 'stamp'):
        return Time.from_msg(msg.header.stamp)
    if allow_headerless:
        return ROSClock().now()
    get_logger('message_filters').warning(
        f'{owner} drops a {type(msg).__name__}, which has no header.stamp; '
        'pass allow_headerless=True to take the time of its arrival'
    )
    return None


class Cache(SimpleFilter):
    """The newest messages, kept for look-up by time.

    Args:
        f: Filter that feeds the cache; None: only `add` does.
        cache_size: How many messages to keep.
        allow_headerless: Take messages without header at the time of their arrival.

    Times are rclpy Times of the ROS clock; comparing with another clock raises TypeError.
    """

    def __init__(
        self, f: SimpleFilter | None = None, cache_size: int = 1, allow_headerless: bool = False
    ) -> None:
        super().__init__()
        self.cache_size = cache_size
        self.allow_headerless = allow_headerless
        self._entries: list[tuple[Time, Any]] = []
        if f is not None:
            self.connectInput(f)

    def connectInput(self, f: SimpleFilter) -> None:
        """Take messages from `f` from now on."""
        self.incoming_connection = f.registerCallback(self.add)

    def add(self, msg: Any) -> None:
        """Store one message and pass it on."""
        stamp = _stamp(msg, self.allow_headerless, 'Cache')
        if stamp is None:
            return
        self._entries.append((stamp, msg))
        del self._entries[: -self.cache_size]
        self.signalMessage(msg)

    def getInterval(self, from_stamp: Time, to_stamp: Time) -> list[Any]:
        """Return the messages from one time to another, both inclusive."""
        return [msg for stamp, msg in self._entries if from_stamp <= stamp <= to_stamp]

    def getElemAfterTime(self, stamp: Time) -> Any | None:
        """Return the oldest message at or after a time, or None."""
        return min(
            (entry for entry in self._entries if entry[0] >= stamp),
            key=operator.itemgetter(0),
            default=(None, None),
        )[1]

    def getElemBeforeTime(self, stamp: Time) -> Any | None:
        """Return the newest message at or before a time, or None."""
        return max(
            (entry for entry in self._entries if entry[0] <= stamp),
            key=operator.itemgetter(0),
            default=(None, None),
        )[1]

    def getLast(self) -> Any | None:
        """Return the message with the newest stamp, or None."""
        return max(self._entries, key=operator.itemgetter(0), default=(None, None))[1]

    def getLastestTime(self) -> Time | None:  # the real class spells it so
        """Return the newest stamp, or None."""
        return max((stamp for stamp, _ in self._entries), default=None)

    def getOldestTime(self) -> Time | None:
        """Return the oldest stamp, or None."""
        return min((stamp for stamp, _ in self._entries), default=None)


class TimeSynchronizer(SimpleFilter):
    """Fires with one message of every input once all have the same stamp.

    Args:
        fs: The inputs.
        queue_size: How many messages of each input wait for their partners.

    Callbacks run with the lock held: hand the messages on, and feed no input from there.
    """

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int) -> None:
        super().__init__()
        self.queue_size = queue_size
        self.lock = threading.Lock()
        self.connectInput(fs)

    def connectInput(self, fs: Sequence[SimpleFilter]) -> None:
        """Take messages from these filters from now on, starting with empty queues."""
        self.queues: list[dict[int, Any]] = [{} for _ in fs]
        self.input_connections = [
            f.registerCallback(self.add, queue, index)
            for index, (f, queue) in enumerate(zip(fs, self.queues, strict=True))
        ]

    def add(self, msg: Any, my_queue: dict[int, Any], my_queue_index: int | None = None) -> None:
        """Store one message of an input; fire if it completes a set."""
        stamp_ns = Time.from_msg(msg.header.stamp).nanoseconds
        with self.lock:
            self._store(my_queue, stamp_ns, msg)
            if all(stamp_ns in queue for queue in self.queues):
                self._fire([stamp_ns] * len(self.queues))

    def _store(self, queue: dict[int, Any], stamp_ns: int, msg: Any) -> None:
        queue[stamp_ns] = msg
        while len(queue) > self.queue_size:
            del queue[min(queue)]

    def _fire(self, stamps_ns: Sequence[int]) -> None:
        """Give the messages with these stamps, one of each queue, to the callbacks."""
        pairs = zip(self.queues, stamps_ns, strict=True)
        self.signalMessage(*[queue.pop(stamp_ns) for queue, stamp_ns in pairs])


class ApproximateTimeSynchronizer(TimeSynchronizer):
    """Fires with one message of every input once their stamps lie closer than `slop`.

    Args:
        fs: The inputs.
        queue_size: How many messages of each input wait for their partners.
        slop: Stamps of a set differ by less than this [s].
        allow_headerless: Take messages without header at the time of their arrival.

    At most one set fires per arriving message: the one nearest to it. Sets can come out of order.
    """

    def __init__(
        self,
        fs: Sequence[SimpleFilter],
        queue_size: int,
        slop: float,
        allow_headerless: bool = False,
    ) -> None:
        super().__init__(fs, queue_size)
        self.slop = Duration(seconds=slop)
        self.allow_headerless = allow_headerless

    def add(self, msg: Any, my_queue: dict[int, Any], my_queue_index: int | None = None) -> None:
        """Store one message of an input; fire if it completes a set."""
        stamp = _stamp(msg, self.allow_headerless, 'ApproximateTimeSynchronizer')
        if stamp is None:
            return
        with self.lock:
            self._store(my_queue, stamp.nanoseconds, msg)
            match = self._match(stamp.nanoseconds, my_queue)
            if match is not None:
                self._fire(match)

    def _match(self, stamp_ns: int, my_queue: dict[int, Any]) -> tuple[int, ...] | None:
        """Return the stamps, one of each queue, of the set nearest to a stamp, or None."""
        if stamp_ns not in my_queue:  # older than all that wait, so pushed out at once
            return None
        slop_ns = self.slop.nanoseconds
        candidates = [
            [stamp_ns] if queue is my_queue else self._near(stamp_ns, queue)
            for queue in self.queues
        ]
        return next(
            (
                stamps_ns
                for stamps_ns in itertools.product(*candidates)
                if max(stamps_ns) - min(stamps_ns) < slop_ns
            ),
            None,
        )

    def _near(self, stamp_ns: int, queue: dict[int, Any]) -> list[int]:
        """Return the stamps of a queue not farther than `slop`, nearest first."""
        distances = sorted((abs(other - stamp_ns), other) for other in queue)
        return [other for distance, other in distances if distance <= self.slop.nanoseconds]
