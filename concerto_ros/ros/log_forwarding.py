"""What the core logs goes to the log of the node."""

import logging
from collections.abc import Callable

from rclpy.impl.rcutils_logger import RcutilsLogger


class RosHandler(logging.Handler):
    """Passes records of Python's logging on to the logger of a node, traceback included."""

    def __init__(self, ros_logger: RcutilsLogger) -> None:
        super().__init__()
        self._ros_logger = ros_logger
        self.setFormatter(logging.Formatter('%(message)s'))

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record with the severity nearest to its own."""
        message = self.format(record)
        # ROS allows one severity per line of code, so each has a line of its own
        if record.levelno >= logging.CRITICAL:
            self._ros_logger.fatal(message)
        elif record.levelno >= logging.ERROR:
            self._ros_logger.error(message)
        elif record.levelno >= logging.WARNING:
            self._ros_logger.warning(message)
        elif record.levelno >= logging.INFO:
            self._ros_logger.info(message)
        else:
            self._ros_logger.debug(message)


def forward_logging(ros_logger: RcutilsLogger, name: str = 'concerto_ros') -> Callable[[], None]:
    """Send all that is logged below `name` to `ros_logger`, whose level decides what is shown.

    Returns:
        A function that ends it.
    """
    logger = logging.getLogger(name)
    level, handler = logger.level, RosHandler(ros_logger)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)

    def end() -> None:
        logger.removeHandler(handler)
        logger.setLevel(level)

    return end
