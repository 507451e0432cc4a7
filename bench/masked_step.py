"""A step of masked scene modelling by stage, against a joint step on the same room.

python -m bench.masked_step

Settings are those of config/training/msm_rooms.yaml and config/training/rooms.yaml, with one room
per step: a cloud as large and as dense as `prepare rooms` makes them. A step goes from the scene
to changed weights; reading files and the image encoder (tokens are given) are no part of it. The
stage "plan" has the cells, curves and hidden cells of the crops, of their visible part and of the
full views. Time is that of the processor, on one thread.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn, optim

from bench.harness import Paired, paired
from bench.stages import Stages
from bench.step_check import middle_of_training, random_objective
from bench.training_scene import batch_of, part, room_sample, token_shape
from concerto_ros.config.tree import build, read_plain_yaml
from training.config import TrainingConfig
from training.masked_scene import objective as masked_objective
from training.masked_scene.batch import MaskedBatch
from training.masked_scene.config import MaskedConfig
from training.masked_scene.objective import MaskedSceneObjective
from training.masked_scene.schedule import masked_values
from training.masked_scene.views import collate_masked, make_masked_views
from training.networks import unet
from training.networks.make import make_network
from training.optimizer import adamw
from training.structures import LossTerms, SceneSample

STAGES = ('views', 'plan', 'teacher', 'student', 'targets and loss', 'backward', 'optimiser')
_SETTINGS = Path('config/training')
_SPACING, _SCENE_POINTS = 0.02, 113_000  # [m]; as rooms of `prepare rooms` have
_ROUNDS = 7


def main() -> None:
    """Print the comparison, and where the time goes."""
    torch.set_num_threads(1)
    config = build(MaskedConfig, read_plain_yaml(_SETTINGS / 'msm_rooms.yaml'))
    joint = build(TrainingConfig, read_plain_yaml(_SETTINGS / 'rooms.yaml'))
    scene = part(room_sample(_SPACING, token_shape(joint).patches), _SCENE_POINTS)
    stages = Stages(time.process_time)
    result = compare(config, joint, scene, stages, _ROUNDS)
    batch = masked_batch(scene, 0, config)
    print(
        f'masked step: {1 / result.speedup:.2f} x as long as a joint step ({result}), '
        f'{len(batch.crop):,} of {batch.num_points:,} voxels against '
        f'{batch_of(scene, 0, joint).num_points:,}'
    )
    spent = {stage: stages.ms(stage) for stage in STAGES}
    shares = (f'{stage} {ms / sum(spent.values()):.0%}' for stage, ms in spent.items())
    print(f'  of {sum(spent.values()):.0f} ms: {", ".join(shares)}')


def compare(
    config: MaskedConfig, joint: TrainingConfig, scene: SceneSample, stages: Stages, rounds: int
) -> Paired:
    """Time joint steps against masked ones.

    Args:
        config: Of masked scene modelling.
        joint: Of joint training.
        scene: Of all views.
        stages: Get a round per masked step.
        rounds: Of which the first one does not count.
    """
    masked, reference = masked_step(config, scene, stages), joint_step(joint, scene)
    return paired(reference, masked, rounds, warmup=1, clock=time.process_time)


def masked_step(config: MaskedConfig, scene: SceneSample, stages: Stages) -> Callable[[int], None]:
    """Return what trains for one step, by number, and tells its stages."""
    torch.manual_seed(0)
    objective = MaskedSceneObjective(config, lambda: make_network(config.network))
    assert objective.teacher is not None
    optimizer = adamw(objective, config.optimizer.lr)
    num_steps = config.run.num_steps
    values = masked_values(num_steps // 2, num_steps, config.optimizer, config.teacher)

    def step(number: int) -> None:
        stages.next_round()
        with stages.stage('views'):
            batch = masked_batch(scene, number, config)
        with (
            stages.watch(
                masked_objective, _planned='plan', draw_hidden='plan', hidden_cells='plan'
            ),
            stages.watch(unet, make_plan='plan'),
            stages.watch(objective.student, forward='student'),
            stages.watch(objective.teacher, forward='teacher'),
            stages.stage('targets and loss'),
        ):
            terms = objective(batch, values)
        _learn(objective, terms, optimizer, config.optimizer.clip, values.momentum, stages)

    return step


def masked_batch(scene: SceneSample, seed: int, config: MaskedConfig) -> MaskedBatch:
    """Return both views of a scene."""
    views = make_masked_views(scene, config, np.random.default_rng(seed))
    return collate_masked([(0, views, ())])


def joint_step(config: TrainingConfig, scene: SceneSample) -> Callable[[int], None]:
    """Return what trains jointly for one step, by number."""
    objective = random_objective(config)
    optimizer = adamw(objective, config.optimizer.lr)
    values, stages = middle_of_training(config), Stages(time.process_time)

    def step(number: int) -> None:
        stages.next_round()
        terms = objective(batch_of(scene, number, config), values)
        _learn(objective, terms, optimizer, config.optimizer.clip, values.momentum, stages)

    return step


def _learn(
    objective: nn.Module, terms: LossTerms, optimizer: optim.Optimizer, clip: float,
    momentum: float, stages: Stages,
) -> None:  # fmt: skip
    with stages.stage('backward'):
        torch.autograd.backward(terms.total)
    with stages.stage('optimiser'):
        nn.utils.clip_grad_norm_(objective.parameters(), clip)
        optimizer.step()
        objective.update_teacher(momentum)
        optimizer.zero_grad(set_to_none=True)


if __name__ == '__main__':
    main()
