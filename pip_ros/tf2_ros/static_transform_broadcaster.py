"""Frames that do not move to the topic /tf_static."""

from collections.abc import Iterable

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage


class StaticTransformBroadcaster:
    """Publishes, latched, all static frames it was ever given.

    Do not send the same child twice: real versions differ in whether the first or the last holds.

    Args:
        node: The node that publishes.
        qos: Of /tf_static; None: transient local, depth 1.
    """

    def __init__(self, node: Node, qos: QoSProfile | int | None = None) -> None:
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.pub_tf = node.create_publisher(
            TFMessage, '/tf_static', latched if qos is None else qos
        )
        self._transforms: dict[str, TransformStamped] = {}

    def sendTransform(self, transform: TransformStamped | Iterable[TransformStamped]) -> None:
        """Add one transform or several, and publish all there are."""
        single = isinstance(transform, TransformStamped)
        for one in [transform] if single else transform:
            self._transforms[one.child_frame_id] = one
        self.pub_tf.publish(TFMessage(transforms=list(self._transforms.values())))
