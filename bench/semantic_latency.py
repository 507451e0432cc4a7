"""How long it takes from a voxel first seen to its label, while frames come at a camera's pace.

A tour through synthetic rooms is played in real time, once into a map alone, and once with the
network beside it on a thread of its own, as in a node. A frame that comes while an older one is
waiting replaces it. Then the camera stays where it is, and the network should come to rest.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from bench.mapping_only import mapper
from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.model import FeaturePyramid
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.building import Building
from concerto_ros.semantic_map.network_input import Window

RATE = 10.0  # of the camera [Hz]
NUM_ROOMS = 2
FRAMES_PER_ROOM = 60
NUM_PARKED = 300  # frames
_MAX_BYTES = 1_000_000_000

Times = NDArray[np.float64]
Result = TypeVar('Result')


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Played:
    """What became of frames.

    Attributes:
        started: When the first one came [s].
        index: (F,) int64 of those that were fused.
        fuse_ms: (F,) time of each of these [ms].
        first: (N,) when a voxel of the thin surface was seen first [s], from `started` on.
        labelled: (N,) when it got its label, likewise; infinite: never.
    """

    started: float
    index: NDArray[np.int64]
    fuse_ms: Times
    first: Times
    labelled: Times


class Beside:
    """The network beside the map: reads and writes on the caller's thread, looks on another.

    Attributes:
        begun: When windows were begun [s].
        ms: Times of windows by step [ms].

    Args:
        pipeline: Used by the caller's thread alone.
    """

    def __init__(self, pipeline: PerceptionPipeline) -> None:
        self.begun: list[float] = []
        self.ms: dict[str, list[float]] = {'begin': [], 'run': [], 'finish': []}
        self._pipeline = pipeline
        self._thread = ThreadPoolExecutor(1)
        self._tried = float('-inf')
        self._window: Window | None = None
        self._looking: Future[list[FeaturePyramid]] | None = None

    def upkeep(self) -> None:
        """Finish a window, and begin the next one if it is time."""
        if self._looking is not None and self._looking.done():
            pyramids, self._looking = self._looking.result(), None
            self._timed('finish', lambda: self._pipeline.finish_semantics(self._window, pyramids))
        now = time.perf_counter()
        if self._looking is None and now >= self._tried + self._pipeline.config.semantics.period:
            self._tried = now
            window = self._timed('begin', self._pipeline.begin_semantics)
            if window is None:
                self.ms['begin'].pop()  # there was nothing to read
                return
            self._window = window
            self.begun.append(now)
            self._looking = self._thread.submit(
                self._timed, 'run', lambda: self._pipeline.run_semantics(window)
            )

    def wait(self, seconds: float) -> None:
        """Wait for the network, at most so long."""
        if self._looking is None or self._looking.done():
            time.sleep(seconds)
        else:
            wait([self._looking], timeout=seconds)

    def close(self) -> None:
        """Let the network end, and write what came of it."""
        self._thread.shutdown()
        self._tried = float('inf')
        self.upkeep()

    def _timed(self, step: str, work: Callable[[], Result]) -> Result:
        started = _clock()
        result = work()
        self.ms[step].append(1000 * (_clock() - started))
        return result


class Labelled:
    """Notes when voxels of a map got their labels."""

    def __init__(self, pipeline: PerceptionPipeline) -> None:
        self._map = pipeline._map
        self._seconds = np.empty(0)  # by row; NaN: no label yet
        self._first_ns = np.empty(0, dtype=np.int64)  # of the voxel that had the row

    def note(self, seconds: float) -> None:
        """Note which voxels have labels by now, in seconds since the first frame."""
        rows, first_ns = self._surface()
        missing = max(0, 1 + int(rows.max(initial=-1)) - len(self._seconds))
        self._seconds = np.pad(self._seconds, (0, missing), constant_values=np.nan)
        self._first_ns = np.pad(self._first_ns, (0, missing))
        is_other = self._first_ns[rows] != first_ns
        self._seconds[rows[is_other]] = np.nan
        self._first_ns[rows] = first_ns
        label, _ = self._map.labels(torch.from_numpy(rows))
        new = rows[(label[:, 0] > 0).numpy() & np.isnan(self._seconds[rows])]
        self._seconds[new] = seconds

    def times(self, start_ns: int) -> tuple[Times, Times]:
        """Return (N,) when voxels were seen first, and labelled; since a stamp [s]."""
        self.note(np.nan)
        rows, first_ns = self._surface()
        return (first_ns - start_ns) / 1e9, np.nan_to_num(self._seconds[rows], nan=np.inf)

    def _surface(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = self._map.surface_rows()
        return rows.numpy(), self._map.observations(rows)[1][:, 0]


def main() -> None:
    """Print how long labels take, what they cost the map, and whether the network rests."""
    building = Building(NUM_ROOMS, num_models=NUM_ROOMS, frames_per_visit=FRAMES_PER_ROOM)
    tour = list(building.tour(frames_per_second=RATE))
    parked = building.parked(NUM_ROOMS - 1, NUM_PARKED, index=FRAMES_PER_ROOM - 1)
    frames = [
        replace(frame, stamp_ns=tour[0].stamp_ns + round(index * 1e9 / RATE))
        for index, frame in enumerate([*tour, *parked])
    ]
    alone = play(tour, mapper(_MAX_BYTES, stride=ConcertoConfig().depth.stride))
    pipeline = PerceptionPipeline(build(ConcertoConfig, {'map.device': 'cpu'}))
    beside = Beside(pipeline)
    both = play(frames, pipeline, beside)
    beside.close()
    seconds = len(tour) / RATE
    in_tour = both.index < len(tour)
    rates = [count / seconds for count in (in_tour.sum(), len(alone.index))]
    latency = (both.labelled - both.first)[both.first < seconds]
    p50, p95 = np.percentile(latency, [50, 95])
    print(
        f'semantic_latency: {rates[0] / rates[1]:.2f} x the frames per second of a map alone '
        f'({rates[0]:.1f} against {rates[1]:.1f} of {RATE:.0f} Hz); from first seen to labelled '
        f'p50 {p50:.2f} s, p95 {p95:.2f} s'
    )
    waited = latency[latency > 1 / RATE]
    print(
        f'  {len(latency):,} voxels: {100 * np.isfinite(latency).mean():.1f} % have a label, '
        f'{100 * (1 - len(waited) / len(latency)):.0f} % had it within a frame, as their cell was '
        f'known; the others {_percentiles(waited, "s", 2)}'
    )
    print(
        f'  a frame takes {_percentiles(both.fuse_ms[in_tour], "ms")}, of a map alone '
        f'{_percentiles(alone.fuse_ms, "ms")}'
    )
    steps = (f'{step} {_percentiles(np.array(ms), "ms")}' for step, ms in beside.ms.items())
    print(f'  {len(beside.begun)} windows: {"; ".join(steps)}')
    parts = np.linspace(0, NUM_PARKED / RATE, 4)
    begun = np.array(beside.begun) - both.started - seconds
    counts = ', '.join(str(count) for count in np.histogram(begun, parts)[0])
    print(
        f'  windows begun in the tour of {seconds:.0f} s: {(begun < 0).sum()}; before the parked '
        f'camera in each {parts[1]:.0f} s: {counts}'
    )


def play(
    frames: Sequence[RGBDFrame], pipeline: PerceptionPipeline, beside: Beside | None = None
) -> Played:
    """Let frames come in real time and fuse them.

    Args:
        frames: At `RATE`.
        pipeline: Takes them.
        beside: The network beside it.
    """
    noted, started, index = Labelled(pipeline), time.perf_counter(), -1
    fused: list[tuple[int, float]] = []
    while index + 1 < len(frames):
        now = time.perf_counter() - started
        newest = min(int(now * RATE), len(frames) - 1)
        if newest > index:
            index, begun = newest, _clock()
            pipeline.integrate(frames[index])
            fused.append((index, 1000 * (_clock() - begun)))
        elif beside:
            beside.wait((index + 1) / RATE - now)
        else:
            time.sleep((index + 1) / RATE - now)
        if beside:
            beside.upkeep()
            noted.note(time.perf_counter() - started)
    first, labelled = noted.times(frames[0].stamp_ns)
    number, fuse_ms = zip(*fused, strict=True)
    return Played(
        started=started,
        index=np.array(number),
        fuse_ms=np.array(fuse_ms),
        first=first,
        labelled=labelled,
    )


def _clock() -> float:
    """Return the time [s] of the thread on the processor, or of the clock if it has helpers."""
    return time.thread_time() if torch.get_num_threads() == 1 else time.perf_counter()


def _percentiles(values: Times, unit: str, digits: int = 1) -> str:
    if len(values) == 0:
        return 'none'
    p50, p95 = np.percentile(values, [50, 95])
    return f'p50 {p50:.{digits}f}, p95 {p95:.{digits}f} {unit}'


if __name__ == '__main__':
    main()
