"""MapKeeper: everything that touches the map, all on one thread."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from rclpy.node import Node
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from concerto_msgs.msg import Region as RegionMessage
from concerto_msgs.srv import Relabel, SaveMap
from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.errors import FrameError, MapFileError, TransformUnavailable
from concerto_ros.geometry.transforms import Matrix
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.ros.activity import Activity, MapSize
from concerto_ros.ros.camera_input import FramedImage
from concerto_ros.ros.conversions import make_header
from concerto_ros.ros.map_messages import label_info
from concerto_ros.ros.map_publisher import MapPublisher
from concerto_ros.ros.pace import Pace
from concerto_ros.ros.problems import Problems
from concerto_ros.ros.search_messages import Question
from concerto_ros.ros.transforms import Transforms
from concerto_ros.search.regions import Region, inside
from concerto_ros.structures import SearchResult
from concerto_ros.visualization.ply import write_ply

_NETWORK_SHARE = 0.5  # of the worker's time; the rest is left for new frames


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the map took along for a search.

    Attributes:
        header: Frame of what will be found, and stamp of the newest image in the map.
        epoch: Of the map, see `PerceptionPipeline`.
        search: From `PerceptionPipeline.begin_search`.
    """

    header: Header
    epoch: int
    search: Callable[..., SearchResult]


