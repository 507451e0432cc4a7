"""Whether probabilities mean what they say, and the scale of cosines with which they do."""

import torch
from torch import Tensor

_BINS = 15
_SCALES = torch.logspace(0, 3, 181)  # among which the best one is found, to 2 %


def calibration_error(logits: Tensor, label: Tensor) -> float:
    """Return the expected calibration error, 0..1.

    It is the mean distance, over 15 equal ranges of the probability of the best class and
    weighted by how many rows fall into each, between that probability and the share that is right.

    Args:
        logits: (N, L) float.
        label: (N,) int64; N > 0.

    Source: Guo et al., On Calibration of Modern Neural Networks, arXiv 1706.04599, section 2.
    """
    confidence, best = logits.float().softmax(1).max(1)
    surplus = confidence.double() - (best == label).double()
    part = (confidence * _BINS).long().clamp(max=_BINS - 1)
    return float(surplus.new_zeros(_BINS).index_add_(0, part, surplus).abs().sum() / len(label))


def fit_scale(cosine: Tensor, label: Tensor) -> float:
    """Return the factor from cosine to logit with the least calibration error.

    Most probable labels, the usual aim, would ask for less confidence than is deserved where a few
    classes are confused with much of it.

    Args:
        cosine: (N, L) float, of N rows with L texts.
        label: (N,) int64; N > 0.
    """
    scales = _SCALES.tolist()
    return float(min(scales, key=lambda scale: calibration_error(scale * cosine, label)))
