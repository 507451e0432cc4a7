"""How targets of a level are scaled before predictions are compared with them."""

import torch
from torch import Tensor
from torch.nn import functional

from training.distributed import all_reduce_sum

_EPSILON = 1e-5  # least variance of a channel or direction
_RIDGE = 0.01  # of the mean variance, added to that of each direction


def normed(feat: Tensor, norm: str) -> Tensor:
    """Return (F, C) float32, features of a level on the scale of targets.

    Args:
        feat: (F, C) float, without gradient. Where all ranks count, each must call this, if only
            with no rows.
        norm: none: as they are. layer: each feature gets mean 0 and variance 1 over its channels.
            batch: each channel gets them over all rows, on all ranks. whiten: channels also lose
            what they have in common: centred, then multiplied with the inverse square root of
            their covariance over all rows, on all ranks. Before, each direction gets 0.01 of the
            mean variance more, so that one without variance stays small.

    Source: the whitening that changes features least is ZCA, Kessy, Lewin, Strimmer, Optimal
        whitening and decorrelation, The American Statistician 72 (2018).
    """
    feat = feat.float()
    if norm == 'layer':
        return functional.layer_norm(feat, feat.shape[1:])
    if norm == 'none':
        return feat
    scale = {'batch': _standard, 'whiten': _white}[norm]
    return scale(*_centred(feat)).float()


def _centred(feat: Tensor) -> tuple[Tensor, Tensor]:
    """Return (F, C) float64 less the mean of all ranks, and the () number of rows on them."""
    x = feat.double()
    sums = all_reduce_sum(torch.cat([x.sum(0), x.new_tensor([len(x)])]))
    count = sums[-1].clamp_min(1)
    return x - sums[:-1] / count, count


def _standard(x: Tensor, count: Tensor) -> Tensor:
    variance = all_reduce_sum(x.square().sum(0)) / count
    return x * variance.clamp_min(_EPSILON).rsqrt()


def _white(x: Tensor, count: Tensor) -> Tensor:
    covariance = all_reduce_sum(x.T @ x) / count
    # Of broken features x is broken as well: those who look for broken losses find it there.
    values, vectors = torch.linalg.eigh(covariance.nan_to_num())
    variance = values.clamp_min(0) + _RIDGE * values.mean()
    white: Tensor = x @ (vectors * variance.clamp_min(_EPSILON).rsqrt()) @ vectors.T
    return white
