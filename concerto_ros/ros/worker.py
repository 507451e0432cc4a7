"""LatestWorker: one thread for everything slow, fed by the callbacks of a node."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future as Answer
from concurrent.futures import wait
from functools import partial
from typing import Any, Generic, TypeVar

from rclpy.node import Node
from rclpy.task import Future

from concerto_ros.errors import ConcertoError
from concerto_ros.ros.handover import Handover

Frame = TypeVar('Frame')

THREADS = 'concerto_'  # what the names of threads that work begin with
_RETRY = 1.0  # [s] until a failed upkeep is tried again
_LOOK_PERIOD = 0.1  # [s], for the end of the thread by who waits for an answer
_LONGEST_PAUSE = 3600.0  # [s]; what a wait may take at most is less than what a float holds


class LatestWorker(Generic[Frame]):
    """Does jobs and the newest frames by turns, then what has become due; one thing at a time.

    Of each camera the newest frame waits, and cameras take turns, so that a fast one does not
    starve a slow one. Between two frames is one job at most, so that no number of questions keeps
    the map from growing. Callbacks hand over and return at once. An error that nobody foresaw is
    logged with its traceback and counted in `num_failures`; the thread goes on.

    Args:
        node: Its executor delivers the answers of jobs; its logger takes the errors.
        handle_frame: Called on the thread with each frame that no newer one has replaced.
        upkeep: Called on the thread after each job and frame, and once the seconds that it
            returned have passed; None: not before something happens.
    """

    def __init__(
        self,
        node: Node,
        handle_frame: Callable[[Frame], None],
        upkeep: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._handover = Handover(node)
        self._handle_frame = handle_frame
        self._upkeep = upkeep
        self._frames: dict[str, Frame] = {}  # by camera; who waits longest comes first
        self._jobs: deque[tuple[Callable[[], Any], Future]] = deque()
        self._changed = threading.Condition()
        self._is_frames_turn = False
        self._woken = False
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f'{THREADS}worker', daemon=True)
        self._thread.start()

    @property
    def num_failures(self) -> int:
        """Errors that nobody foresaw."""
        return self._handover.num_failures

    def submit_frame(self, frame: Frame, camera: str = '') -> bool:
        """Put a frame in line; return whether it replaces one of its camera that still waited."""
        with self._changed:
            replaces = camera in self._frames
            self._frames[camera] = frame
            self._changed.notify()
        return replaces

    def discard_frames(self) -> None:
        """Forget the frames that wait; they do not count as dropped."""
        with self._changed:
            self._frames.clear()

    def run(self, job: Callable[[], Any]) -> Future:
        """Put a job in line; jobs and frames take turns.

        Returns:
            Future of what it returns or raises, for `await` in a callback of the node. It is
            completed by the node's executor; a job that is due when the worker closes never is.
        """
        future = Future()
        with self._changed:
            self._jobs.append((job, future))
            self._changed.notify()
        return future

    def ask(self, job: Callable[[], Any]) -> Any:
        """Have a job done and wait for it; for threads that are neither this nor the executor's.

        Raises:
            ConcertoError: The worker was closed before.
            Exception: What the job raises.
        """
        answer: Answer[Any] = Answer()

        def work() -> None:
            try:
                answer.set_result(job())
            except Exception as err:
                answer.set_exception(err)

        self.run(work)
        while not wait([answer], _LOOK_PERIOD).done:
            if not self._thread.is_alive() and not answer.done():
                raise ConcertoError('the node ends')
        return answer.result()

    def wake(self) -> None:
        """Have `upkeep` called soon."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def close(self, timeout: float) -> bool:
        """Finish what is being done and end the thread; what waits is left undone.

        Returns:
            False if it has not ended after `timeout` seconds.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        pause: float | None = None
        while not self._closed:
            pause = self._try(partial(self._step, pause), _RETRY)

    def _step(self, pause: float | None) -> float | None:
        """Do the next thing; return how long to sleep then at most, None: until woken."""
        task = self._next(None if pause is None else min(pause, _LONGEST_PAUSE))
        if task is None:
            return None
        self._try(task)
        del task  # a frame must not be kept while the thread sleeps
        return self._upkeep()

    def _next(self, pause: float | None) -> Callable[[], None] | None:
        """Sleep until there is something to do, at most `pause` seconds; None: close."""
        with self._changed:
            self._changed.wait_for(self._has_work, pause)
            self._woken = False
            if self._closed:
                return None
            if self._jobs and not (self._is_frames_turn and self._frames):
                self._is_frames_turn = True
                return partial(self._handover.answer, *self._jobs.popleft())
            self._is_frames_turn = False
            if self._frames:
                return partial(self._handle_frame, self._frames.pop(next(iter(self._frames))))
            return lambda: None  # only the upkeep

    def _has_work(self) -> bool:
        return self._closed or self._woken or bool(self._jobs) or bool(self._frames)

    def _try(self, function: Callable[[], Any], otherwise: Any = None) -> Any:
        try:
            return function()
        except Exception:
            self._handover.report()
            return otherwise
