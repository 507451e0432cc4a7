"""FusionFrame: the one frame in which the images of all cameras are fused."""

from concerto_ros.ros.transforms import Transforms


class FusionFrame:
    """Chosen with the first image that can be placed, then kept until it is forgotten.

    Args:
        transforms: Where cameras are.

    Attributes:
        transforms: As above.
    """

    def __init__(self, transforms: Transforms) -> None:
        self.transforms = transforms
        self._name: str | None = None

    def choose(self, depth_frame: str, stamp: int) -> str:
        """Return the frame for an image of a stamp [ns].

        Raises:
            TransformUnavailable: None is chosen yet, and nothing places the camera.
        """
        if self._name is None:
            self._name = self.transforms.fusion_frame(depth_frame, stamp)
        return self._name

    def forget(self) -> None:
        """Choose anew with the next image."""
        self._name = None
