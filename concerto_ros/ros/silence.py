"""Why no frames come: the question that users of a camera ask most."""

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from concerto_ros.ros.adaptive_subscription import AdaptiveSubscription
from concerto_ros.ros.parameters import NodeParameters
from concerto_ros.ros.problems import Problems


class SilenceWatch:
    """Reports once why there are no pairs of images, and again when the reason changes.

    Args:
        node: Whose executor is used.
        parameters: `publish.warning_period` is how long silence has to last.
        problems: Where to report.
        images: Subscriptions of colour and depth.
        color_info: Subscription of the calibration.

    Attributes:
        num_pairs: To be counted up with every pair of images.
    """

    def __init__(
        self,
        node: Node,
        parameters: NodeParameters,
        problems: Problems,
        images: tuple[AdaptiveSubscription, AdaptiveSubscription],
        color_info: AdaptiveSubscription,
    ) -> None:
        self.num_pairs = 0
        self._parameters = parameters
        self._problems = problems
        self._images = images
        self._color_info = color_info
        self._before = [0, 0, 0]
        self._told = ''
        self._timer = node.create_timer(
            parameters.config.publish.warning_period,
            self._check,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

    def _check(self) -> None:
        now = [self.num_pairs, *(image.num_received for image in self._images)]
        new_pairs, *new_images = (b - a for a, b in zip(self._before, now, strict=True))
        self._before = now
        reason = '' if new_pairs else self._reason(new_images)
        if reason and reason != self._told:
            self._problems.add('silence', reason)
        self._told = reason

    def _reason(self, new_images: list[int]) -> str:
        silent = [
            _why_silent(image)
            for image, count in zip(self._images, new_images, strict=True)
            if not count
        ]
        if not self._color_info.num_received:
            silent.append(_why_silent(self._color_info))
        if silent:
            return f'no frames: {"; ".join(silent)}'
        color, depth = self._images
        slop = self._parameters.config.input.slop
        return (
            f'no frames: images on {color.topic} and {depth.topic} never have stamps within '
            f'{slop:g} s; synchronise the clocks of the two, or raise input.slop'
        )


def _why_silent(subscription: AdaptiveSubscription) -> str:
    topic, types = subscription.topic, subscription.publisher_types()
    if not types:
        return f'{topic} has no publisher (start the camera, or remap the topic to its own)'
    if subscription.message_type_name not in types:
        return (
            f'{topic} is a {types[0]}, expected a {subscription.message_type_name} '
            '(see input.color_transport and input.depth_transport)'
        )
    return f'nothing arrives on {topic} though it has a publisher'
