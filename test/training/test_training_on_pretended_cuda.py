"""The objective of training on a pretended GPU: no tensor is made or read on the wrong side.

Gradients are left to tests marked gpu, as the pretence knows none.
"""

import pytest
import torch
from test_pretended_cuda import pretended_cuda  # noqa: F401  # a fixture

from bench.step_check import middle_of_training, random_objective
from bench.training_scene import batch_of, part, room_sample
from training.config import (
    BackboneSection,
    CrossModalConfig,
    DataConfig,
    DistillationConfig,
    TrainingConfig,
    ViewsConfig,
)

CONFIG = TrainingConfig(
    data=DataConfig(voxel_size=0.1),
    views=ViewsConfig(max_points=300),
    backbone=BackboneSection(
        size='nano', depths='1,1,1', channels='16,16,32', heads='1,1,2', drop_path=0.0
    ),
    distillation=DistillationConfig(hidden=16, embed=8, prototypes=16, up_cast_level=1),
    cross_modal=CrossModalConfig(image_encoder='none: tokens are given', up_cast_level=1),
)


@torch.no_grad()
def step(batch, device):
    """Compute the losses and move the teacher; return the terms."""
    objective, values = random_objective(CONFIG).to(device), middle_of_training(CONFIG)
    result = objective(batch.to(device), values)
    assert result.total.device.type == device
    objective.update_teacher(values.momentum)
    return {name: float(term) for name, term in result.terms.items()}


@pytest.mark.slow
def test_a_step_keeps_to_its_device(pretended_cuda):  # noqa: F811
    batch = batch_of(part(room_sample(0.1), 600), 0, CONFIG)
    expected = step(batch, 'cpu')
    assert {'mask', 'roll', 'unmask', 'cross_modal'} <= set(expected)
    assert pretended_cuda.num_calls == 0
    found = step(batch, 'cuda')
    assert pretended_cuda.num_calls > 1000
    assert found == {name: pytest.approx(term, rel=1e-4) for name, term in expected.items()}
