"""Synthetic rooms as scenes: fused from noisy frames as a robot would, labelled by their truth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from concerto_ros.config.schema import DepthConfig
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.rooms.classes import CLASS_NAMES, SCANNET20, scannet20_of
from concerto_ros.rooms.room import DEFAULT_CAMERA, SyntheticRoom
from concerto_ros.rooms.sketch import Families
from training.datasets.layout import SceneWriter
from training.prepare.correspondence import MEASURED
from training.prepare.fusion import CloudFusion, FusionSettings
from training.prepare.nearest import NONE, nearest_within
from training.prepare.scene import SceneReport, evenly, write_frames
from training.structures import IGNORED

# A quarter of the pixels of small images: about the density of the robot's 640x480 with stride 4.
_SETTINGS = FusionSettings(depth=DepthConfig(stride=2))
_RADII = (0.02, 0.05)  # of the truth around a measured point; the last one counts [m]
_SPACING = 0.02  # of the points of the truth [m]

# (L,) ScanNet-20 number of each class id of a room; -1 for what ScanNet leaves unlabelled.
_SCANNET20_ID = np.array(
    [SCANNET20.index(s) if s in SCANNET20 else IGNORED for s in map(scannet20_of, CLASS_NAMES)]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomJob:
    """One room.

    Attributes:
        seed: Of the room, its walk and its noise.
        families: Which furniture it may have.
        num_frames: Of the walk, all of which are fused.
        num_images: Of these frames, evenly chosen, that are kept as images.
        width: Of the frames [px].
        height: Of the frames [px].
    """

    seed: int
    families: Families = 'all'
    num_frames: int = 40
    num_images: int = 8
    width: int = 320
    height: int = 240

    @property
    def name(self) -> str:
        """Name of the scene."""
        return f'room_{self.seed:06d}'

    def write(self, writer: SceneWriter) -> SceneReport:
        """Walk through the room, fuse what the camera measures, and label it by the truth."""
        room = SyntheticRoom(self.seed, families=self.families)
        walk = room.frames(self.num_frames, DEFAULT_CAMERA.scaled(self.width, self.height))
        fusion = CloudFusion(_SETTINGS)
        chosen: dict[str, RGBDFrame] = {}
        indices = evenly(self.num_frames, self.num_images)
        for index, frame in enumerate(walk):
            fusion.integrate(frame)
            if index in indices:
                chosen[f'{index:06d}'] = frame
        cloud = fusion.cloud(np.eye(4))
        writer.write_cloud(cloud.coord, cloud.color, cloud.normal, labels(room, cloud.coord))
        return SceneReport(
            num_points=len(cloud),
            num_images=len(chosen),
            num_links=write_frames(writer, cloud, chosen, MEASURED, cloud.normal),
        )


def labels(room: SyntheticRoom, coord: NDArray[np.float32]) -> dict[str, NDArray]:
    """Label measured points by the exact surface.

    Args:
        room: That was measured.
        coord: (N, 3) float32 [m].

    Returns:
        segment20: (N,) int16, place in `SCANNET20`; -1 where ScanNet has no such class, or no
            true surface is within 5 cm.
        segment55: (N,) int16, place in `ROOM_CLASSES`, which leave nothing out; -1 where no
            true surface is within 5 cm.
        instance: (N,) int32 id in `room.instances`; -1 where no true surface is within 5 cm.
    """
    truth = room.cloud(_SPACING)
    row = nearest_within(coord, truth.coord, _RADII)
    is_known = row != NONE

    def known(values: NDArray[np.integer]) -> NDArray[np.integer]:
        return np.where(is_known, values, IGNORED)

    return {
        'segment20': known(_SCANNET20_ID[truth.label[row]]).astype(np.int16),
        'segment55': known(truth.label[row].astype(np.int16) - 1).astype(np.int16),
        'instance': known(truth.instance[row].astype(np.int32)).astype(np.int32),
    }
