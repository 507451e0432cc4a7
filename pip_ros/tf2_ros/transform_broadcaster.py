"""Moving frames to the topic /tf."""

from collections.abc import Iterable

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from tf2_msgs.msg import TFMessage


class TransformBroadcaster:
    """Publishes where frames are.

    Args:
        node: The node that publishes.
        qos: Of /tf; None: depth 100.
    """

    def __init__(self, node: Node, qos: QoSProfile | int | None = None) -> None:
        self.pub_tf = node.create_publisher(TFMessage, '/tf', 100 if qos is None else qos)

    def sendTransform(self, transform: TransformStamped | Iterable[TransformStamped]) -> None:
        """Publish one transform or several."""
        single = isinstance(transform, TransformStamped)
        self.pub_tf.publish(TFMessage(transforms=[transform] if single else list(transform)))
