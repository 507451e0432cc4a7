"""Whether a frame costs more in the map of a building than in that of a room.

Maps of three sizes hold the rooms of one synthetic building. The same frames then go into each
of them, in turns: more visits to a room that all maps know, and a first one to a room that none
does. With one thread, times are those of the processor, so other programs hardly matter.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bench.mapping_only import mapper
from bench.resident import resident
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.building import Building
from concerto_ros.rooms.building_tour import Tour

SIZES = (100_000, 1_000_000, 10_000_000)  # voxels
NUM_ROOMS = 100
NUM_KNOWN = 3  # timed visits to known rooms
_MAX_BYTES = 16_000_000_000  # nothing is paged
_STRIDE = 2  # of 320x240: as many points per frame as of 640x480 by default
_UPDATE_EVERY = 5  # frames
_WARMUP = 3  # frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What frames cost in each map.

    Attributes:
        frame_ms: (frames, maps) time to integrate a frame [ms].
        changes_ms: (frames, maps) time to ask for its changes [ms].
        num_changed: (frames, maps) points of those changes.
    """

    frame_ms: NDArray[np.float64]
    changes_ms: NDArray[np.float64]
    num_changed: NDArray[np.float64]


def main() -> None:
    """Print the comparison and a line for each size."""
    building = Building(NUM_ROOMS)
    building.render()
    tour = building.tour(1 + NUM_KNOWN)
    maps = [mapper(_MAX_BYTES, stride=_STRIDE) for _ in SIZES]
    filled, num_bytes = zip(
        *(_fill(map_, tour, size) for map_, size in zip(maps, SIZES, strict=True)), strict=True
    )
    again = np.flatnonzero(tour.round > 0).reshape(NUM_KNOWN, -1)[:, : filled[0]].ravel()
    new = np.flatnonzero((tour.round == 0) & (tour.place == NUM_ROOMS - 1))
    seen = _measure(maps, (tour[index] for index in again))
    explored = _measure(maps, (tour[index] for index in new))
    ratio = np.median(seen.frame_ms[:, -1] / seen.frame_ms[:, 0])
    print(
        f'building: {ratio:.2f} x the time of a map of {SIZES[0]:,} voxels for a frame in one of '
        f'{SIZES[-1]:,} ({np.median(seen.frame_ms[:, -1]):.2f} ms against '
        f'{np.median(seen.frame_ms[:, 0]):.2f} ms, {len(seen.frame_ms)} frames of a known room)'
    )
    for k, size in enumerate(SIZES):
        print(
            f'  {size:,} voxels: known room {_percentiles(seen.frame_ms[:, k])}; new room '
            f'{_percentiles(explored.frame_ms[:, k])}, worst {explored.frame_ms[:, k].max():.1f}'
        )
        print(
            f'    changes of a frame {_percentiles(seen.changes_ms[:, k])}, '
            f'{np.median(seen.num_changed[:, k]):,.0f} points; '
            f'{num_bytes[k] / maps[k].num_voxels:.0f} bytes of memory per voxel, '
            f'{sum(maps[k].memory.values()) / maps[k].num_voxels:.0f} by its own count'
        )


def _fill(map_: PerceptionPipeline, tour: Tour, num_voxels: int) -> tuple[int, int]:
    """Let a map grow to a size; return how many frames it took, and bytes of memory."""
    before, revision = resident().anonymous, map_.revision
    for index, frame in enumerate(tour):
        if map_.num_voxels >= num_voxels:
            return index, resident().anonymous - before
        map_.integrate(frame)
        if index % _UPDATE_EVERY == 0:
            revision = map_.changes(revision).revision  # as a node would, again and again
    raise RuntimeError(f'{NUM_ROOMS} rooms have {map_.num_voxels:,} voxels: take more')


def _measure(maps: Sequence[PerceptionPipeline], frames: Iterable[RGBDFrame]) -> Costs:
    rows = []
    for turn, frame in enumerate(frames):
        costs = np.empty((len(maps), 3))
        for k in np.roll(np.arange(len(maps)), turn):  # none is always the first
            costs[k] = _cost(maps[k], frame)
        rows.append(costs)
    frame_ms, changes_ms, num_changed = np.array(rows[_WARMUP:]).transpose(2, 0, 1)
    return Costs(frame_ms=frame_ms, changes_ms=changes_ms, num_changed=num_changed)


def _cost(map_: PerceptionPipeline, frame: RGBDFrame) -> tuple[float, float, int]:
    since, started = map_.revision, _clock()
    map_.integrate(frame)
    middle = _clock()
    changes = map_.changes(since)
    return 1000 * (middle - started), 1000 * (_clock() - middle), len(changes.cloud)


def _clock() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def _percentiles(times: NDArray[np.float64]) -> str:
    p50, p95 = np.percentile(times, [50, 95])
    return f'p50 {p50:.1f}, p95 {p95:.1f} ms'


if __name__ == '__main__':
    main()
