"""A subscription that takes the quality of service that its publishers offer."""

from collections.abc import Callable, Sequence
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from concerto_ros.config.schema import Qos
from concerto_ros.ros.problems import Reporter

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # its name in Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

_DEPTH = 5
_POLL_PERIOD = 0.25  # seconds; publishers come and go rarely

_RELIABILITY = {
    'reliable': ReliabilityPolicy.RELIABLE,
    'best_effort': ReliabilityPolicy.BEST_EFFORT,
}


def offered_qos(publishers: Sequence[QoSProfile]) -> QoSProfile:
    """Return the strongest quality of service that connects to all publishers.

    Reliable if all of them are, and with the messages of before the subscription if all keep
    them (a calibration is often published just once). Without publishers it is the weakest,
    which connects to whatever comes.
    """
    reliable = bool(publishers) and all(
        p.reliability != ReliabilityPolicy.BEST_EFFORT for p in publishers
    )
    latched = reliable and all(
        p.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in publishers
    )
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


class AdaptiveSubscription:
    """A subscription whose quality of service follows the publishers, or is fixed.

    With `auto` it is subscribed anew when publishers that come or go offer something else.

    Args:
        node: The node that subscribes.
        message_type: Type of the messages.
        topic: Name; remappings apply.
        callback: Called with each message; errors that nobody foresaw are counted.
        qos: What to ask for.
        problems: Where to report these, and publishers that offer less than `qos`.

    Attributes:
        topic: Name after all remappings.
        message_type_name: Such as 'sensor_msgs/msg/Image'.
        num_received: Messages so far.
    """

    def __init__(
        self,
        node: Node,
        message_type: type,
        topic: str,
        callback: Callable[[Any], None],
        *,
        qos: Qos,
        problems: Reporter,
    ) -> None:
        self.topic: str = node.resolve_topic_name(topic)
        package, *_, name = (*message_type.__module__.split('.'), message_type.__name__)
        self.message_type_name = f'{package}/msg/{name}'
        self.num_received = 0
        self._node = node
        self._message_type = message_type
        self._asked_topic = topic
        self._callback = callback
        self._problems = problems
        self._asked = qos
        self._qos = self._first_qos()
        self._subscription = self._subscribe()
        if qos == 'auto':
            clock = Clock(clock_type=ClockType.STEADY_TIME)
            self._timer = node.create_timer(
                _POLL_PERIOD, problems.guarded(self._adapt), clock=clock
            )

    def publisher_types(self) -> list[str]:
        """Return the message type of every publisher of the topic."""
        return [publisher.topic_type for publisher in self._publishers()]

    def _publishers(self) -> list[Any]:
        return list(self._node.get_publishers_info_by_topic(self.topic))

    def _first_qos(self) -> QoSProfile:
        if self._asked == 'auto':
            return offered_qos([publisher.qos_profile for publisher in self._publishers()])
        return QoSProfile(depth=_DEPTH, reliability=_RELIABILITY[self._asked])

    def _adapt(self) -> None:
        publishers = self._publishers()
        wanted = offered_qos([publisher.qos_profile for publisher in publishers])
        if publishers and wanted != self._qos:
            self._qos = wanted
            self._node.destroy_subscription(self._subscription)
            self._subscription = self._subscribe()

    def _subscribe(self) -> Any:
        events = SubscriptionEventCallbacks(incompatible_qos=self._report_incompatible)
        return self._node.create_subscription(
            self._message_type,
            self._asked_topic,
            self._problems.guarded(self._receive),
            self._qos,
            event_callbacks=events,
        )

    def _receive(self, message: Any) -> None:
        self.num_received += 1
        self._callback(message)

    def _report_incompatible(self, event: Any) -> None:
        self._problems.add(
            'qos',
            f'{self.topic}: a publisher offers best effort, but parameter "input.qos" asks for '
            f'{self._asked}, so nothing of it arrives; set input.qos to auto or best_effort',
        )
