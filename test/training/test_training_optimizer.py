"""Layers learn at rates that fall towards the input; what is no matrix is not decayed."""

import pytest
import torch
from torch import nn

from concerto_ros.model import BackboneConfig, PointTransformerV3
from training.config import DistillationConfig, OptimizerConfig
from training.optimizer import apply_step_values, layer_factor, make_optimizer
from training.schedules import step_values

DEPTHS = (3, 3, 3, 12, 3)


def test_factors_are_the_published_ones():
    # Published: the first block of the base model learns at 3.55e-4 of 4e-3, the last in full.
    first = layer_factor('student.backbone.enc.enc0.block0.mlp.0.fc1.weight', DEPTHS, 0.9)
    last = layer_factor('student.backbone.enc.enc4.block2.mlp.0.fc1.weight', DEPTHS, 0.9)
    assert 4e-3 * first == pytest.approx(3.55e-4, abs=1e-6)
    assert last == 1.0
    for name in ('student.backbone.embedding.stem.linear.weight', 'patch_proj.weight',
                 'student.backbone.enc.enc1.down.proj.weight'):  # fmt: skip
        assert layer_factor(name, DEPTHS, 0.9) == 1.0


def test_groups_hold_each_trainable_parameter_once():
    config = BackboneConfig(
        enc_depths=(1, 1), enc_channels=(16, 16), enc_num_head=(1, 1), enc_patch_size=(8, 8),
        stride=(2,),
    )  # fmt: skip
    module = nn.ModuleDict({'backbone': PointTransformerV3(config), 'teacher': nn.Linear(2, 2)})
    module['teacher'].requires_grad_(False)
    optimizer = make_optimizer(module, config.enc_depths, OptimizerConfig())
    found = [p for group in optimizer.param_groups for p in group['params']]
    assert len(found) == len({id(p) for p in found})
    assert {id(p) for p in found} == {id(p) for p in module['backbone'].parameters()}

    values = step_values(10, 11, OptimizerConfig(), DistillationConfig())
    apply_step_values(optimizer, values)
    decays = {
        id(p): group['weight_decay'] for group in optimizer.param_groups for p in group['params']
    }
    backbone = module['backbone']
    assert decays[id(backbone.embedding.stem.linear.weight)] == pytest.approx(0.2)
    assert decays[id(backbone.embedding.stem.linear.bias)] == 0.0
    assert decays[id(backbone.embedding.mask_token)] == 0.0
    assert {group['betas'] for group in optimizer.param_groups} == {(0.95, 0.999)}
    assert torch.tensor([g['lr'] for g in optimizer.param_groups]).max() == pytest.approx(4e-7)
