"""A training step from a scene to gradients, against the published one, as a whole and by stage.

python -m bench.training_step [CONFIG.yaml] [--size SIZE] [--points N]

By default that of config/training/rooms.yaml, which trains the encoder `nano` on synthetic rooms,
with one room per step: a cloud as large and as dense as `prepare rooms` makes them. Stages: views,
matching, Sinkhorn-Knopp, the rest of the forward pass, the backward pass. Reading files, image
encoder (tokens are given), optimiser and the teacher's update are no part of it. In a training run
other processes may make the views while the step computes; they count here because a step needs
them, and with few cores they are not free.

The published step is `bench.published_views` from the scene to its views, the network of
`bench.published_backbone` and `bench.published_step` from there to the loss. Attention is ours on
both sides. Both sides compute on the views that ours made, so that they have the same points. Time
is that of the processor, on one thread.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench import published_step
from bench.harness import Paired, paired
from bench.published_backbone import MakeBackbone, TrainedNetwork, on_our_backbone
from bench.published_step import Backbones, published_total
from bench.published_views import published_views
from bench.stages import Stages
from bench.step_check import check_equality, middle_of_training, random_objective
from bench.training_scene import batch_of, dense_patches, our_views, part, room_sample, token_shape
from concerto_ros.config.tree import build, read_plain_yaml
from training.config import TrainingConfig
from training.objectives import self_distillation
from training.objectives.joint import JointObjective
from training.structures import SceneSample, ViewBatch

STAGES = ('views', 'matching', 'Sinkhorn', 'forward', 'backward')
_ROUNDS = 7
_SPACING, _SCENE_POINTS = 0.02, 113_000  # [m]; as rooms of `prepare rooms` have


def main() -> None:
    """Print the comparison."""
    config = _config()
    torch.set_num_threads(1)
    for make in (TrainedNetwork, on_our_backbone):
        check_equality(make)
    scene = part(room_sample(_SPACING, token_shape(config).patches), _SCENE_POINTS)
    batches = [batch_of(scene, i, config) for i in range(_ROUNDS)]
    objective = random_objective(config)
    whole, published, ours = compare(objective, TrainedNetwork, scene, batches)
    print(f'step: {whole.speedup:.2f} x as fast as published ({whole})')
    stages = (f'{stage} {ours.ms(stage):.0f} / {published.ms(stage):.0f}' for stage in STAGES)
    print(f'  ours / published, ms: {", ".join(stages)}', flush=True)
    same, _, _ = compare(objective, on_our_backbone, scene, batches)
    print(f'  with our backbone on both sides: {same.speedup:.2f} x ({same})')


def _config() -> TrainingConfig:
    parser = argparse.ArgumentParser(prog='python -m bench.training_step')
    parser.add_argument('config', type=Path, nargs='?', default='config/training/rooms.yaml')
    parser.add_argument('--size', help='another size of the backbone')
    parser.add_argument('--points', type=int, help='another number in the principal view')
    args = parser.parse_args()
    changes = {'backbone.size': args.size, 'views.max_points': args.points}
    given = {name: value for name, value in changes.items() if value is not None}
    config = build(TrainingConfig, read_plain_yaml(args.config))
    return build(TrainingConfig, {**given, 'backbone.drop_path': 0.0}, config)


def compare(
    objective: JointObjective,
    make: MakeBackbone,
    scene: SceneSample,
    batches: Sequence[ViewBatch],
) -> tuple[Paired, Stages, Stages]:
    """Time the published step on a backbone against ours.

    Returns:
        The whole step, the stages of the published one, and ours.
    """
    config, values = objective.config, middle_of_training(objective.config)
    backbones = Backbones.of(objective, make)
    patches = [dense_patches(batch) for batch in batches]
    published, ours = Stages(time.process_time), Stages(time.process_time)

    def step(stages: Stages, views: Callable[[], object], loss: Callable[[], Tensor]) -> None:
        objective.zero_grad()
        stages.next_round()
        with stages.stage('views'):
            views()
        with stages.stage('forward'):
            total = loss()
        with stages.stage('backward'):
            torch.autograd.backward(total)

    with (
        published.watch(published_step, all_distances='matching', divided_sinkhorn='Sinkhorn'),
        ours.watch(self_distillation, match='matching', sinkhorn_knopp='Sinkhorn'),
    ):
        whole = paired(
            lambda i: step(
                published,
                lambda: published_views(scene, np.random.default_rng(i), config),
                lambda: published_total(objective, backbones, batches[i], values, patches[i]),
            ),
            lambda i: step(
                ours,
                lambda: our_views(scene, np.random.default_rng(i), config),
                lambda: objective(batches[i], values).total,
            ),
            len(batches),
            warmup=1,
            clock=time.process_time,
        )
    return whole, published, ours


if __name__ == '__main__':
    main()
