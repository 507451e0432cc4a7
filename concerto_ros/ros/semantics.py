"""Semantics: the network at work beside the worker, which goes on with the map."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from rclpy.node import Node

from concerto_ros.errors import ConcertoError
from concerto_ros.model import FeaturePyramid
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.ros.activity import Activity
from concerto_ros.ros.job_threads import JobThreads
from concerto_ros.semantic_map.network_input import Window

_CURE = 'labels stay as they are; if memory ran out, lower semantics.max_points'


class _Result(NamedTuple):
    """What came of a window of the map of an epoch; None: nothing, as the network failed."""

    window: Window
    epoch: int
    pyramids: Sequence[FeaturePyramid] | None


class Semantics:
    """Has the network look at what changed, one window at a time.

    The worker reads a window of the map and writes what came of it, both in `upkeep`; a thread of
    its own runs the network in between. What is no longer of this map is dropped. An error is
    logged when it comes for the first time.

    Args:
        node: For its logger.
        pipeline: The map and the network.
        activity: Where times are noted.
        wake: Has the worker call `upkeep` soon.

    Attributes:
        num_windows: How often the network has looked.
    """

    def __init__(
        self,
        node: Node,
        pipeline: PerceptionPipeline,
        activity: Activity,
        wake: Callable[[], None],
    ) -> None:
        self.num_windows = 0
        self._logger = node.get_logger()
        self._pipeline = pipeline
        self._activity = activity
        self._wake = wake
        self._thread = JobThreads(node, 'network')
        self._is_unread = False  # there may be something that the network should look at
        self._is_looking = False
        self._begun = float('-inf')
        self._result: _Result | None = None
        self._told: set[str] = set()
        self._after_labels: Callable[[], None] = lambda: None

    @property
    def is_settled(self) -> bool:
        """Whether the network has looked at all that changed enough, as far as is known."""
        return not (self._is_unread or self._is_looking)

    def on_labels(self, callback: Callable[[], None]) -> None:
        """Have a function called on the worker's thread when labels were written or forgotten."""
        self._after_labels = callback

    def labels_changed(self) -> None:
        """Tell whom `on_labels` named."""
        self._after_labels()

    def map_changed(self) -> None:
        """Look again; on the worker's thread."""
        self._is_unread = True

    def upkeep(self, period: float) -> float:
        """Write what came of a window, and begin with the next one; on the worker's thread.

        Args:
            period: Shortest time between two beginnings [s].

        Returns:
            Seconds until there is more to do; infinite: not before something happens.
        """
        if self._result is not None:
            result, self._result, self._is_looking = self._result, None, False
            self._finish(result)
        if self._is_looking or not self._is_unread:
            return float('inf')
        wait = max(0.0, self._begun + period - time.monotonic())
        if wait == 0:
            self._begin()
        return wait or float('inf')

    def close(self, timeout: float) -> bool:
        """End the thread; False if it has not ended after `timeout` seconds."""
        return self._thread.close(timeout)

    def _begin(self) -> None:
        self._is_unread = False  # first: should it fail, then once per frame and period
        self._begun = time.monotonic()
        with self._guarded('window'):
            window = self._pipeline.begin_semantics()
            if window is not None:
                self._is_looking = True
                self._thread.run(partial(self._look, window, self._pipeline.epoch))

    def _look(self, window: Window, epoch: int) -> None:
        """Run the network; not on the worker's thread."""
        pyramids = None
        with self._guarded('network'):
            pyramids = self._pipeline.run_semantics(window)
        self._result = _Result(window, epoch, pyramids)
        self._wake()

    def _finish(self, result: _Result) -> None:
        if result.epoch != self._pipeline.epoch:
            self._is_unread = True
        elif result.pyramids is not None and self._write(result.window, result.pyramids):
            self.num_windows += 1
            self._is_unread = True
            self._after_labels()
        else:  # again when the next frame comes, so that what fails does not fail all the time
            with self._guarded('window'):
                self._pipeline.give_up_semantics(result.window)

    def _write(self, window: Window, pyramids: Sequence[FeaturePyramid]) -> bool:
        with self._guarded('labels'):
            self._pipeline.finish_semantics(window, pyramids)
            return True
        return False

    @contextmanager
    def _guarded(self, stage: str) -> Iterator[None]:
        """Time a stage; log what it raises."""
        try:
            with self._activity.stage(stage):
                yield
        except Exception as err:
            cause = f'{type(err).__name__}: {err}'
            if cause not in self._told:
                self._told.add(cause)
                reason = str(err) if isinstance(err, ConcertoError) else f'internal error: {cause}'
                self._logger.error(f'the network fails: {reason}; {_CURE}')
