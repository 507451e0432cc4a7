"""A ROS graph for one test: nodes over real DDS, spun until something has happened."""

import faulthandler
import sys
import time
from array import array

import numpy as np
import pytest

START_NS = 1000 * 1_000_000_000


class Graph:
    """Nodes in a context and an executor of their own."""

    def __init__(self):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self.context = rclpy.Context()
        self.context.init()
        self.executor = SingleThreadedExecutor(context=self.context)
        self.nodes = []

    def node(self, name, *arguments, **options):
        """Make a node; arguments are those after --ros-args."""
        import rclpy

        cli_args = ['--ros-args', *arguments] if arguments else None
        node = rclpy.create_node(name, context=self.context, cli_args=cli_args, **options)
        self.executor.add_node(node)
        self.nodes.append(node)
        return node

    def until(self, condition, seconds=30.0):
        """Spin until the condition holds; fail if that takes too long."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                faulthandler.dump_traceback(sys.__stderr__)  # what every thread was waiting for
                pytest.fail('waited in vain')
            self.executor.spin_once(timeout_sec=0.02)

    def spin_for(self, seconds):
        """Spin for a while, for what must not happen."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)

    def close(self):
        self.executor.shutdown()
        for node in self.nodes:
            node.destroy_node()
        self.context.try_shutdown()


class Robot:
    """A camera driver and its transforms: publishes what a test asks for.

    Topics are below the namespace. Images are of the size (width, height), in this frame.
    """

    SIZE = (8, 6)

    def __init__(
        self, graph, namespace='', qos=10, info_qos=10, tf='/tf', frame='camera', size=SIZE
    ):
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from sensor_msgs.msg import CameraInfo, CompressedImage, Image
        from tf2_msgs.msg import TFMessage

        self.graph = graph
        self.frame, self.size = frame, size
        self.node = graph.node('robot', namespace=namespace)
        create = self.node.create_publisher
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.color = create(Image, 'color/image', qos)
        self.depth = create(Image, 'depth/image', qos)
        self.color_info = create(CameraInfo, 'color/camera_info', info_qos)
        self.compressed_color = create(CompressedImage, 'color/image/compressed', qos)
        self.compressed_depth = create(CompressedImage, 'depth/image/compressedDepth', qos)
        self.tf_topic = create(TFMessage, tf, 100)
        self.tf_static_topic = create(TFMessage, f'{tf}_static', latched)

    def until_heard(self, *publishers):
        """Spin until all of these have the subscription they are to keep."""
        for publisher in publishers or (self.color, self.depth, self.color_info, self.tf_topic):
            self.graph.until(lambda p=publisher: self._is_heard(p))

    def _is_heard(self, publisher):
        found = self.node.get_subscriptions_info_by_topic(publisher.topic_name)
        wanted = publisher.qos_profile.reliability
        return any(s.qos_profile.reliability == wanted for s in found) and (
            publisher.get_subscription_count() > 0
        )

    def tf(self, parent, child, stamp_ns=0, xyz=(0.0, 0.0, 0.0), static=False):
        from geometry_msgs.msg import TransformStamped
        from tf2_msgs.msg import TFMessage

        message = TransformStamped(header=header(parent, stamp_ns), child_frame_id=child)
        t = message.transform.translation
        t.x, t.y, t.z = map(float, xyz)
        topic = self.tf_static_topic if static else self.tf_topic
        topic.publish(TFMessage(transforms=[message]))

    def info(self, publisher=None, f=8.0, size=None):
        from sensor_msgs.msg import CameraInfo

        width, height = size or self.size
        message = CameraInfo(header=header(self.frame, START_NS), width=width, height=height)
        message.k = [f, 0.0, (width - 1) / 2, 0.0, f, (height - 1) / 2, 0.0, 0.0, 1.0]
        (publisher or self.color_info).publish(message)

    def images(self, stamp_ns=START_NS, depth_frame=None, depth_size=None, encoding='rgb8'):
        """Publish a grey image and a wall at 1.5 m."""
        width, height = self.size
        color = np.full((height, width, 3), 7, np.uint8)
        depth = np.full((depth_size or self.size)[::-1], 1500, np.uint16)
        self.color.publish(image(self.frame, stamp_ns, encoding, color))
        self.depth.publish(image(depth_frame or self.frame, stamp_ns, '16UC1', depth))

    def close(self):
        """End the driver, as a crash does."""
        self.graph.executor.remove_node(self.node)
        self.graph.nodes.remove(self.node)
        self.node.destroy_node()


def header(frame_id, stamp_ns):
    from std_msgs.msg import Header

    message = Header(frame_id=frame_id)
    message.stamp.sec, message.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
    return message


def image(frame_id, stamp_ns, encoding, pixels):
    from sensor_msgs.msg import Image

    message = Image(header=header(frame_id, stamp_ns), encoding=encoding)
    message.height, message.width = pixels.shape[:2]
    message.step = pixels.nbytes // message.height
    message.data = array('B', pixels.tobytes())
    return message


@pytest.fixture
def graph():
    """Return a graph; it is taken down after the test."""
    graph = Graph()
    yield graph
    graph.close()


@pytest.fixture
def make_robot(graph):
    """Return make_robot(**options), see `Robot`."""
    return lambda **options: Robot(graph, **options)


@pytest.fixture
def make_image():
    """Return make_image(frame_id, stamp_ns, encoding, pixels), a message."""
    return image
