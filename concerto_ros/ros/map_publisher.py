"""MapPublisher: what the node tells of its map, and when."""

import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from concerto_msgs.msg import LabelInfo, MapUpdate
from concerto_ros.errors import ConcertoError
from concerto_ros.geometry.transforms import Matrix
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.ros.activity import Activity
from concerto_ros.ros.conversions import make_header
from concerto_ros.ros.job_threads import JobThreads
from concerto_ros.ros.map_messages import label_info, map_update, point_cloud
from concerto_ros.ros.pace import Pace
from concerto_ros.ros.problems import Problems
from concerto_ros.ros.search_messages import object_markers
from concerto_ros.semantic_map.cloud_reader import CloudReader
from concerto_ros.semantic_map.feed import MapFeed
from concerto_ros.structures import MapChanges, SearchResult

Ask = Callable[[Callable[[], Any]], Any]

_NEWCOMER_PERIOD = 0.2  # [s] between two looks for new subscribers
_MAX_SHARE = 0.1  # of its thread's time for each of ~/map and ~/map_updates
_MAX_GROUPS = 128  # in one message
_UPDATES = 30  # messages that may wait for a slow subscriber
_PATIENCE = Duration(seconds=0.5)  # with it, per message


class MapPublisher:
    """Publishes the map of a pipeline in full and by its changes, label tables and objects.

    All methods but `publish_objects` and `close` belong to the thread that owns the pipeline. Both
    kinds of map wait until their period is over and are left out while nothing changes, or nobody
    listens; a large map takes longer to publish and is published less often. ~/map is put together
    on a thread of its own. Subscribers of ~/map_updates that come late make every group be sent
    once more.

    Args:
        node: Where the publishers live.
        pipeline: Whose map it is.
        activity: Where times are noted.
        problems: Where damaged files are counted.
        ask: Has the thread that owns the pipeline do something and waits for it.
        wake: Has that thread look soon what there is to publish.
    """

    def __init__(
        self,
        node: Node,
        pipeline: PerceptionPipeline,
        activity: Activity,
        problems: Problems,
        ask: Ask,
        wake: Callable[[], None],
    ) -> None:
        latched = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        self._node = node
        self._pipeline = pipeline
        self._activity = activity
        self._problems = problems
        self._ask, self._wake = ask, wake
        self._map = node.create_publisher(PointCloud2, '~/map', latched)
        self._updates = node.create_publisher(MapUpdate, '~/map_updates', _reliable(_UPDATES))
        self._label_info = node.create_publisher(LabelInfo, '~/label_info', latched)
        self._language_label_info = node.create_publisher(
            LabelInfo, '~/language_label_info', latched
        )
        self._objects = node.create_publisher(MarkerArray, '~/objects', latched)
        self._objects_lock = threading.Lock()
        self._integrated = node.create_publisher(Header, '~/integrated', _reliable(10))
        self._reader = JobThreads(node, 'pages')
        self._map_pace, self._update_pace = Pace(_MAX_SHARE), Pace(_MAX_SHARE)
        self._published = self._state()
        self._is_reading = False
        self._sent: tuple[int, int] | None = None
        self._told_poses: Matrix | None = None
        self._feed: MapFeed | None = None
        self._has_newcomer = False
        self._num_listeners = {'map': 0, 'updates': 0}
        # Not the matched event of the publisher: Humble has none. Real time, also in simulation.
        self._timer = node.create_timer(
            _NEWCOMER_PERIOD,
            self._look_for_newcomers,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

    def close(self, timeout: float) -> bool:
        """End the thread; False if it has not ended after `timeout` seconds."""
        return self._reader.close(timeout)

    def publish_labels(self) -> None:
        """Publish both label tables."""
        header = self.now()
        self._label_info.publish(label_info(header, self._pipeline.labels))
        self._language_label_info.publish(label_info(header, self._pipeline.language_labels))

    def now(self) -> Header:
        """Return a header with the time of the node."""
        return Header(stamp=self._node.get_clock().now().to_msg())

    def publish_integrated(self, frame_id: str, stamp_ns: int) -> None:
        """Tell that a frame has been dealt with, so that a replay may send the next one."""
        self._integrated.publish(make_header(frame_id, stamp_ns))

    def publish_objects(self, header: Header, epoch: int, result: SearchResult) -> None:
        """Show what a search found, unless its map is gone; may be called by any thread.

        Args:
            header: Frame of the objects and time of the map.
            epoch: Of the map that was searched.
            result: Its objects replace those shown before.
        """
        labels = self._pipeline.language_labels
        markers = object_markers(header, result.objects, labels)
        with self._objects_lock:  # so that none are shown after they were forgotten
            if epoch == self._pipeline.epoch:
                self._objects.publish(markers)

    def forget_objects(self) -> None:
        """Show no objects any more, because the map was reset."""
        with self._objects_lock:
            self._objects.publish(object_markers(self.now(), (), self._pipeline.language_labels))

    def publish_map(self, frame_id: str, period: float) -> float:
        """Have ~/map published if it changed, somebody listens and its time has come.

        Args:
            frame_id: Name of the world.
            period: Shortest time between two maps [s].

        Returns:
            Seconds until there is more to do; infinite: not before something happens.
        """
        is_news = self._state() != self._published
        if self._is_reading or not is_news or not self._num_listeners['map']:
            return float('inf')
        wait = self._map_pace.wait(period)
        if wait == 0:
            self._is_reading = True
            header = make_header(frame_id, self._pipeline.newest_stamp_ns)
            reader = self._pipeline.read_cloud()  # which may raise the revision
            self._published = self._state()
            self._reader.run(partial(self._read_map, header, self._pipeline.epoch, reader))
        return wait or float('inf')

    def publish_updates(self, frame_id: str, period: float) -> float:
        """Publish changed groups to those who listen, if their time has come.

        Args:
            frame_id: Name of the world.
            period: Shortest time between two updates [s]; while groups wait, parts of one update
                follow each other sooner.

        Returns:
            Seconds until there is more to do; infinite: not before something happens.
        """
        if not self._num_listeners['updates']:
            self._feed = None
            return float('inf')
        is_another = self._sent is not None and self._sent[0] != self._pipeline.epoch
        if self._feed is None or self._has_newcomer or is_another:
            self._has_newcomer = False
            self._feed, self._sent, self._told_poses = self._pipeline.feed(), None, None
        if self._state() == self._sent and not self._feed.has_more:
            return float('inf')
        wait = self._update_pace.wait(0.0 if self._feed.has_more else period)
        if wait == 0:
            with self._update_pace, self._activity.stage('publishing'):
                self._publish_changes(frame_id, self._feed.next(_MAX_GROUPS))
            self._sent = self._state()
            if paged := self._feed.take_paged():
                epoch = self._pipeline.epoch
                self._reader.run(partial(self._read_paged, frame_id, epoch, self._feed, paged))
            wait = self._update_pace.wait(0.0) if self._feed.has_more else float('inf')
        return wait

    def hurry(self) -> None:
        """Let the next maps go out at once, because the map is another one."""
        self._map_pace.hurry()
        self._update_pace.hurry()

    def _state(self) -> tuple[int, int]:
        return self._pipeline.epoch, self._pipeline.revision

    def _read_map(self, header: Header, epoch: int, reader: CloudReader) -> None:
        """Read the map and publish it; on the thread of the reader."""
        try:
            with self._map_pace, self._activity.stage('map'):
                cloud = reader.read(self._ask)
                if epoch == self._pipeline.epoch:
                    self._map.publish(point_cloud(header, cloud))
        except ConcertoError as err:
            self._report(err, epoch)
        finally:
            self._is_reading = False
            self._wake()

    def _read_paged(
        self, frame_id: str, epoch: int, feed: MapFeed, chunk_keys: Iterable[int]
    ) -> None:
        """Read chunks on the disk and publish them as updates; on the thread of the reader."""
        config = self._pipeline.config.semantics
        try:
            for changes in feed.read(chunk_keys, _MAX_GROUPS, config):
                if epoch != self._pipeline.epoch:
                    return
                header = make_header(frame_id, changes.stamp_ns)
                self._updates.publish(map_update(header, changes))
                self._updates.wait_for_all_acked(_PATIENCE)  # else it would replace those before
        except ConcertoError as err:
            self._report(err, epoch)

    def _report(self, err: ConcertoError, epoch: int) -> None:
        if epoch == self._pipeline.epoch:  # a reset takes the files away
            self._problems.add('disk', f'a part of the map is not published: {err}')

    def _publish_changes(self, frame_id: str, changes: MapChanges) -> None:
        poses = changes.T_world_submap
        is_told = self._told_poses is not None and np.array_equal(poses, self._told_poses)
        if len(changes.key) or not is_told:
            self._updates.publish(map_update(make_header(frame_id, changes.stamp_ns), changes))
            self._told_poses = poses

    def _look_for_newcomers(self) -> None:
        for name, publisher in (('map', self._map), ('updates', self._updates)):
            number, before = publisher.get_subscription_count(), self._num_listeners[name]
            self._num_listeners[name] = number
            if number > before:
                self._has_newcomer |= name == 'updates'
                self._wake()


def _reliable(depth: int) -> QoSProfile:
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE)
