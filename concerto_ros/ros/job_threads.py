"""JobThreads: what takes long and needs no map."""

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from rclpy.node import Node
from rclpy.task import Future

from concerto_ros.ros.handover import Handover
from concerto_ros.ros.worker import THREADS


class JobThreads:
    """A few threads that take jobs in the order in which they come.

    Args:
        node: Its executor delivers the answers; its logger takes the errors.
        name: Of the threads, after what all of these begin with.
        num_threads: Jobs that are done at a time.
    """

    def __init__(self, node: Node, name: str, num_threads: int = 1) -> None:
        self._handover = Handover(node)
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Future] | None] = SimpleQueue()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f'{THREADS}{name}', daemon=True)
            for _ in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, job: Callable[[], Any]) -> Future:
        """Put a job in line.

        Returns:
            Future of what it returns or raises, for `await` in a callback of the node. It is
            completed by the node's executor; a job that waits when the threads are closed never
            is.
        """
        future = Future()
        self._jobs.put((job, future))
        return future

    def close(self, timeout: float) -> bool:
        """Finish what is being done and end the threads; what waits is left undone.

        Returns:
            False if they have not ended after `timeout` seconds.
        """
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (task := self._jobs.get()) is not None and not self._closed:
            self._handover.answer(*task)
            del task  # an answer must not be kept while the thread sleeps
