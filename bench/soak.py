"""Whether memory grows over a day's work: a long tour through a building, faster than real time.

The robot visits all rooms again and again at two frames per second; between rounds one object per
room moves. Most of the map does not fit into `map.max_bytes`. SOAK_MINUTES sets how long the tour
is by its stamps; the building has as many rooms as `_NUM_ROUNDS` rounds take.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass

import numpy as np

from bench.mapping_only import mapper
from bench.resident import resident
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.building import Building
from concerto_ros.rooms.building_tour import Tour
from concerto_ros.rooms.room import DEFAULT_CAMERA

MINUTES = 120.0
MAX_BYTES = 100_000_000  # about five rooms
FRAMES_PER_VISIT = 40
_FRAMES_PER_SECOND = 2.0
_NUM_ROUNDS = 5
_NUM_MODELS = 6
_UPDATE_EVERY = 5  # frames, after which changes are asked for, as a node does
_CAMERA = DEFAULT_CAMERA.scaled(160, 120)  # all of its pixels are used
_NUM_SAMPLES = 48
_NUM_LINES = 12
_BARS = '▁▂▃▄▅▆▇█'


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The state of the process somewhere in the tour.

    Attributes:
        minutes: Since its beginning, by the stamps.
        anonymous: Memory above that of the program and the rendered rooms [MB].
        mapped: Pages of files in memory [MB].
        map: What the map counts as its memory [MB].
        voxels: In the map [millions].
        rate: Frames per second since the last sample.
    """

    minutes: float
    anonymous: float
    mapped: float
    map: float
    voxels: float
    rate: float


def main() -> None:
    """Print how anonymous memory grew, and the curve."""
    building, tour = _tour(float(os.environ.get('SOAK_MINUTES', MINUTES)))
    samples = list(_samples(tour, mapper(MAX_BYTES, stride=1)))
    table = np.array([astuple(sample) for sample in samples])
    minutes, anonymous = table[:, 0], table[:, 1]
    quarter = len(table) // 4
    slope, _ = np.polyfit(minutes[quarter:] / 60, anonymous[quarter:], 1)
    first, last = anonymous[:quarter].mean(), anonymous[-quarter:].mean()
    print(
        f'soak: {last / first:.2f} x the anonymous memory of the first quarter in the last one '
        f'({last:.0f} MB against {first:.0f} MB), {slope:+.1f} MB per hour over the last three, '
        f'in {minutes[-1]:.0f} minutes through {len(building.places)} rooms'
    )
    print(f'  anonymous {_sparkline(anonymous)} of {anonymous.max():.0f} MB')
    print('  minutes  anonymous MB  mapped MB  map MB  million voxels  frames/s')
    for rows in np.array_split(table, _NUM_LINES):
        mean = rows.mean(axis=0)
        print(
            f'  {rows[-1, 0]:7.1f}  {mean[1]:12.0f}  {mean[2]:9.0f}  {mean[3]:6.0f}  '
            f'{mean[4]:14.2f}  {mean[5]:8.0f}'
        )


def _tour(minutes: float) -> tuple[Building, Tour]:
    num_visits = minutes * 60 * _FRAMES_PER_SECOND / FRAMES_PER_VISIT
    building = Building(
        max(1, round(num_visits / _NUM_ROUNDS)),
        num_models=_NUM_MODELS,
        frames_per_visit=FRAMES_PER_VISIT,
        camera=_CAMERA,
    )
    building.render(moving=True)
    return building, building.tour(_NUM_ROUNDS, frames_per_second=_FRAMES_PER_SECOND, moving=True)


def _samples(tour: Tour, pipeline: PerceptionPipeline) -> Iterator[Sample]:
    """Map the tour, ask for changes as a node would, and look at memory now and then."""
    base = resident().anonymous
    ends = np.linspace(0, len(tour), _NUM_SAMPLES + 1).astype(int)[1:]
    revision, begun, started = 0, 0, time.perf_counter()
    for index, frame in enumerate(tour, start=1):
        pipeline.integrate(frame)
        if index % _UPDATE_EVERY == 0:
            revision = pipeline.changes(revision).revision
        if index not in ends:
            continue
        now, memory = time.perf_counter(), resident()
        yield Sample(
            minutes=index / _FRAMES_PER_SECOND / 60,
            anonymous=(memory.anonymous - base) / 1e6,
            mapped=memory.mapped / 1e6,
            map=sum(pipeline.memory.values()) / 1e6,
            voxels=pipeline.num_voxels / 1e6,
            rate=(index - begun) / (now - started),
        )
        begun, started = index, now


def _sparkline(values: np.ndarray) -> str:
    """Draw values as bars from zero to the largest."""
    bars = np.clip(values / values.max() * len(_BARS), 0, len(_BARS) - 1).astype(int)
    return ''.join(_BARS[bar] for bar in bars)


if __name__ == '__main__':
    main()
