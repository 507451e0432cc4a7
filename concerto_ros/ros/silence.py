"""Why no frames come, or fewer than images: the questions that users of a camera ask most."""

from collections.abc import Collection

import numpy as np

from concerto_ros.ros.adaptive_subscription import AdaptiveSubscription
from concerto_ros.ros.conversions import SECOND_NS
from concerto_ros.ros.image_pairing import ImagePairing
from concerto_ros.ros.parameters import NodeParameters
from concerto_ros.ros.problems import Reporter

_MANY = 0.1  # share of images without a partner that is worth a report; some are lost at any start
_SIMILAR = 0.7  # of the images on one topic: so many at least on the other
_FEW_GAPS = 0.3  # share of longer steps between stamps that a camera makes by itself
_LOSS_CURE = (
    'Fast DDS loses large messages that do not fit into its shared memory: start the camera '
    'driver with config/fastdds_shm.xml (README, "Large images and lost frames"), or lower its '
    'rate or resolution'
)


class SilenceWatch:
    """Reports why there are no pairs of images, once per reason, and how many found no partner.

    Args:
        parameters: For `input.slop`.
        problems: Where to report; its period is how long silence has to last.
        images: Subscriptions of colour and depth.
        color_info: Subscription of the calibration.
        pairing: Of the images, in this order.

    Attributes:
        reason: Why there were no pairs in the last period; empty if there were, or if unknown.
    """

    def __init__(
        self,
        parameters: NodeParameters,
        problems: Reporter,
        images: tuple[AdaptiveSubscription, AdaptiveSubscription],
        color_info: AdaptiveSubscription,
        pairing: ImagePairing,
    ) -> None:
        self._parameters = parameters
        self._problems = problems
        self._images = images
        self._color_info = color_info
        self._pairing = pairing
        self._before = self._counts()
        self.reason = ''
        problems.before_report(self._check)

    def _counts(self) -> np.ndarray:
        """Return (4, 2): pairs, messages, images with a stamp, and those without a partner."""
        pairing = self._pairing
        messages = [image.num_received for image in self._images]
        return np.array(
            [[pairing.num_pairs] * 2, messages, pairing.num_received, pairing.num_unpaired]
        )

    def _check(self) -> None:
        now = self._counts()
        pairs, messages, images, unpaired = (now - self._before).tolist()
        self._before = now
        if pairs[0]:
            self.reason = ''
            self._report_unpaired(images, unpaired)
            return
        reason, numbers = self._silence(messages, images)
        if reason and reason != self.reason:
            self._problems.add('silence', f'no frames: {numbers}{reason}')
        self.reason = reason

    def _report_unpaired(self, images: list[int], unpaired: list[int]) -> None:
        for index, name in enumerate(('color', 'depth')):
            if unpaired[index] > _MANY * images[index]:
                self._problems.add(
                    f'unpaired_{name}',
                    f'{unpaired[index]} of {images[index]} images on {self._images[index].topic} '
                    f'found no partner on {self._images[1 - index].topic}: '
                    f'{self._numbers(images)}{self._why_unpaired(images)}',
                    count=unpaired[index],
                )

    def _silence(self, messages: list[int], images: list[int]) -> tuple[str, str]:
        """Return why so many messages made no pair, empty if that is told already; and numbers."""
        silent = [
            _why_silent(image)
            for image, count in zip(self._images, messages, strict=True)
            if not count
        ]
        if not self._color_info.num_received:
            silent.append(_why_silent(self._color_info))
        if silent:
            return '; '.join(silent), ''
        if not all(images):  # refused for their stamps
            return '', ''
        return self._why_unpaired(images), f'images do not pair: {self._numbers(images)}'

    def _numbers(self, images: list[int]) -> str:
        color, depth = self._images
        return (
            f'{images[0]} came on {color.topic} and {images[1]} on {depth.topic}, and their '
            f'nearest stamps are {_nearest(*self._pairing.recent):.3f} s apart'
        )

    def _why_unpaired(self, images: list[int]) -> str:
        """Return cause and cure, without numbers that change."""
        if min(images) < _SIMILAR * max(images):
            return f'; unless one camera is slower, images are lost. {_LOSS_CURE}'
        if any(_has_gaps(stamps) for stamps in self._pairing.recent):
            return f', with gaps: images are lost. {_LOSS_CURE}'
        slop = self._parameters.config.input.slop
        if _nearest(*self._pairing.recent) < slop:
            return '; one may come late (raise input.queue_size), or raise input.slop'
        return (
            f', more than input.slop ({slop:g} s); synchronise the clocks of the two, or raise '
            'input.slop'
        )


def _nearest(stamps: Collection[int], others: Collection[int]) -> float:
    """Return the smallest difference [s] between two series of stamps [ns]; infinite if none."""
    difference = np.subtract.outer(np.array(stamps), np.array(others)) / SECOND_NS
    return float(np.abs(difference).min(initial=np.inf))


def _has_gaps(stamps: Collection[int]) -> bool:
    """Tell whether many steps between stamps are longer than the usual step of this camera."""
    steps = np.diff(np.unique(np.array(stamps)))
    if len(steps) < 3:
        return False
    return float((steps > 1.5 * np.quantile(steps, 0.1)).mean()) > _FEW_GAPS


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
