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
from concerto_msgs.srv import LoadMap, Relabel
from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.errors import FrameError, MapFileError, TransformUnavailable
from concerto_ros.geometry.pose_path import PosePath
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.ros.activity import Activity, MapSize
from concerto_ros.ros.camera_input import FramedImage
from concerto_ros.ros.cameras import camera_names
from concerto_ros.ros.conversions import make_header
from concerto_ros.ros.map_messages import label_info
from concerto_ros.ros.map_publisher import MapPublisher
from concerto_ros.ros.problems import Problems
from concerto_ros.ros.search_messages import Question
from concerto_ros.ros.semantics import Semantics
from concerto_ros.ros.transforms import Transforms
from concerto_ros.search.regions import Region, inside
from concerto_ros.storage import MapFolder
from concerto_ros.structures import SearchResult

_LOOK_PERIOD = 0.5  # [s] between two looks where the map is, while no frame comes


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
    """Fuses frames, publishes and answers; called by the worker only.

    Everything is told in the world: the map frame where it exists, else the frame of the fusion.

    Args:
        node: For its logger.
        pipeline: The map and the network.
        publisher: Where results go.
        semantics: The network at work.
        transforms: From the frame of the fusion to the map frame.
        problems: Where unusable frames are counted.
        activity: Where times, frames and the size of the map are noted.
    """

    def __init__(
        self,
        node: Node,
        pipeline: PerceptionPipeline,
        publisher: MapPublisher,
        semantics: Semantics,
        transforms: Transforms,
        problems: Problems,
        activity: Activity,
    ) -> None:
        self._logger = node.get_logger()
        self._pipeline = pipeline
        self._publisher = publisher
        self._semantics = semantics
        self._transforms = transforms
        self._problems = problems
        self._activity = activity
        self._config = pipeline.config
        self._leader = camera_names(self._config.input.cameras)[0]
        self._leader_frame = ''  # of its depth
        self._fusion_frame = self._config.frames.map
        self._is_in_map = False  # the map frame was there, at least once

    def configure(self, config: ConcertoConfig) -> None:
        """Take over live values."""
        self._pipeline.update_config(config)
        self._config = config

    def integrate(self, framed: FramedImage) -> None:
        """Fuse one frame into the map."""
        self._fusion_frame = framed.fusion_frame
        leads = framed.camera == self._leader
        if leads:
            self._leader_frame = framed.depth_frame
        problems = self._problems.of(framed.camera)
        try:
            self.locate()
            report = self._pipeline.integrate(framed.frame, camera=framed.camera, leads=leads)
            self._semantics.map_changed()
            self._activity.count_fused(framed.camera)
            for stage, seconds in report.seconds.items():
                self._activity.add(stage, seconds)
            if report.warning:
                self._logger.warning(report.warning)
        except FrameError as err:
            problems.add('unusable', f'{framed.depth_topic}: {err}')
        except MapFileError as err:
            problems.add('disk', f'{framed.depth_topic}: {err}')
        finally:  # also for a frame that is refused: a replay waits for it
            self._publisher.publish_integrated(framed.fusion_frame, framed.frame.stamp_ns)

    def upkeep(self) -> float | None:
        """Run the network and publish, as far as it is time; return seconds until the next."""
        publish = self._config.publish
        try:
            world = self.locate()
            wait = min(
                self._semantics.upkeep(self._config.semantics.period),
                self._publisher.publish_map(world, publish.map_period),
                self._publisher.publish_updates(world, publish.update_period),
            )
        finally:
            self._activity.map_size = MapSize(
                num_voxels=self._pipeline.num_voxels,
                num_resident=self._pipeline.num_resident,
                revision=self._pipeline.revision,
                memory=self._pipeline.memory,
                max_bytes=self._config.map.max_bytes,
                paged_bytes=self._pipeline.paged_bytes,
                num_windows=self._semantics.num_windows,
            )
        if self._fusion_frame != self._config.frames.map:
            wait = min(wait, _LOOK_PERIOD)
        return None if wait == float('inf') else wait

    def locate(self) -> str:
        """Move the map to where it is by now; return the name of the world."""
        map_frame = self._config.frames.map
        if self._fusion_frame == map_frame:
            return map_frame
        try:
            T_map_odom = self._transforms.latest(map_frame, self._fusion_frame)
        except TransformUnavailable:  # a robot without a map still gets answers
            return map_frame if self._is_in_map else self._fusion_frame
        self._pipeline.correct(T_map_odom)
        self._is_in_map = True
        return map_frame

    def follow(self, path: PosePath) -> None:
        """Move the map to where the path of a pose graph says."""
        body = self._config.frames.body
        if not self._leader_frame:
            return  # no frame yet: there is nothing to move
        try:
            T_body_camera = self._transforms.latest(body, self._leader_frame)
        except TransformUnavailable as err:
            self._problems.add(
                'pose_graph',
                f'the path of the pose graph is not used: {err}; set frames.body to the frame '
                'whose poses it holds',
            )
            return
        self._is_in_map = True
        self._pipeline.correct_path(path, T_body_camera)

    def look(self, question: Question) -> Look:
        """Take from the map what a search needs.

        Raises:
            SearchError: The question is not valid, or there is no language model.
            TransformUnavailable: The frame of the region is not known.
        """
        frame_id = self.locate()
        return Look(
            header=make_header(frame_id, self._pipeline.newest_stamp_ns),
            epoch=self._pipeline.epoch,
            search=self._pipeline.begin_search(
                question.text,
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
        self._semantics.labels_changed()
        response.labels = label_info(self._publisher.now(), labels)
        response.message = _relabelled(
            len(labels.names) - 1,
            *self._pipeline.num_language_labels(),
            num_paged=self._pipeline.num_voxels - self._pipeline.num_resident,
        )
        response.success = True

    def reset(self, response: Trigger.Response) -> None:
        """Answer ~/reset."""
        num_voxels = self._pipeline.num_voxels
        self._pipeline.reset()
        self._is_in_map = False
        self._publisher.forget_objects()
        self._publisher.hurry()
        self._semantics.labels_changed()
        response.message = f'{num_voxels} voxels forgotten'
        response.success = True

    def load(self, path: Path, response: LoadMap.Response) -> None:
        """Answer ~/load_map.

        Raises:
            MapFileError: The map cannot be read; the one that there is stays.
        """
        notice = self.begin_with(path)
        self._publisher.forget_objects()
        self._publisher.hurry()
        self._semantics.labels_changed()
        response.path = str(path)
        response.num_voxels = self._pipeline.num_voxels
        response.num_submaps = self._pipeline.num_submaps
        response.message = f'{response.num_voxels} voxels loaded from {path}'
        if notice:
            response.message += f'; {notice}'
        response.success = True

    def begin_with(self, path: Path) -> str:
        """Go on with a saved map in place of the one that there is; return a notice, or nothing.

        Raises:
            MapFileError: The map cannot be read; the one that there is stays.
        """
        frame_id = MapFolder.open(path).info.frame_id
        notice = self._pipeline.load(path)
        self._is_in_map = frame_id == self._config.frames.map
        self._publisher.publish_labels()
        self._semantics.map_changed()
        return notice

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


def _relabelled(num_names: int, num_labelled: int, num_points: int, *, num_paged: int) -> str:
    """Tell what came of it; points are those in memory, voxels on the disk come on top."""
    names = '1 name' if num_names == 1 else f'{num_names} names'
    where = ' in memory' if num_paged else ''
    sentence = (
        f'the vocabulary has {names} now, and {num_labelled} of {num_points} voxels{where} are '
        'labelled by it'
    )
    if num_labelled < num_points:
        sentence += '; the rest is unknown until the network looks at it'
    if num_paged:
        sentence += f'; {num_paged} on the disk will be when they are read'
    return sentence
