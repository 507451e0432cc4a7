"""What changes with the step, as pure functions: nothing to save, nothing to restore."""

import math

from training.config import DistillationConfig, OptimizerConfig
from training.structures import DistillationValues


def step_values(
    step: int, num_steps: int, optimizer: OptimizerConfig, distillation: DistillationConfig
) -> DistillationValues:
    """Return the values of one step.

    Args:
        step: 0 .. num_steps - 1.
        num_steps: Of the whole run.
        optimizer: Learning rate, momentum and weight decay.
        distillation: Masks, temperature, and momentum of the teacher.

    Source: Concerto, arXiv 2510.23607, and its published configuration: learning rate and first
        momentum on one cosine cycle, weight decay and teacher momentum on a cosine over all
        steps, masks and temperature linear in the warm-up and constant after it.
    """
    o, d = optimizer, distillation
    share = step / max(num_steps - 1, 1)
    warm = min(share / d.warmup, 1.0) if d.warmup > 0 else 1.0
    first, last = o.lr * o.start_factor, o.lr * o.end_factor
    return DistillationValues(
        step=step,
        lr=one_cycle(share, o.warmup, first, o.lr, last),
        beta1=one_cycle(share, o.warmup, o.beta1_high, o.beta1_low, o.beta1_high),
        weight_decay=cosine(share, o.weight_decay_start, o.weight_decay),
        momentum=cosine(share, d.momentum, 1.0),
        teacher_temp=linear(warm, d.teacher_temp_start, d.teacher_temp),
        mask_size=linear(warm, d.mask_size_start, d.mask_size),
        mask_ratio=linear(warm, d.mask_ratio_start, d.mask_ratio),
    )


def linear(share: float, first: float, last: float) -> float:
    """Go from `first` at share 0 straight to `last` at share 1."""
    return first + share * (last - first)


def cosine(share: float, first: float, last: float) -> float:
    """Go from `first` at share 0 to `last` at share 1 along half a cosine."""
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


def one_cycle(share: float, warmup: float, first: float, peak: float, last: float) -> float:
    """Go along half a cosine to `peak` at share `warmup`, and along another to `last`."""
    if share < warmup:
        return cosine(share / warmup, first, peak)
    return cosine((share - warmup) / (1 - warmup), peak, last) if warmup < 1 else peak
