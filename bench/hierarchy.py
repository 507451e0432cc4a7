"""Features of all levels at every voxel, by hash against dense grids: time and memory.

python -m bench.hierarchy [--voxels N]

The reference is the published sampler: per level a dense grid of a few channels at a time, zero
where no cell is, read by torch's `grid_sample`. Both use the published arithmetic and must agree.
Levels are as wide as the published network's, their features random. "Scores" are those of a
linear probe of 20 classes; both ways map cells to scores before they read them, which is the same
sum. Memory is the most that a process of its own holds beside scene and result; time that of the
processor, on one thread.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from bench.harness import Paired, paired
from bench.indoor_cloud import indoor_points
from bench.resident import resident, with_peak
from training.protocol.hierarchy import Hierarchy, Level
from training.protocol.sampling import SampledFeatures

CHANNELS = (64, 96, 128, 256, 384)  # of levels with strides 1, 2, 4, 8 and 16
_CHUNKS = (16, 16, 32, 64, 128)  # channels of a dense grid, as published
_NUM_CLASSES = 20
_ROWS = 1 << 12  # of which our features are written at once
_ROUNDS = 4
_TOLERANCE = 1e-3  # grid_sample finds places in float32, of features of about 1

Way = Callable[[Hierarchy, Tensor], Tensor]


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(prog='python -m bench.hierarchy')
    parser.add_argument('--voxels', type=int, default=150_000, help='of the scene, 2 cm each')
    num_voxels = parser.parse_args().voxels
    torch.set_num_threads(1)
    voxel = indoor_points(num_voxels).grid_coord
    box = ' x '.join(str(n) for n in (voxel.amax(0) + 1).tolist())
    for name, (reference, ours) in WAYS.items():
        result = _compare(reference, ours, voxel)
        dense, hashed = (_peak_in_a_process(way, num_voxels) / 1e6 for way in (reference, ours))
        print(
            f'hierarchy, {name}: {result.speedup:.2f} x as fast as dense grids ({result}), '
            f'{dense / hashed:.0f} x less memory ({hashed:.0f} MB against {dense:.0f} MB), '
            f'{num_voxels:,} voxels in {box}',
            flush=True,
        )


def random_features(voxel: Tensor) -> Hierarchy:
    """Return features of all levels for a scene with (V, 3) int64 voxels."""
    generator = torch.Generator().manual_seed(0)
    levels = []
    for number, channels in enumerate(CHANNELS):
        coord = torch.unique(voxel >> number, dim=0)
        feat = torch.randn(len(coord), channels, generator=generator)
        name = f'decoder {number}'
        levels.append(Level(name=name, feat=feat, coord=coord, stride=float(1 << number)))
    origin = torch.zeros(3, dtype=torch.float64)
    return Hierarchy(levels=tuple(levels), voxel_size=0.02, origin=origin)


def dense_features(hierarchy: Hierarchy, voxel: Tensor) -> Tensor:
    """Return the (V, C) features by dense grids, a few channels at a time."""
    found = torch.empty(len(voxel), sum(CHANNELS))
    start = 0
    for level, num_at_once in zip(hierarchy.levels, _CHUNKS, strict=True):
        extent, place = _places(level, voxel)
        for part in level.feat.split(num_at_once, dim=1):
            found[:, start : start + part.shape[1]] = _read_grid(part, level.coord, extent, place)
            start += part.shape[1]
    return found


def _places(level: Level, voxel: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (3,) cells that a grid has along each axis, and (V, 3) places in -1..1 in it."""
    assert level.stride
    extent = level.coord.amax(0) + 1
    return extent, 2 * (voxel.double() + 0.5) / level.stride / extent - 1


def _read_grid(feat: Tensor, coord: Tensor, extent: Tensor, place: Tensor) -> Tensor:
    """Return (V, C) at places, of (M, C) features of cells written into a grid."""
    grid = feat.new_zeros(feat.shape[1], *extent.tolist())
    grid[:, coord[:, 0], coord[:, 1], coord[:, 2]] = feat.t()
    zyx = place.flip(1)[None, None, None].to(feat)  # torch names the last axis first
    return functional.grid_sample(grid[None], zyx, align_corners=True)[0, :, 0, 0].t()


def our_features(hierarchy: Hierarchy, voxel: Tensor) -> Tensor:
    """Return the same by hash."""
    sampled = SampledFeatures(hierarchy, voxel.double() + 0.5, 'released')
    found = torch.empty(len(voxel), sum(CHANNELS))
    for rows in torch.arange(len(voxel)).split(_ROWS):
        found[rows] = sampled.select(rows)
    return found


def dense_scores(hierarchy: Hierarchy, voxel: Tensor) -> Tensor:
    """Return the (V, 20) scores of a linear probe, read from dense grids of scores."""
    weight, bias = _probe()
    found = bias.repeat(len(voxel), 1)
    for level, part in zip(hierarchy.levels, weight.split(CHANNELS, dim=1), strict=True):
        found += _read_grid(level.feat @ part.t(), level.coord, *_places(level, voxel))
    return found


def our_scores(hierarchy: Hierarchy, voxel: Tensor) -> Tensor:
    """Return the same by hash."""
    return SampledFeatures(hierarchy, voxel.double() + 0.5, 'released').linear(*_probe())


def _probe() -> tuple[Tensor, Tensor]:
    width = sum(CHANNELS)
    weight = torch.randn(_NUM_CLASSES, width, generator=torch.Generator().manual_seed(1))
    return weight / width**0.5, torch.zeros(_NUM_CLASSES)


WAYS: dict[str, tuple[Way, Way]] = {
    'features': (dense_features, our_features), 'scores': (dense_scores, our_scores),
}  # fmt: skip


def _compare(reference: Way, ours: Way, voxel: Tensor) -> Paired:
    hierarchy = random_features(voxel)
    expected = reference(hierarchy, voxel)
    torch.testing.assert_close(ours(hierarchy, voxel), expected, atol=_TOLERANCE, rtol=0.0)
    del expected
    steps = (lambda _: reference(hierarchy, voxel), lambda _: ours(hierarchy, voxel))
    return paired(*steps, _ROUNDS, warmup=1, clock=time.process_time)


def _peak_in_a_process(way: Way, num_voxels: int) -> int:
    """Return the most memory that a way takes beside scene and result, in its own process."""
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        return pool.apply(_peak, (way, num_voxels))


def _peak(way: Way, num_voxels: int) -> int:
    torch.set_num_threads(1)
    voxel = indoor_points(num_voxels).grid_coord
    hierarchy = random_features(voxel)
    way(hierarchy, voxel[:100])  # what torch loads for it
    before = resident()
    found, peak = with_peak(lambda: way(hierarchy, voxel))
    return peak - before.anonymous - before.mapped - found.nbytes


if __name__ == '__main__':
    main()
