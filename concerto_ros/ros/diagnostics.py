"""Diagnostics: /diagnostics once a second, from numbers that others have written down."""

import time
from collections import Counter, deque

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from concerto_ros.ros.activity import Activity
from concerto_ros.ros.camera_input import CameraInput
from concerto_ros.ros.cameras import Cameras
from concerto_ros.ros.diagnosis import CameraFacts, camera_status, map_status, worker_status
from concerto_ros.ros.problems import Problems
from concerto_ros.ros.worker import LatestWorker

_PERIOD = 1.0  # [s], of diagnostic aggregators
_WINDOW = 5  # periods over which is counted what is told as recent


class Diagnostics:
    """Publishes how cameras, worker and map are.

    Args:
        node: Whose they are.
        cameras: All of them.
        problems: Where they report.
        activity: Where the worker writes.
        worker: For its errors.
    """

    def __init__(
        self,
        node: Node,
        cameras: Cameras,
        problems: Problems,
        activity: Activity,
        worker: LatestWorker,
    ) -> None:
        self._node = node
        self._cameras = cameras
        self._problems = problems
        self._activity = activity
        self._worker = worker
        self._recent = {camera.name: _Recent() for camera in cameras}
        self._recent_errors = _Recent()
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._timer = node.create_timer(
            _PERIOD, problems.guarded(self._publish), clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def _publish(self) -> None:
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        name = self._node.get_fully_qualified_name().lstrip('/')
        for part, status in self._statuses().items():
            status.name = f'{name}: {part}'
            message.status.append(status)
        self._publisher.publish(message)

    def _statuses(self) -> dict[str, DiagnosticStatus]:
        statuses = {
            f'camera {camera.name}'.strip(): camera_status(self._facts(camera))
            for camera in self._cameras
        }
        num_errors = self._worker.num_failures
        new, _ = self._recent_errors.of(Counter(errors=num_errors))
        statuses['worker'] = worker_status(
            self._activity.take_seconds(),
            self._activity.running(),
            self._activity.failures(),
            num_errors,
            new['errors'],
        )
        autosaved = self._activity.autosaved
        age = None if autosaved is None else time.monotonic() - autosaved
        statuses['map'] = map_status(self._activity.map_size, age)
        return statuses

    def _facts(self, camera: CameraInput) -> CameraFacts:
        reporter = self._problems.of(camera.name)
        counts = reporter.so_far()
        counts.update(pairs=camera.num_pairs, fused=self._activity.num_fused(camera.name))
        recent, seconds = self._recent[camera.name].of(counts)
        return CameraFacts(
            topic=camera.topic,
            counts=counts,
            recent=recent,
            seconds=seconds,
            age=None if camera.newest is None else time.monotonic() - camera.newest,
            silence=camera.why_silent(),
            sentences=reporter.sentences,
        )


class _Recent:
    """What was counted lately."""

    def __init__(self) -> None:
        self._history = deque([(time.monotonic(), Counter[str]())], maxlen=_WINDOW)

    def of(self, counts: Counter[str]) -> tuple[Counter[str], float]:
        """Return how much counts have risen since some periods ago, and how long that is [s]."""
        now = time.monotonic()
        start, before = self._history[0]
        self._history.append((now, counts))
        return counts - before, now - start
