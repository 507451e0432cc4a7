"""Why a transform is not to be had."""


class TransformException(Exception):  # noqa: N818 - the name of the real one
    """Base of all of them."""


class LookupException(TransformException):
    """A frame is unknown, or the frames form a loop."""


class ConnectivityException(TransformException):
    """Two frames belong to different trees."""


class ExtrapolationException(TransformException):
    """The time asked for lies outside the samples of a frame."""


class InvalidArgumentException(TransformException):
    """The name of a frame is empty or begins with a slash."""


class TimeoutException(TransformException):
    """A transform did not come in time; `Buffer` itself never raises it."""
