"""The services of the node: requests go to the worker, its answers are awaited."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from std_srvs.srv import Trigger

from concerto_msgs.srv import FindObjects, SaveMap
from concerto_ros.errors import ConcertoError
from concerto_ros.ros.map_keeper import MapKeeper
from concerto_ros.ros.worker import LatestWorker


def offer_services(
    node: Node, worker: LatestWorker, keeper: MapKeeper, before_reset: Callable[[], None]
) -> None:
    """Offer ~/find_objects, ~/save_map and ~/reset; what fails there is answered, never raised.

    Args:
        node: Where the services live.
        worker: Does the work while the executor goes on.
        keeper: Knows the answers.
        before_reset: Called on the executor before a reset is handed to the worker.
    """

    async def answer(job: Callable[[], None], response: Any) -> Any:
        try:
            await worker.run(job)
        except ConcertoError as err:
            response.success, response.message = False, str(err)
        except Exception as err:  # logged by the worker, with its traceback
            response.success, response.message = False, f'internal error, see the log: {err!r}'
        return response

    async def find(request: Any, response: Any) -> Any:
        return await answer(partial(keeper.find, request, response), response)

    async def save(request: Any, response: Any) -> Any:
        return await answer(partial(keeper.save, request, response), response)

    async def reset(_: Any, response: Any) -> Any:
        before_reset()
        return await answer(partial(keeper.reset, response), response)

    # A callback that awaits would hold up all others of a mutually exclusive group.
    group = ReentrantCallbackGroup()
    node.create_service(FindObjects, '~/find_objects', find, callback_group=group)
    node.create_service(SaveMap, '~/save_map', save, callback_group=group)
    node.create_service(Trigger, '~/reset', reset, callback_group=group)
