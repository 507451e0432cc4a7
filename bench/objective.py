"""A training step from views to gradients, against the published one, as a whole and by stage.

One room with images: global views of 8192 and fewer points, four local views; encoder `nano`,
heads and prototypes of the published size, tokens given. Making the views, the image encoder, the
optimiser and the teacher's update are no part of it; `bench.published_objective` says what is
restated. Matching and Sinkhorn-Knopp, parts of forward, are also timed alone on more rows.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bench.harness import paired
from bench.published_objective import all_distances, divided_sinkhorn, published_total
from bench.views import room_sample
from training.config import BackboneSection, TrainingConfig, ViewsConfig
from training.objectives.joint import JointObjective
from training.objectives.losses import sinkhorn_knopp
from training.objectives.masking import draw_mask, generator_of, hide
from training.objectives.matching import match
from training.schedules import step_values
from training.structures import ViewBatch
from training.views.collate import collate
from training.views.multi_view import make_views

_CONFIG = TrainingConfig(
    views=ViewsConfig(max_points=8192),
    backbone=BackboneSection(size='nano', drop_path=0.0),
)
_VALUES = step_values(44000, 88000, _CONFIG.optimizer, _CONFIG.distillation)
_PATCHES, _CHANNELS = 37, 1536  # the published image encoder's
_ROUNDS = 6
_ROWS = 4000  # cells at which views are compared, in about 40,000 points


def main() -> None:
    """Print the comparison."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    batch = _batch()
    objective = JointObjective(_CONFIG, None, _CHANNELS, _PATCHES)
    patches = _dense_patches(batch)
    _check_equality(objective, batch, patches)
    stages: dict[str, list[float]] = defaultdict(list)
    runs = {
        'published': lambda: published_total(objective, batch, _VALUES, patches),
        'ours': lambda: objective(batch, _VALUES).total,
    }
    published, ours = (lambda _, n=n: _step(objective, runs[n], stages, n) for n in runs)
    result = paired(published, ours, _ROUNDS, warmup=1)
    print(
        f'step: {result.speedup:.2f} x as fast as published ({result}, {batch.num_points} points)'
    )
    for stage in ('forward', 'backward'):
        ms = {name: np.median(stages[f'{name} {stage}'][1:]) for name in runs}
        print(f'  {stage}: {ms["ours"]:.0f} ms against {ms["published"]:.0f} ms')
    _print_matching()
    _print_sinkhorn()


def _step(
    objective: JointObjective,
    forward: Callable[[], Tensor],
    stages: dict[str, list[float]],
    name: str,
) -> None:
    objective.zero_grad()
    start = time.perf_counter()
    total = forward()
    middle = time.perf_counter()
    torch.autograd.backward(total)
    stages[f'{name} forward'].append(1000 * (middle - start))
    stages[f'{name} backward'].append(1000 * (time.perf_counter() - middle))


def _print_matching() -> None:
    coord = torch.rand(2, _ROWS, 3) * torch.tensor([5.0, 5.0, 0.1])
    view = torch.zeros(_ROWS, dtype=torch.int64)
    result = paired(
        lambda _: all_distances(coord[0], view, coord[1], view, [0]),
        lambda _: match(coord[0], view, coord[1], view, 0.32),
        10,
    )
    print(f'  matching, {_ROWS} cells of one view: {result}')


def _print_sinkhorn() -> None:
    logits = torch.rand(_ROWS, _CONFIG.distillation.prototypes) * 2 - 1
    result = paired(
        lambda _: divided_sinkhorn(logits, 0.07), lambda _: sinkhorn_knopp(logits, 0.07, 3), 8
    )
    print(f'  Sinkhorn, {_ROWS} cells: {result}')


def _batch() -> ViewBatch:
    """Return the views of a room with tokens instead of images."""
    views = make_views(room_sample(), _CONFIG, np.random.default_rng(0))
    batch = collate([(0, views, ())], _CONFIG.data.voxel_size)
    tokens = torch.randn(batch.num_images, _PATCHES**2, _CHANNELS)
    return replace(batch, images=batch.images[:0], tokens=tokens)


def _dense_patches(batch: ViewBatch) -> Tensor:
    """Return (N, V, 2) places in the images, -1 where a point is not seen."""
    patches = torch.full((len(batch.global_points), batch.num_images, 2), -1.0)
    patches[batch.link_point, batch.link_image] = batch.link_patch
    return patches


def _check_equality(objective: JointObjective, batch: ViewBatch, patches: Tensor) -> None:
    """Refuse to compare what is not the same: both losses of the same masked views."""
    points, seed = batch.global_points, objective.config.run.seed
    generators = [generator_of(seed, _VALUES.step, 0, view) for view in range(2)]
    mask = draw_mask(points, _VALUES.mask_size, _VALUES.mask_ratio, generators)
    hidden = hide(points, mask, _CONFIG.distillation.mask_jitter, 0.02, generators)
    published = published_total(objective, batch, _VALUES, patches, (hidden, mask))
    torch.testing.assert_close(objective(batch, _VALUES).total, published, rtol=1e-4, atol=0)


if __name__ == '__main__':
    main()
