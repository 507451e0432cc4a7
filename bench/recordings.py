"""The frames and the pipeline that benchmarks share."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from concerto_ros.config.schema import ConcertoConfig, MapConfig
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.io.frame_source import open_source
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.room import SyntheticRoom

_KITCHEN = Path(__file__).resolve().parents[1].parent / 'shared' / 'data' / 'sevenscenes'


def has_kitchen() -> bool:
    """Return whether the kitchen recording is there."""
    return _KITCHEN.exists()


def kitchen_frames(num_frames: int) -> Iterator[RGBDFrame]:
    """Yield the first frames, 640x480, of the kitchen recording, else those of a made-up room."""
    if has_kitchen():
        return iter(open_source(_KITCHEN, keep=lambda i: i < num_frames))
    print('  ../shared/data/sevenscenes is not there: frames of a synthetic room instead')
    return iter(SyntheticRoom(seed=1).frames(num_frames))


def cpu_pipeline() -> PerceptionPipeline:
    """Make a pipeline with default values on the CPU."""
    return PerceptionPipeline(replace(ConcertoConfig(), map=MapConfig(device='cpu')))
