"""MapPublisher: what the node tells of its map, and when."""

import threading
from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from concerto_msgs.msg import LabelInfo, MapUpdate
from concerto_ros.geometry.transforms import Matrix
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.ros.activity import Activity
from concerto_ros.ros.conversions import make_header
from concerto_ros.ros.map_messages import label_info, map_update, point_cloud
from concerto_ros.ros.pace import Pace
from concerto_ros.ros.search_messages import object_markers
from concerto_ros.structures import SearchResult

_NEWCOMER_PERIOD = 0.2  # [s] between two looks for new subscribers
_MAX_SHARE = 0.1  # of the worker's time for each of ~/map and ~/map_updates


class MapPublisher:
    """Publishes the map of a pipeline in full and by its changes, label tables and objects.

    All methods but `publish_objects` belong to the thread that owns the pipeline. Both kinds of
    map wait until their period is over and are left out while nothing changes; a large map takes
    longer to publish and is published less often. Subscribers of ~/map_updates that come late make
    every group be sent once.

    Args:
        node: Where the publishers live.
        pipeline: Whose map it is.
        activity: Where times are noted.
        on_newcomer: Called by the node's executor when somebody subscribed to ~/map_updates.
    """

    def __init__(
        self,
        node: Node,
        pipeline: PerceptionPipeline,
        activity: Activity,
        on_newcomer: Callable[[], None],
    ) -> None:
        reliable = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        latched = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        self._node = node
        self._pipeline = pipeline
        self._activity = activity
        self._on_newcomer = on_newcomer
        self._map = node.create_publisher(PointCloud2, '~/map', latched)
        self._updates = node.create_publisher(MapUpdate, '~/map_updates', reliable)
        self._label_info = node.create_publisher(LabelInfo, '~/label_info', latched)
        self._language_label_info = node.create_publisher(
            LabelInfo, '~/language_label_info', latched
        )
        self._objects = node.create_publisher(MarkerArray, '~/objects', latched)
        self._objects_lock = threading.Lock()
        self._integrated = node.create_publisher(Header, '~/integrated', reliable)
        self._map_pace, self._update_pace = Pace(_MAX_SHARE), Pace(_MAX_SHARE)
        self._published = self._state()
        self._sent = (pipeline.epoch, 0)
        self._num_subscribers = 0
        self._has_newcomer = False
        # Not the matched event of the publisher: Humble has none. Real time, also in simulation.
        self._timer = node.create_timer(
            _NEWCOMER_PERIOD,
            self._look_for_newcomers,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

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

    def publish_map(self, frame_id: str, T_frame_fusion: Matrix | None, period: float) -> float:
        """Publish ~/map if it changed and its time has come.

        Args:
            frame_id: Frame to publish in.
            T_frame_fusion: (4, 4), from the frame of the fusion; None: it is the same.
            period: Shortest time between two maps [s].

        Returns:
            Seconds until there is more to do; infinite: not before the map changes.
        """
        if self._state() == self._published:
            return float('inf')
        wait = self._map_pace.wait(period)
        if wait == 0:
            with self._map_pace, self._activity.stage('publishing'):
                header = make_header(frame_id, self._pipeline.newest_stamp_ns)
                self._map.publish(point_cloud(header, self._pipeline.cloud(T_frame_fusion)))
            self._published = self._state()  # reading the map may have raised its revision
        return wait or float('inf')

    def publish_updates(self, fusion_frame: str, period: float) -> float:
        """Publish the changed groups to those who subscribe, if their time has come.

        Args:
            fusion_frame: Frame in which the map is fused.
            period: Shortest time between two updates [s].

        Returns:
            Seconds until there is more to do; infinite: not before something happens.
        """
        if self._has_newcomer:
            self._has_newcomer = False
            self._sent = (self._pipeline.epoch, 0)
        if self._state() == self._sent or not self._num_subscribers:
            return float('inf')
        wait = self._update_pace.wait(period)
        if wait == 0:
            with self._update_pace, self._activity.stage('publishing'):
                changes = self._pipeline.changes(self._sent[1])
                header = make_header(fusion_frame, changes.stamp_ns)
                self._updates.publish(map_update(header, changes))
            self._sent = (changes.epoch, changes.revision)
        return wait or float('inf')

    def hurry(self) -> None:
        """Let the next maps go out at once, because the map is another one."""
        self._map_pace.hurry()
        self._update_pace.hurry()

    def _state(self) -> tuple[int, int]:
        return self._pipeline.epoch, self._pipeline.revision

    def _look_for_newcomers(self) -> None:
        num_subscribers = self._updates.get_subscription_count()
        is_more = num_subscribers > self._num_subscribers
        self._num_subscribers = num_subscribers
        if is_more:
            self._has_newcomer = True
            self._on_newcomer()
