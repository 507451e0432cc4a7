"""RGBDFrame: one measurement of an RGB-D camera, as sources deliver it and the map takes it."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import FrameError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.transforms import is_rigid


def _identity() -> NDArray[np.float64]:
    return np.eye(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class RGBDFrame:
    """A colour image and a depth image of nearly the same moment, with poses.

    The depth image gives the geometry, with its own camera and pose; colours are looked up by
    projection, so the two images need not be registered or of one size. For a registered pair
    both cameras are the same (or scaled copies) and `T_color_depth` is the identity.

    Attributes:
        stamp_ns: Time of the depth image [ns].
        color: (Hc, Wc, 3) uint8 RGB.
        depth: (Hd, Wd) float32 [m] along the optical axis; not finite or <= 0 is no measurement.
        color_camera: Intrinsics of `color`, Wc x Hc.
        depth_camera: Intrinsics of `depth`, Wd x Hd.
        T_map_depth: (4, 4) float64, takes the depth camera's optical frame to the map's frame.
        T_color_depth: (4, 4) float64, takes the depth camera's frame to the colour camera's.

    Raises:
        FrameError: A shape, dtype or size does not fit, or a transform is not rigid.
    """

    stamp_ns: int
    color: NDArray[np.uint8]
    depth: NDArray[np.float32]
    color_camera: PinholeCamera
    depth_camera: PinholeCamera
    T_map_depth: NDArray[np.float64]
    T_color_depth: NDArray[np.float64] = field(default_factory=_identity)

    def __post_init__(self) -> None:
        if self.color.ndim != 3 or self.color.shape[2] != 3 or self.color.dtype != np.uint8:
            raise FrameError(
                f'color must be (H, W, 3) uint8, got {self.color.shape} {self.color.dtype}'
            )
        if self.depth.ndim != 2 or self.depth.dtype != np.float32:
            raise FrameError(
                f'depth must be (H, W) float32 [m], got {self.depth.shape} {self.depth.dtype}'
            )
        for name, image, camera in (
            ('color', self.color, self.color_camera), ('depth', self.depth, self.depth_camera),
        ):  # fmt: skip
            if image.shape[:2] != (camera.height, camera.width):
                raise FrameError(
                    f'{name} is {image.shape[1]}x{image.shape[0]} '
                    f'but its camera is {camera.width}x{camera.height}'
                )
        for name in ('T_map_depth', 'T_color_depth'):
            if not is_rigid(getattr(self, name)):
                raise FrameError(f'{name} is not a rigid transform: {getattr(self, name)}')
