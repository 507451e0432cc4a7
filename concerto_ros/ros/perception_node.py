"""perception_node: RGB-D images and transforms in, a labelled map and answers out."""

import sys

if __name__ == '__main__':  # before the other imports, which take seconds, see programs
    from concerto_ros.ros.programs import perception_node

    sys.exit(perception_node())

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from rclpy.node import Node
from std_srvs.srv import Trigger

from concerto_ros.config.schema import ConcertoConfig, MapConfig
from concerto_ros.geometry.pose_path import PosePath
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.ros.activity import Activity
from concerto_ros.ros.camera_input import FramedImage
from concerto_ros.ros.cameras import Cameras
from concerto_ros.ros.diagnostics import Diagnostics
from concerto_ros.ros.finder import Finder
from concerto_ros.ros.log_forwarding import forward_logging
from concerto_ros.ros.map_files import MapFiles, full_path, has_no_map_yet
from concerto_ros.ros.map_keeper import MapKeeper
from concerto_ros.ros.map_publisher import MapPublisher
from concerto_ros.ros.parameters import NodeParameters
from concerto_ros.ros.pose_graph import PoseGraphInput
from concerto_ros.ros.problems import Problems
from concerto_ros.ros.process import run_node
from concerto_ros.ros.search_action import SearchAction
from concerto_ros.ros.semantics import Semantics
from concerto_ros.ros.services import offer_services
from concerto_ros.ros.transforms import Transforms
from concerto_ros.ros.worker import LatestWorker

_CLOSING_TIME = 4.0  # [s]; ros2 launch insists after 5 s
_SAVING_TIME = 3.0  # [s] of it


class _Closable(Protocol):
    def close(self, timeout: float) -> bool: ...


class PerceptionNode(Node):
    """Wires the parts: callbacks convert and enqueue, one worker owns the map and the network.

    Args:
        **options: Passed on to `rclpy.node.Node`, such as `context`, `namespace`,
            `parameter_overrides`.

    Attributes:
        pipeline: The map and the network; touched by the worker only, but for `read`.
        problems: What went wrong so far, by kind.
        semantics: The network at work.
        worker: The thread that owns the pipeline.

    Raises:
        ConcertoError: A parameter is wrong, or weights cannot be loaded.
    """

    worker: LatestWorker[FramedImage]

    def __init__(self, **options: Any) -> None:
        super().__init__('perception_node', **options)
        self._threads: list[_Closable] = []  # those that were started
        self._files: MapFiles | None = None
        self._search_action: SearchAction | None = None
        self._end_logging = forward_logging(self.get_logger())
        try:
            self._build()
        except BaseException:  # Ctrl-C while weights are loaded, too
            self.destroy_node()
            raise

    def destroy_node(self) -> None:
        """Save the map where it is saved by itself, end the threads, then the node."""
        deadline = time.monotonic() + _CLOSING_TIME
        if self._files is not None:
            self._files.save_last(_SAVING_TIME)
        ended = [part.close(max(0.0, deadline - time.monotonic())) for part in self._threads]
        if not all(ended):
            self.get_logger().warning('the network or a search still runs; its result is lost')
        if self._search_action is not None:
            self._search_action.destroy()
        self._end_logging()
        super().destroy_node()

    def _build(self) -> None:
        self._settings = NodeParameters(self)
        self._settings.on_change(self._on_change)
        config = self._settings.config
        self.problems = Problems(self, lambda: self._settings.config.publish.warning_period)
        self.pipeline = PerceptionPipeline(config)
        for notice in self.pipeline.notices:
            self.get_logger().info(notice)
        transforms = Transforms(self, config.frames)
        activity = Activity()
        publisher = MapPublisher(
            self, self.pipeline, activity, self.problems, self._ask, self._wake
        )
        publisher.publish_labels()
        semantics = self.semantics = Semantics(self, self.pipeline, activity, self._wake)
        keeper = MapKeeper(
            self, self.pipeline, publisher, semantics, transforms, self.problems, activity
        )
        self._keeper = keeper
        self._begin_with_saved(config.map)
        self.worker = LatestWorker(self, keeper.integrate, keeper.upkeep)
        files = self._files = MapFiles(
            self, self.pipeline, self.worker, keeper, self.problems, activity
        )
        self._threads += [self.worker, semantics, publisher, files]
        finder = Finder(self, self.pipeline, self.worker, keeper)
        self._threads.append(finder)
        offer_services(self, self.worker, keeper, finder, publisher, files, self._before_reset)
        self._search_action = SearchAction(self, finder, publisher)
        semantics.on_labels(self._search_action.look_again)
        self._cameras = Cameras(
            self, self._settings, transforms, self.problems, self._on_frame, self._on_time_jump
        )
        PoseGraphInput(self, config.frames.map, self.problems, self._on_pose_graph)
        Diagnostics(self, self._cameras, self.problems, activity, self.worker)

    def _begin_with_saved(self, config: MapConfig) -> None:
        if not config.load:
            return
        path = full_path(config.load)
        is_own = bool(config.autosave_path) and path == full_path(config.autosave_path)
        if is_own and has_no_map_yet(path):
            self.get_logger().info(f'map.load: there is no map in {path} yet')
            return
        notice = self._keeper.begin_with(path)
        self.get_logger().info(f'going on with the map of {path}{"; " * bool(notice)}{notice}')

    def _on_pose_graph(self, path: PosePath) -> None:
        self.worker.run(partial(self._keeper.follow, path))

    def _on_frame(self, framed: FramedImage) -> None:
        if self.worker.submit_frame(framed, framed.camera):
            self.problems.of(framed.camera).add(
                'overtaken',
                f'{framed.depth_topic}: frames come faster than they are fused, so only the '
                'newest is taken; lower the rate of the camera, or raise depth.stride or '
                'semantics.period',
            )

    def _on_change(self, config: ConcertoConfig) -> None:
        self.worker.run(partial(self._keeper.configure, config))

    def _wake(self) -> None:
        self.worker.wake()

    def _ask(self, job: Callable[[], Any]) -> Any:
        return self.worker.ask(job)

    def _on_time_jump(self) -> None:
        if self._settings.config.input.reset_on_time_jump:
            self.get_logger().warning('time jumped back: the map is cleared')
            self._before_reset()
            self.worker.run(partial(self._keeper.reset, Trigger.Response()))
        else:
            self.get_logger().warning(
                'time jumped back: the map is kept; input.reset_on_time_jump would clear it'
            )

    def _before_reset(self) -> None:
        """Let nothing of before, and no frame of the fusion chosen before, into the new map."""
        self._cameras.forget_fusion_frame()
        self.worker.discard_frames()


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until Ctrl-C; return the exit code."""
    return run_node(PerceptionNode, args)