class MapKeeper:
    """Fuses frames, runs the network, publishes and answers; called by the worker only.

    Args:
        node: For its logger.
        pipeline: The map and the network.
        publisher: Where results go.
        transforms: From the frame of the fusion to the one of the answers.
        problems: Where unusable frames are counted.
        activity: Where times, frames and the size of the map are noted.
    """

    def __init__(
        self,
        node: Node,
        pipeline: PerceptionPipeline,
        publisher: MapPublisher,
        transforms: Transforms,
        problems: Problems,
        activity: Activity,
    ) -> None:
        self._logger = node.get_logger()
        self._pipeline = pipeline
        self._publisher = publisher
        self._transforms = transforms
        self._problems = problems
        self._activity = activity
        self._config = pipeline.config
        self._fusion_frame = pipeline.config.frames.map
        self._network_pace = Pace(_NETWORK_SHARE)
        self._is_unread = False  # the map changed since the network saw it
        self._after_labels: Callable[[], None] = lambda: None

    def on_labels(self, callback: Callable[[], None]) -> None:
        """Have a function called on the worker's thread when labels were written or forgotten."""
        self._after_labels = callback

    def configure(self, config: ConcertoConfig) -> None:
        """Take over live values."""
        self._pipeline.update_config(config)
        self._config = config

    def integrate(self, framed: FramedImage) -> None:
        """Fuse one frame into the map."""
        try:
            report = self._pipeline.integrate(framed.frame)
            self._fusion_frame = framed.fusion_frame
            self._is_unread = True
            self._activity.count_fused(framed.camera)
            for stage, seconds in report.seconds.items():
                self._activity.add(stage, seconds)
            if report.warning:
                self._logger.warning(report.warning)
        except FrameError as err:
            self._problems.of(framed.camera).add('unusable', f'{framed.depth_topic}: {err}')
        finally:  # also for a frame that is refused: a replay waits for it
            self._publisher.publish_integrated(framed.fusion_frame, framed.frame.stamp_ns)

    def upkeep(self) -> float | None:
        """Run the network and publish, as far as it is time; return seconds until the next."""
        publish = self._config.publish
        try:
            wait = min(
                self._run_network(),
                self._publisher.publish_map(*self._answer_frame(), publish.map_period),
                self._publisher.publish_updates(self._fusion_frame, publish.update_period),
            )
        finally:
            self._activity.map_size = MapSize(
                num_voxels=self._pipeline.num_voxels,
                revision=self._pipeline.revision,
                memory={'map': self._pipeline.memory_bytes},
            )
        return None if wait == float('inf') else wait

    def look(self, question: Question) -> Look:
        """Take from the map what a search needs.

        Raises:
            SearchError: The question is not valid, or there is no language model.
            TransformUnavailable: The frame of the region is not known.
        """
        frame_id, T_frame_fusion = self._answer_frame()
        return Look(
            header=make_header(frame_id, self._pipeline.newest_stamp_ns),
            epoch=self._pipeline.epoch,
            search=self._pipeline.begin_search(
                question.text,
                T_frame_fusion,
                region=self._region(question.region[0], frame_id) if question.region else None,
                min_score=question.min_score,
            ),
        )

    def relabel(self, request: Relabel.Request, response: Relabel.Response) -> None:
        """Answer ~/relabel.

        Raises:
            SearchError: The names are no vocabulary; the old one stays.
        """
        labels = self._pipeline.relabel(request.names)
        self._publisher.publish_labels()
        self._publisher.hurry()
        self._after_labels()
        response.labels = label_info(self._publisher.now(), labels)
        response.message = _relabelled(
            len(labels.names) - 1, *self._pipeline.num_language_labels()
        )
        response.success = True

    def save(self, request: SaveMap.Request, response: SaveMap.Response) -> None:
        """Answer ~/save_map.

        Raises:
            MapFileError: The file cannot be written.
        """
        frame_id, T_frame_fusion = self._answer_frame()
        path = _full_path(request.path)
        response.num_points = write_ply(path, self._pipeline.cloud(T_frame_fusion))
        response.path = str(path)
        response.message = f'{response.num_points} points in frame {frame_id} written to {path}'
        response.success = True

    def reset(self, response: Trigger.Response) -> None:
        """Answer ~/reset."""
        num_voxels = self._pipeline.num_voxels
        self._pipeline.reset()
        self._is_unread = False
        self._publisher.forget_objects()
        self._publisher.hurry()
        self._after_labels()
        response.message = f'{num_voxels} voxels forgotten'
        response.success = True

    def _run_network(self) -> float:
        period = self._config.semantics.period
        if not self._is_unread:
            return float('inf')
        wait = self._network_pace.wait(period)
        if wait == 0:
            self._is_unread = False  # first: should it fail, then once per frame and period
            with self._network_pace, self._activity.stage('network'):
                num_labelled = self._pipeline.update_semantics()
            if num_labelled:
                self._after_labels()
            wait = float('inf')
        return wait

    def _answer_frame(self) -> tuple[str, Matrix | None]:
        """Return the frame to publish and answer in and (4, 4) from the fusion; None: identity."""
        map_frame = self._config.frames.map
        if self._fusion_frame == map_frame:
            return map_frame, None
        try:
            return map_frame, self._transforms.latest(map_frame, self._fusion_frame)
        except TransformUnavailable:  # a robot without a map still gets answers
            return self._fusion_frame, None

    def _region(self, message: RegionMessage, frame_id: str) -> Region:
        """Return the axis-aligned box around a region, in the frame of the answers."""
        low, high = (np.array([p.x, p.y, p.z]) for p in (message.min, message.max))
        inside(np.empty((0, 3)), (low, high))  # raises where the corners are no box
        region_frame = message.frame_id.lstrip('/')
        if region_frame in ('', frame_id):
            return low, high
        T = self._transforms.latest(frame_id, region_frame)
        corners = np.array(list(product(*zip(low, high, strict=True)))) @ T[:3, :3].T + T[:3, 3]
        return corners.min(axis=0), corners.max(axis=0)


def _relabelled(num_names: int, num_labelled: int, num_points: int) -> str:
    names = '1 name' if num_names == 1 else f'{num_names} names'
    sentence = (
        f'the vocabulary has {names} now, and {num_labelled} of {num_points} voxels are labelled '
        'by it'
    )
    if num_labelled == num_points:
        return sentence
    return f'{sentence}; the rest is unknown until the network looks at it'


def _full_path(path: str) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as err:
        raise MapFileError(f'there is no home folder for {path!r}; write it in full') from err
