"""~/search_objects: looks again whenever the network has, until the thing is found."""

import dataclasses
import time
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from rclpy.timer import Timer

from concerto_msgs.action import SearchObjects
from concerto_ros.errors import ConcertoError, SearchError
from concerto_ros.ros.finder import Finder
from concerto_ros.ros.handover import Handover
from concerto_ros.ros.map_keeper import Look
from concerto_ros.ros.map_publisher import MapPublisher
from concerto_ros.ros.search_messages import fill_response
from concerto_ros.structures import SearchResult

_LONGEST = 1e8  # [s], three years; timers count nanoseconds in 64 bits


class SearchAction:
    """Serves any number of goals at once.

    Args:
        node: Where the action lives.
        finder: Searches the map.
        publisher: Shows what was found.
    """

    def __init__(self, node: Node, finder: Finder, publisher: MapPublisher) -> None:
        self._node = node
        self._finder = finder
        self._publisher = publisher
        self._handover = Handover(node)
        self._errands: dict[bytes, _Errand] = {}
        self._server = ActionServer(
            node,
            SearchObjects,
            '~/search_objects',
            execute_callback=self._execute,
            cancel_callback=self._cancel,
            callback_group=ReentrantCallbackGroup(),  # as for services
        )

    def look_again(self) -> None:
        """Have all goals look at the map again; may be called by any thread."""
        self._handover.call(self._wake_all)

    def destroy(self) -> None:
        """Serve no more."""
        self._server.destroy()

    async def _execute(self, goal: ServerGoalHandle) -> SearchObjects.Result:
        errand = _Errand(self._node, goal, self._finder, self._publisher)
        self._errands[_key(goal)] = errand
        result = await errand.run()
        del self._errands[_key(goal)]
        return result

    def _cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        errand = self._errands.get(_key(goal))
        if errand is not None:
            errand.wake()  # resumed after this callback, when the goal says that it is cancelled
        return CancelResponse.ACCEPT

    def _wake_all(self) -> None:
        for errand in self._errands.values():
            errand.is_due = True
            errand.wake()


class _Errand:
    """One goal on its way; everything but the end of a look happens on the executor.

    Attributes:
        is_due: Labels were written since the last look began.
    """

    def __init__(
        self, node: Node, goal: ServerGoalHandle, finder: Finder, publisher: MapPublisher
    ) -> None:
        self.is_due = True
        self._node = node
        self._goal = goal
        self._question: SearchObjects.Goal = goal.request
        self._finder = finder
        self._publisher = publisher
        self._started = time.monotonic()
        self._woken = Future()
        self._is_looking = self._is_late = False
        self._error: Exception | None = None
        self._answer: SearchObjects.Result | None = None
        self._told: Any = None

    def wake(self) -> None:
        """Have `run` see what has happened."""
        self._woken.set_result(None)

    async def run(self) -> SearchObjects.Result:
        """Return the result of the goal, and bring the goal to its end."""
        try:
            timer = self._start_timer()
            try:
                await self._look_until_over()
            finally:
                self._node.destroy_timer(timer)
        except ConcertoError as err:
            return self._abort(str(err))
        except Exception as err:  # logged by the thread that worked, with its traceback
            return self._abort(f'internal error, see the log: {err!r}')
        return self._end()

    def _start_timer(self) -> Timer:
        seconds = self._question.time_limit
        if not seconds >= 0:
            raise SearchError(f'expected time_limit of 0 (none) or more seconds, got {seconds}')

        def end() -> None:
            timer.cancel()  # it would ring again
            self._is_late = True
            self.wake()

        timer = self._node.create_timer(
            min(seconds or _LONGEST, _LONGEST), end, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        return timer

    async def _look_until_over(self) -> None:
        """Look at the map as often as needed.

        The wait goes on while a look is under way: whoever cancels need not wait for it.
        """
        while True:
            if self.is_due and not self._is_looking:
                self.is_due, self._is_looking = False, True
                self._node.executor.create_task(self._look)
            await self._woken
            self._woken = Future()
            if self._error is not None:
                raise self._error
            if self._goal.is_cancel_requested:
                return
            if self._answer is not None:
                self._tell(self._answer)
                if self._answer.verdict == SearchObjects.Result.FOUND or self._is_late:
                    return

    async def _look(self) -> None:
        try:
            self._answer = await self._finder.find(self._question, self._finish)
        except Exception as err:
            self._error = err
        self._is_looking = False
        self.wake()

    def _finish(self, look: Look) -> SearchObjects.Result:
        """End a look; not on the executor."""
        result = _search(look, self._question)
        is_over = self._goal.is_cancel_requested or not self._goal.is_active
        if result.verdict == 'found' and not is_over:
            self._publisher.publish_objects(look.header, look.epoch, result)
        answer = SearchObjects.Result()
        fill_response(answer, look.header, self._question, result)
        return answer

    def _tell(self, answer: SearchObjects.Result) -> None:
        """Send feedback if there is something new."""
        objects = [(hit.id, round(hit.score, 2)) for hit in answer.objects]
        news = objects, round(answer.observed_share, 2)
        if news != self._told:
            self._told = news
            self._goal.publish_feedback(
                SearchObjects.Feedback(
                    objects=answer.objects,
                    observed_share=answer.observed_share,
                    seconds=time.monotonic() - self._started,
                )
            )

    def _abort(self, message: str) -> SearchObjects.Result:
        self._goal.abort()
        return SearchObjects.Result(message=message)

    def _end(self) -> SearchObjects.Result:
        answer = self._answer or SearchObjects.Result(message='the map was not looked at yet')
        if self._goal.is_cancel_requested:
            self._goal.canceled()
            answer.message = f'cancelled: {answer.message}'
        else:
            self._goal.succeed()
        return answer


def _search(look: Look, goal: SearchObjects.Goal) -> SearchResult:
    """Return what was found; where that is nothing, with the objects that come near."""
    result = look.search(max_results=goal.max_results, min_score=goal.min_score)
    if result.verdict == 'found' or not goal.min_score:
        return result
    near = look.search(max_results=goal.max_results)
    return dataclasses.replace(result, objects=near.objects)


def _key(goal: ServerGoalHandle) -> bytes:
    return bytes(goal.goal_id.uuid)
