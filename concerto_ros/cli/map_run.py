"""Maps a whole recording and keeps account of it."""

import dataclasses
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from concerto_ros.errors import FrameError, SourceError
from concerto_ros.io.frame_source import FrameSource

if TYPE_CHECKING:
    from concerto_ros.pipeline import PerceptionPipeline

T = TypeVar('T')


@dataclasses.dataclass(kw_only=True)
class MapRun:
    """What is to be told of one run.

    Attributes:
        notices: Sentences of the pipeline, in order.
        num_frames: Frames that are in the map.
        dropped: How often a reason left out a frame.
        stamps_ns: Of the first and the last frame in the map.
        seconds: By stage.
    """

    notices: list[str]
    num_frames: int = 0
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)
    stamps_ns: tuple[int, int] = (0, 0)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    def load(self, pipeline: 'PerceptionPipeline', path: Path) -> None:
        """Have a pipeline go on with a saved map.

        Raises:
            MapFileError: There is none, or it does not fit.
        """
        from concerto_ros.storage import find_map  # torch takes seconds to import

        with self.timed('loading'):
            notice = pipeline.load(find_map(path))
        self.notices += [notice] if notice else []

    def add_seconds(self, stage: str, seconds: float) -> None:
        """Count time towards a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the time inside the context towards a stage."""
        start = time.perf_counter()
        yield
        self.add_seconds(stage, time.perf_counter() - start)

    def timed_items(self, stage: str, items: Iterable[T]) -> Iterator[T]:
        """Yield the items; the time to get each of them counts as the stage."""
        iterator = iter(items)
        while True:
            with self.timed(stage):
                item = next(iterator, None)
            if item is None:
                return
            yield item


def is_moved(source: FrameSource) -> bool:
    """Tell whether the frame of the fusion is not the map frame, as far as was read."""
    return not np.array_equal(source.T_map_fusion, np.eye(4))


def map_all(source: FrameSource, pipeline: 'PerceptionPipeline', run: MapRun) -> None:
    """Integrate all frames, then label them, and note how it went.

    Raises:
        SourceError: No frame is usable; the message says why.
    """
    bar = tqdm(total=source.num_frames_hint, unit='frame', disable=None)  # None: only on terminals
    with bar, logging_redirect_tqdm():
        for frame in run.timed_items('reading', source):
            try:
                _correct(source, pipeline)
                report = pipeline.integrate(frame)
            except FrameError as err:
                run.dropped[str(err)] += 1
            else:
                run.num_frames += 1
                run.stamps_ns = (run.stamps_ns[0] or frame.stamp_ns, frame.stamp_ns)
                run.notices += [report.warning] if report.warning else []
                for stage, seconds in report.seconds.items():
                    run.add_seconds(stage, seconds)
            bar.update()
    run.dropped.update(source.dropped)
    if not run.num_frames:
        reasons = '; '.join(f'{count} x {reason}' for reason, count in run.dropped.most_common())
        raise SourceError(
            f'{source.description} has no usable frame: {reasons or "it holds no images"}'
        )
    _correct(source, pipeline)
    with run.timed('semantics'):
        pipeline.update_semantics()


def _correct(source: FrameSource, pipeline: 'PerceptionPipeline') -> None:
    """Tell where the frame of the fusion is in the map, if the recording says so."""
    if is_moved(source):
        pipeline.correct(source.T_map_fusion)
