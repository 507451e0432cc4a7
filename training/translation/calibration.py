"""Whether probabilities mean what they say, and the scale of cosines with which they do."""

import torch
from torch import Tensor
from torch.nn import functional

_BINS = 15
_SCALES = torch.logspace(0, 3, 301)  # among which the best one is found, to 1.2 %


def calibration_error(logits: Tensor, label: Tensor) -> float:
    """Return the expected calibration error, 0..1.

    It is the mean distance, over 15 equal ranges of the probability of the best class and
    weighted by how many rows fall into each, between that probability and the share that is right.

    Args:
        logits: (N, L) float.
        label: (N,) int64; N > 0.

    Source: Guo et al., On Calibration of Modern Neural Networks, arXiv 1706.04599, section 2.
    """
    confidence, best = logits.double().softmax(1).max(1)
    surplus = confidence - (best == label).double()
    part = (confidence * _BINS).long().clamp(max=_BINS - 1)
    return float(surplus.new_zeros(_BINS).index_add_(0, part, surplus).abs().sum() / len(label))


def fit_scale(cosine: Tensor, label: Tensor) -> float:
    """Return the factor from cosine to logit that makes the labels most probable.

    Args:
        cosine: (N, L) float, of N rows with L texts.
        label: (N,) int64; N > 0.
    """
    losses = [functional.cross_entropy(float(scale) * cosine, label) for scale in _SCALES]
    return float(_SCALES[int(torch.stack(losses).argmin())])
