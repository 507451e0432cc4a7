"""Recordings as scenes: rosbag2, ROS 1 bags and folders of frames, fused as on the robot."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from concerto_ros.errors import FrameError, SourceError
from concerto_ros.io.frame_source import FrameSource, open_source
from training.datasets.layout import SceneWriter
from training.prepare.correspondence import MEASURED
from training.prepare.fusion import CloudFusion, FusionSettings
from training.prepare.motion import ChosenFrames, Spacing
from training.prepare.scene import SceneReport, moved_frame, write_frames


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingJob:
    """One recording.

    Attributes:
        source: As of `open_source`.
        options: Of `open_source`.
        every: Only every n-th frame is read.
        settings: How frames are fused.
        spacing: Which frames are kept as images.
    """

    source: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    every: int = 1
    settings: FusionSettings = field(default_factory=FusionSettings)
    spacing: Spacing = field(default_factory=Spacing)

    @property
    def name(self) -> str:
        """Name of the scene: that of the folder, or of the file without its suffix."""
        path = self.source.resolve()
        return path.stem if path.is_file() else path.name

    def write(self, writer: SceneWriter) -> SceneReport:
        """Fuse all frames, and link those between which the camera moved to the cloud."""
        fusion, chosen = CloudFusion(self.settings), ChosenFrames(self.spacing)
        with open_source(self.source, **self.options, keep=self._keeps) as source:
            dropped = _read(source, fusion, chosen)
            T_world_map = source.T_map_fusion
        cloud = fusion.cloud(T_world_map)
        frames = {k: moved_frame(frame, T_world_map) for k, frame in chosen.named().items()}
        writer.write_cloud(cloud.coord, cloud.color, cloud.normal, {})
        return SceneReport(
            num_points=len(cloud),
            num_images=len(frames),
            num_links=write_frames(writer, cloud, frames, MEASURED, cloud.normal),
            notices=(*fusion.warnings, *(f'{n} frames left out: {why}' for why, n in dropped)),
        )

    def _keeps(self, index: int) -> bool:
        return index % self.every == 0


def _read(source: FrameSource, fusion: CloudFusion, chosen: ChosenFrames) -> list[tuple[str, int]]:
    """Fuse all frames and return how often a reason left one out.

    Raises:
        SourceError: No frame is usable.
    """
    dropped: Counter[str] = Counter()
    for frame in source:
        try:
            fusion.integrate(frame)
        except FrameError as err:
            dropped[str(err)] += 1
        else:
            chosen.offer(frame)
    dropped.update(source.dropped)
    if fusion.num_frames == 0:
        reasons = '; '.join(f'{n} x {reason}' for reason, n in dropped.most_common())
        raise SourceError(
            f'{source.description} has no usable frame: {reasons or "it holds no images"}'
        )
    return dropped.most_common()
