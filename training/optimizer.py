"""AdamW with a learning rate per layer and no decay on what is no matrix."""

import re
from collections.abc import Callable, Sequence

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
    return adamw(module, config.lr, lambda name: layer_factor(name, depths, config.layer_decay))


def adamw(
    module: nn.Module,
    lr: float,
    factor: Callable[[str], float] = lambda _name: 1.0,
    betas: tuple[float, float] = (0.9, 0.999),
) -> optim.AdamW:
    """Return AdamW over the trainable parameters; what decay would only disturb is not decayed.

    Args:
        module: The objective.
        lr: Learning rate.
        factor: From the name of a parameter to a factor on it.
        betas: First and second momentum.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            factors = factor(name), decay_factor(name, parameter)
            groups.setdefault(factors, []).append(parameter)
    return optim.AdamW(
        [
            {'params': parameters, 'lr_factor': lr_factor, 'decay_factor': decay}
            for (lr_factor, decay), parameters in sorted(groups.items(), key=lambda item: item[0])
        ],
        lr=lr,
        betas=betas,
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
    is_special = any(part in name for part in ('mask_token', 'prototype', 'gamma'))
    return 0.0 if parameter.ndim < 2 or is_special else 1.0


def apply_step_values(optimizer: optim.Optimizer, values: StepValues) -> None:
    """Set learning rate, momentum and weight decay of all groups."""
    for group in optimizer.param_groups:
        group['lr'] = values.lr * group['lr_factor']
        group['weight_decay'] = values.weight_decay * group['decay_factor']
        group['betas'] = (values.beta1, group['betas'][1])
