"""Finder: searches for clients, each step on the thread it needs."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from rclpy.node import Node

from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.ros.job_threads import JobThreads
from concerto_ros.ros.map_keeper import Look, MapKeeper
from concerto_ros.ros.search_messages import Question
from concerto_ros.ros.worker import LatestWorker
from concerto_ros.search.object_search import check_query
from concerto_ros.semantics import check_names

Answer = TypeVar('Answer')

_NUM_READERS = 2  # a long vocabulary then holds up no question


class Finder:
    """Has texts read, takes a look at the map, and finds objects in it, for many clients at once.

    Only the look happens on the worker: neither the language model nor the grouping of voxels
    into objects holds up the map.

    Args:
        node: Its executor resumes what awaits.
        pipeline: Reads the texts.
        worker: Takes the looks.
        keeper: Knows how.
    """

    def __init__(
        self, node: Node, pipeline: PerceptionPipeline, worker: LatestWorker, keeper: MapKeeper
    ) -> None:
        self._pipeline = pipeline
        self._worker = worker
        self._keeper = keeper
        self._readers = JobThreads(node, 'texts', _NUM_READERS)
        self._searcher = JobThreads(node, 'search')  # one, since objects are numbered in turn

    async def read(self, texts: Sequence[str]) -> None:
        """Have texts read, so that nobody waits for the language model when they are used.

        Raises:
            SearchError: There is no language model, or it does not know a text.
        """
        await self._readers.run(partial(self._pipeline.read, texts))

    async def read_vocabulary(self, names: Sequence[str]) -> None:
        """Have the names of a vocabulary read, unless they are none.

        Raises:
            SearchError: There is no language model, it does not know a name, or the list is
                empty, too long, or names a thing twice.
        """
        await self._readers.run(partial(check_names, names))
        await self.read(names)

    async def find(self, question: Question, finish: Callable[[Look], Answer]) -> Answer:
        """Search the map as it is now.

        Args:
            question: From a service or an action.
            finish: Ends the search, away from executor and worker.

        Returns:
            What `finish` returns.

        Raises:
            SearchError: The question is not valid, or there is no language model.
            TransformUnavailable: The frame of the region is not known.
        """
        await self.read([check_query(question.text)])
        look = await self._worker.run(partial(self._keeper.look, question))
        answer: Answer = await self._searcher.run(partial(finish, look))
        return answer

    def close(self, timeout: float) -> bool:
        """End the threads; False if they have not ended after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        ended = self._readers.close(timeout)
        return self._searcher.close(max(0.0, deadline - time.monotonic())) and ended
