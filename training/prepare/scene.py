"""What a prepared scene is made of, and how its images are linked to its cloud."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.transforms import invert
from training.datasets.layout import SceneWriter
from training.prepare.correspondence import Tolerance, visible_points

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneCloud:
    """The points of a scene.

    Attributes:
        coord: (N, 3) float32 [m], z up.
        color: (N, 3) uint8 RGB.
        normal: (N, 3) float32 unit vectors; zero where unknown.
    """

    coord: NDArray[np.float32]
    color: NDArray[np.uint8]
    normal: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.coord)


class SceneJob(Protocol):
    """One scene to prepare, a dataclass of all that shapes it; it travels to another process."""

    @property
    def name(self) -> str:
        """Name of the scene and of its folders."""

    def write(self, writer: SceneWriter) -> 'SceneReport':
        """Make the scene and write all its parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneReport:
    """What is to be told of a scene that was written.

    Attributes:
        num_points: Of its cloud.
        num_images: That were chosen.
        num_links: Rows of all correspondences.
        notices: Sentences for people.
    """

    num_points: int
    num_images: int
    num_links: int
    notices: tuple[str, ...] = ()


def evenly(num_frames: int, num_images: int) -> set[int]:
    """Return up to `num_images` indices of frames, spread evenly."""
    count = min(num_images, num_frames)
    middles = (np.arange(count) + 0.5) * (num_frames / max(count, 1))
    return set(middles.astype(int).tolist())


def moved_frame(frame: RGBDFrame, T_world_map: Matrix) -> RGBDFrame:
    """Return a frame with its pose taken from the map's frame to another one."""
    return replace(frame, T_map_depth=T_world_map @ frame.T_map_depth)


def write_frames(
    writer: SceneWriter,
    cloud: SceneCloud,
    frames: dict[str, RGBDFrame],
    tolerance: Tolerance,
    normal: NDArray[np.float32] | None,
) -> int:
    """Write frames with the points that each of them sees.

    Args:
        writer: Of the scene.
        cloud: In the frame of the poses.
        frames: By the name of their files.
        tolerance: How far depth image and cloud may be apart.
        normal: (N, 3) unit vectors of the cloud towards the side that was seen; None: unknown.

    Returns:
        Number of links.
    """
    num_links = 0
    for name, frame in frames.items():
        rows = visible_points(cloud.coord, frame, tolerance, normal)
        pose = frame.T_map_depth @ invert(frame.T_color_depth)
        writer.write_image(name, frame.color, rows, intrinsics(frame.color_camera), pose)
        num_links += len(rows)
    return num_links


def intrinsics(camera: PinholeCamera) -> Matrix:
    """Return the (3, 3) float64 matrix of a camera [px]."""
    return np.array([[camera.fx, 0.0, camera.cx], [0.0, camera.fy, camera.cy], [0.0, 0.0, 1.0]])
