"""AdamW with a learning rate per layer and no decay on what is no matrix."""

import re
from collections.abc import Sequence

from torch import nn, optim

from training.config import OptimizerConfig
from training.structures import StepValues

_BLOCK = re.compile(r'enc\.enc(\d+)\.block(\d+)\.')


def make_optimizer(
    module: nn.Module, depths: Sequence[int], config: OptimizerConfig
) -> optim.AdamW:
    """Return AdamW over the trainable parameters, in groups of one rate and decay.

    Block b of stage s learns at `layer_decay` to the power of the number of blocks after it;
    everything outside the blocks learns at the full rate. Norms, biases, the mask token and
    prototypes, which are directions, are not decayed.

    Args:
        module: The objective.
        depths: Blocks of each stage of its backbone.
        config: Rates.

    Source: Concerto, published configuration; the published code decays every parameter.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            factors = layer_factor(name, depths, config.layer_decay), decay_factor(name, parameter)
            groups.setdefault(factors, []).append(parameter)
    return optim.AdamW(
        [
            {'params': parameters, 'lr_factor': lr, 'decay_factor': decay}
            for (lr, decay), parameters in sorted(groups.items(), key=lambda item: item[0])
        ],
        lr=config.lr,
    )


def layer_factor(name: str, depths: Sequence[int], layer_decay: float) -> float:
    """Return the factor on the learning rate of a parameter."""
    match = _BLOCK.search(name)
    if match is None:
        return 1.0
    stage, block = int(match[1]), int(match[2])
    return float(layer_decay ** (sum(depths) - sum(depths[:stage]) - block - 1))


def decay_factor(name: str, parameter: nn.Parameter) -> float:
    """Return 1 for weights of layers, 0 for what decay would only disturb."""
    return 0.0 if parameter.ndim < 2 or 'mask_token' in name or 'prototype' in name else 1.0


def apply_step_values(optimizer: optim.Optimizer, values: StepValues) -> None:
    """Set learning rate, momentum and weight decay of all groups."""
    for group in optimizer.param_groups:
        group['lr'] = values.lr * group['lr_factor']
        group['weight_decay'] = values.weight_decay * group['decay_factor']
        group['betas'] = (values.beta1, group['betas'][1])
