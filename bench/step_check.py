"""Is the restated step the same computation as ours? On views where it has to be.

The published network has a row for each point and one depth of curves for all clouds, ours a row
for each voxel and a depth for each cloud. So the check takes points on a lattice, one per voxel,
views that hold nearly all of the scene, and no noise on masked points. Places in the scene get a
little noise instead, or neighbours would be equally near.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bench.published_backbone import MakeBackbone
from bench.published_step import Backbones, published_total
from bench.training_scene import batch_of, dense_patches, part, room_sample, take, token_shape
from training.config import (
    AugmentationConfig,
    BackboneSection,
    DataConfig,
    DistillationConfig,
    TrainingConfig,
    ViewsConfig,
)
from training.objectives.joint import JointObjective
from training.objectives.masking import draw_mask, hide, mask_generator
from training.objectives.teacher import start_teacher
from training.schedules import step_values
from training.structures import DistillationValues, SceneSample, ViewBatch

VOXEL = 1 / 32  # a power of two, so that no sum of voxels is rounded [m]
NUM_POINTS = 1500  # of the scene; two windows
CONFIG = TrainingConfig(
    data=DataConfig(voxel_size=VOXEL),
    views=ViewsConfig(second_low=0.99, local_low=0.99, local_high=1.0),
    augmentation=AugmentationConfig(spatial=False),
    backbone=BackboneSection(size='nano', drop_path=0.0),
    distillation=DistillationConfig(mask_jitter=0.0),
)


def check_equality(make: MakeBackbone) -> None:
    """Refuse to compare what is not the same.

    Args:
        make: The backbone of the published side.

    Raises:
        AssertionError: The losses differ, or the gradient of a parameter.
    """
    objective = random_objective(CONFIG)
    published, ours = both_totals(objective, make, lattice_batch())
    torch.testing.assert_close(ours, published, rtol=1e-4, atol=0)
    expected, found = _gradients(objective, published), _gradients(objective, ours)
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        error = (found[name] - gradient).norm() / gradient.norm()
        assert error < 1e-3, f'the gradients of {name} differ by {error:.1e}'


def _gradients(objective: JointObjective, total: Tensor) -> dict[str, Tensor]:
    trained = {n: p for n, p in objective.named_parameters() if p.requires_grad}
    return dict(zip(trained, torch.autograd.grad(total, list(trained.values())), strict=True))


def both_totals(
    objective: JointObjective, make: MakeBackbone, batch: ViewBatch
) -> tuple[Tensor, Tensor]:
    """Return the published loss and ours, of views that are masked in the same way."""
    points, config = batch.global_points, objective.config
    values = middle_of_training(config)
    generators = [mask_generator(config.run.seed, values.step, 0, view) for view in range(2)]
    mask = draw_mask(points, values.mask_size, values.mask_ratio, generators)
    jitter, voxel_size = config.distillation.mask_jitter, config.data.voxel_size
    hidden = hide(points, mask, jitter, voxel_size, generators)
    published = published_total(
        objective,
        Backbones.of(objective, make),
        batch,
        values,
        dense_patches(batch),
        (hidden, mask),
    )
    return published, objective(batch, values).total


def random_objective(config: TrainingConfig) -> JointObjective:
    """Return a student and a teacher of random weights that all matter; tokens come with views."""
    torch.manual_seed(0)
    patches, channels = token_shape(config)
    objective = JointObjective(config, None, channels, patches)
    assert objective.teacher is not None
    with torch.no_grad():
        for weight in objective.student.backbone.parameters():
            if weight.ndim > 1:
                weight.normal_().div_(weight[0].numel() ** 0.5)
            else:
                weight.add_(torch.randn_like(weight), alpha=0.2)
    start_teacher(objective.teacher, objective.student)
    return objective


def middle_of_training(config: TrainingConfig) -> DistillationValues:
    """Return the values of a step without warm-up."""
    num_steps = config.run.num_steps
    return step_values(num_steps // 2, num_steps, config.optimizer, config.distillation)


def lattice_batch() -> ViewBatch:
    """Return views in which no two points share a voxel."""
    scene = part(_on_lattice(room_sample()), NUM_POINTS)
    batch = batch_of(scene, 0, CONFIG)
    generator = torch.Generator().manual_seed(0)
    near, local_near = (
        origin + 1e-2 * torch.randn(origin.shape, generator=generator)
        for origin in (batch.global_origin, batch.local_origin)
    )
    return replace(batch, global_origin=near, local_origin=local_near)


def _on_lattice(sample: SceneSample) -> SceneSample:
    """Move points to corners of voxels and keep one of those that meet."""
    cell = np.floor(sample.coord / VOXEL)
    _, rows = np.unique(cell, axis=0, return_index=True)
    return take(replace(sample, coord=(cell * VOXEL).astype(np.float32)), rows)
