"""Pure functions of logits: balanced targets, their cross-entropy, means over views."""

from math import exp

import torch
from torch import Tensor
from torch.nn import functional

from training.distributed import all_reduce_sum, rank, world_size

_RANGE = 50.0  # of exponents, so that products of factors stay within float32
_SAMPLE = 1024  # rows that are enough to see a collapse


@torch.no_grad()
def sinkhorn_knopp(logits: Tensor, temp: float, num_iterations: int) -> Tensor:
    """Return soft assignments that use all prototypes about equally, over the rows of all ranks.

    The exponentials are kept and only factors of rows and prototypes are iterated, which gives
    what alternating divisions of the whole matrix give, in a fraction of its memory traffic. No
    exponential exceeds 1, so large logits do no harm; of ratios beyond exp(50), which cosines at
    a temperature from 0.04 on do not reach, some are cut to that.

    Args:
        logits: (R, K) float, of this rank; R may differ between ranks and be 0.
        temp: Divides the logits.
        num_iterations: Rounds, at least 1, of prototypes and then rows, so that rows end balanced.

    Returns:
        (R, K) float32, each row sums to 1.

    Source: Cuturi, Sinkhorn Distances, arXiv 1306.0895; as used by Caron et al., SwAV, arXiv
        2006.09882, section 3.1.
    """
    q = logits.float() / temp
    highest = q.amax(1)
    q.sub_(highest[:, None]).exp_()
    row_factor = (highest - _highest_of_all(highest)).clamp_min(-_RANGE).exp()
    with torch.autocast(q.device.type, enabled=False):
        for _ in range(num_iterations):
            use = all_reduce_sum(row_factor @ q)
            prototype_factor = (use / use.amax()).clamp_min(exp(-_RANGE)).reciprocal()
            row_factor = (q @ prototype_factor).reciprocal()
    return q.mul_(row_factor[:, None]).mul_(prototype_factor)


def _highest_of_all(x: Tensor) -> Tensor:
    """Return the () maximum over the values of all ranks."""
    highest = x.new_zeros(world_size())
    highest[rank()] = torch.cat([x, x.new_full((1,), torch.finfo(x.dtype).min)]).amax()
    return all_reduce_sum(highest).amax()


def prototype_cross_entropy(logits: Tensor, target: Tensor, temp: float) -> Tensor:
    """Return the (R,) float32 cross-entropy of each row.

    Args:
        logits: (R, K) float, of the student.
        target: (R, K) float32, rows sum to 1.
        temp: Divides the logits.

    Source: Concerto, arXiv 2510.23607, section 3; Sonata, arXiv 2503.16429, section 4.
    """
    with torch.autocast(logits.device.type, enabled=False):
        return functional.cross_entropy(logits.float() / temp, target, reduction='none')


def view_mean(x: Tensor, view: Tensor, num_views: int) -> Tensor:
    """Return the () mean over views of the mean over the rows of each view.

    A view without rows counts as 0, the last one like the others (the published code leaves out
    the views after the last one with rows).

    Args:
        x: (R,) float.
        view: (R,) int64 in 0..num_views-1.
        num_views: V.
    """
    total = x.new_zeros(num_views).index_add(0, view, x)
    return (total / view.bincount(minlength=num_views).clamp_min(1)).mean()


@torch.no_grad()
def prototype_usage(logits: Tensor, temp: float) -> Tensor:
    """Return the () share of prototypes in use: 1 if all are used alike, 1 / K after collapse.

    It is the exponential of the entropy of the mean assignment before balancing, over K,
    estimated from about a thousand rows.

    Args:
        logits: (R, K) float.
        temp: Divides the logits.
    """
    step = max(1, len(logits) // _SAMPLE)
    mean = torch.softmax(logits[::step].float() / temp, 1).sum(0) / max(1, len(logits[::step]))
    entropy: Tensor = torch.special.entr(mean).sum()
    return entropy.exp() / logits.shape[1]
