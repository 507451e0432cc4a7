"""RoomFrames: the recording of one camera walk through a synthetic room."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.rooms.cloud import to_uint8
from concerto_ros.rooms.noise import SensorNoise, noisy_color, noisy_depth
from concerto_ros.rooms.render import Rendering
from concerto_ros.rooms.view_memory import remembered

START_NS = 1_700_000_000_000_000_000  # stamp of the first frame
PERIOD_NS = 100_000_000  # 10 Hz


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameTruth:
    """What one frame really shows.

    Attributes:
        depth: (H, W) float32 [m], exact; 0 where nothing is.
        label: (H, W) uint16 class id, index of `CLASS_NAMES`; 0 where nothing is.
        instance: (H, W) uint16 instance id, from 1; 0 where nothing is.
    """

    depth: NDArray[np.float32]
    label: NDArray[np.uint16]
    instance: NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFacts:
    """What is known of each solid of a room; row 0 stands for "nothing".

    Attributes:
        label: (S + 1,) uint16 class ids.
        instance: (S + 1,) uint16 instance ids.
        mirror: (S + 1,) bool, reflects like glass.
    """

    label: NDArray[np.uint16]
    instance: NDArray[np.uint16]
    mirror: NDArray[np.bool_]


class RoomFrames:
    """Frames of one walk, rendered when asked for; a frame source of known length.

    Attributes:
        camera: Of both images: depth is registered to colour.
        poses: (num_frames, 4, 4) float64, exact `T_map_depth` of each frame.
    """

    def __init__(
        self, *, seed: int, view: Callable[[NDArray[np.float64]], Rendering], facts: PixelFacts,
        camera: PinholeCamera, poses: NDArray[np.float64], noise: SensorNoise | None,
    ) -> None:  # fmt: skip
        self.camera = camera
        self.poses = poses
        self._seed = seed
        self._view = view
        self._facts = facts
        self._noise = noise
        self._latest: tuple[int, Rendering] | None = None

    def __len__(self) -> int:
        return len(self.poses)

    def __iter__(self) -> Iterator[RGBDFrame]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> RGBDFrame:
        rendering = self._rendered(index)
        color, depth = rendering.color, rendering.depth.astype(np.float32)
        if self._noise is not None:
            color, depth = self._measured(self._noise, rendering, index)
        return RGBDFrame(
            stamp_ns=START_NS + index * PERIOD_NS,
            color=to_uint8(color),
            depth=depth,
            color_camera=self.camera,
            depth_camera=self.camera,
            T_map_depth=self.poses[index],
        )

    def remembering(self) -> 'RoomFrames':
        """Return the same walk, whose views and those of all its `retaken` are rendered once."""
        other = copy.copy(self)
        other._view = remembered(self._view)
        return other

    def retaken(self, seed: int, poses: NDArray[np.float64] | None = None) -> 'RoomFrames':
        """Return this walk as the sensor would record it another time.

        Args:
            seed: Draws the noise; any whole number from 0.
            poses: (num_frames, 4, 4) float64 of another walk; None: the same.
        """
        other = copy.copy(self)
        other._seed, other._latest = seed, None
        other.poses = self.poses if poses is None else poses
        return other

    def frame_truth(self, index: int) -> FrameTruth:
        """Return labels, instances and exact depth of one frame.

        Raises:
            IndexError: There is no such frame.
        """
        rendering = self._rendered(index)
        return FrameTruth(
            depth=rendering.depth.astype(np.float32),
            label=self._facts.label[rendering.part + 1],
            instance=self._facts.instance[rendering.part + 1],
        )

    def _rendered(self, index: int) -> Rendering:
        """Return a view; the latest one is kept, as frame and truth are often asked together."""
        if not 0 <= index < len(self):
            raise IndexError(f'frame {index} of a walk of {len(self)} frames')
        if self._latest is None or self._latest[0] != index:
            self._latest = (index, self._view(self.poses[index]))
        return self._latest[1]

    def _measured(
        self, noise: SensorNoise, rendering: Rendering, index: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        rng = np.random.default_rng([self._seed, 2, index])
        mirror = self._facts.mirror[rendering.part + 1]
        depth = noisy_depth(
            noise, rendering.depth, rendering.cosine, rendering.reflectance, mirror, rng
        )
        start = np.random.default_rng([self._seed, 3]).uniform(0, 2 * np.pi)
        stops = noise.exposure * np.sqrt(2) * np.sin(start + 0.2 * index)
        return noisy_color(noise, rendering.color, float(stops), rng), depth
