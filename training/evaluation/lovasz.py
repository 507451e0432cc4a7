"""The loss of probes: cross-entropy, and the Lovász extension of the Jaccard index."""

import torch
from torch import Tensor
from torch.nn import functional

from training.structures import IGNORED


def segmentation_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Return cross-entropy plus Lovász-softmax, each with weight 1; 0 without labels.

    Args:
        logits: (N, L) float.
        label: (N,) int64; `IGNORED` takes no part.
    """
    known = label != IGNORED
    logits, label = logits[known].float(), label[known]
    if len(label) == 0:
        return logits.sum()  # zero, with a gradient of zeros
    return functional.cross_entropy(logits, label) + lovasz_softmax(logits.softmax(1), label)


def lovasz_softmax(probability: Tensor, label: Tensor) -> Tensor:
    """Return the mean of the Lovász losses of the classes that occur.

    Args:
        probability: (N, L) float in 0..1; N > 0.
        label: (N,) int64 in 0..L-1.

    Source: Berman et al., The Lovász-Softmax loss, arXiv 1705.08790, equations 8, 9 and 11:
        the errors of a class in falling order, weighted by how much each shrinks the index.
    """
    present = torch.unique(label)
    is_class = (label == present[:, None]).to(probability)  # (P, N)
    error = (is_class - probability.t()[present]).abs()
    error, order = error.sort(dim=1, descending=True)
    loss: Tensor = (error * _jaccard_steps(is_class.gather(1, order))).sum(1).mean()
    return loss


def _jaccard_steps(is_class: Tensor) -> Tensor:
    """Return by how much the Jaccard loss grows with each of the (P, N) sorted members."""
    total = is_class.sum(1, keepdim=True)
    missed, false = is_class.cumsum(1), (1 - is_class).cumsum(1)
    loss = 1 - (total - missed) / (total + false)
    return loss.diff(dim=1, prepend=loss.new_zeros(len(loss), 1))
