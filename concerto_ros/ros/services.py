"""The services of the node: requests go to other threads, whose answers are awaited."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from std_srvs.srv import Trigger

from concerto_msgs.srv import FindObjects, LoadMap, Relabel, SaveMap
from concerto_ros.errors import ConcertoError
from concerto_ros.ros.finder import Finder
from concerto_ros.ros.map_files import MapFiles
from concerto_ros.ros.map_keeper import Look, MapKeeper
from concerto_ros.ros.map_publisher import MapPublisher
from concerto_ros.ros.search_messages import fill_response
from concerto_ros.ros.worker import LatestWorker


def offer_services(
    node: Node,
    worker: LatestWorker,
    keeper: MapKeeper,
    finder: Finder,
    publisher: MapPublisher,
    files: MapFiles,
    before_reset: Callable[[], None],
) -> None:
    """Offer all services of the node; what fails there is answered, never raised.

    Args:
        node: Where the services live.
        worker: Does the work while the executor goes on.
        keeper: Knows the map.
        finder: Searches it.
        publisher: Shows what was found.
        files: Saves and loads the map.
        before_reset: Called on the executor before a reset is handed to the worker.
    """

    async def find(request: Any, response: Any) -> Any:
        def finish(look: Look) -> None:
            result = look.search(max_results=request.max_results, min_score=request.min_score)
            publisher.publish_objects(look.header, look.epoch, result)
            fill_response(response, look.header, request, result)

        return await _answered(finder.find(request, finish), response)

    async def relabel(request: Any, response: Any) -> Any:
        async def work() -> None:
            await finder.read_vocabulary(request.names)
            await worker.run(partial(keeper.relabel, request, response))

        return await _answered(work(), response)

    async def save(request: Any, response: Any) -> Any:
        return await _answered(files.save(request, response), response)

    async def load(request: Any, response: Any) -> Any:
        return await _answered(files.load(request, response), response)

    async def reset(_: Any, response: Any) -> Any:
        before_reset()
        return await _answered(worker.run(partial(keeper.reset, response)), response)

    # A callback that awaits would hold up all others of a mutually exclusive group.
    group = ReentrantCallbackGroup()
    node.create_service(FindObjects, '~/find_objects', find, callback_group=group)
    node.create_service(Relabel, '~/relabel', relabel, callback_group=group)
    node.create_service(SaveMap, '~/save_map', save, callback_group=group)
    node.create_service(LoadMap, '~/load_map', load, callback_group=group)
    node.create_service(Trigger, '~/reset', reset, callback_group=group)


async def _answered(work: Awaitable[None], response: Any) -> Any:
    """Await what fills a response; return it, or the reason why there is none."""
    try:
        await work
    except ConcertoError as err:
        response.success, response.message = False, str(err)
    except Exception as err:  # logged by the thread that worked, with its traceback
        response.success, response.message = False, f'internal error, see the log: {err!r}'
    return response
