"""Whether what a teacher says still differs from place to place, and the rule that stops a run."""

import logging
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from concerto_ros.errors import ConcertoError
from training.distributed import rank
from training.masked_scene.config import CollapseConfig

MONITORS = ('std', 'cosine', 'rank')
_SAMPLE = 1024  # rows that are enough to see a collapse
_NOTHING = 0.01  # differences that are so much smaller than all features together are none
_NEVER = -1

_log = logging.getLogger(__name__)


@torch.no_grad()
def spread(feat: Tensor) -> Tensor:
    """Return (3,) float32: how different features are from each other, by at most 1024 of them.

    `std` is the standard deviation, mean over channels. `cosine` is the mean over all pairs of
    rows, 1 if they all point the same way. `rank` is the exponential of the entropy of the
    singular values, after centring, as share of what it could be: of the channels, or of the
    rows less one if these are fewer. Singular values below a hundredth of the norm of all
    features count as none; the rank is 0 if there are no others. All are NaN if a feature is not
    finite.

    Args:
        feat: (R, C) float, of two rows or more; before any norm, which would hide a collapse.
    """
    chosen = torch.linspace(0, len(feat) - 1, min(len(feat), _SAMPLE), dtype=torch.float64)
    x = feat[chosen.long().to(feat.device)].double()
    if not x.isfinite().all():
        return torch.full((len(MONITORS),), torch.nan, device=feat.device)
    unit = functional.normalize(x, dim=1)
    num_rows = len(x)
    cosine = (unit.sum(0).square().sum() - unit.square().sum()) / (num_rows * (num_rows - 1))
    return torch.stack([x.std(0).mean(), cosine, _rank_share(x)]).float()


def _rank_share(x: Tensor) -> Tensor:
    """Return the () share of (R, C) float64, from the smaller of both products with itself.

    Source: Roy and Vetterli, The effective rank, EUSIPCO 2007.
    """
    num_rows, channels = x.shape
    centred = x - x.mean(0)
    gram = centred @ centred.T if num_rows < channels else centred.T @ centred
    values = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    values = values.where(values > _NOTHING * x.norm(), 0)
    share = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    effective: Tensor = torch.special.entr(share).sum().exp() * share.any()
    return effective / min(num_rows - 1, channels)


class CollapseWatch(nn.Module):
    """Names levels whose features have been alike for many steps; stops a run where all have been.

    A single level may well have a low rank in a run that still learns, and so may all of them for
    a while, until weights have found a scale.

    Attributes:
        low_since: (L,) int64, step since which the rank of each level has been too low, -1 where
            it is not; in the state, so that a run that goes on has not forgotten.

    Args:
        config: The least share, and how many steps it may stay below.
        first_step: With which watching begins, after the warm-up.
        levels: Numbers of the L levels.
    """

    low_since: Tensor

    def __init__(self, config: CollapseConfig, first_step: int, levels: Sequence[int]) -> None:
        super().__init__()
        self._config = config
        self._first_step = first_step
        self._levels = tuple(levels)
        self._named: set[int] = set()
        self.register_buffer('low_since', torch.full((len(levels),), _NEVER))

    def check(self, step: int, shares: Sequence[float]) -> None:
        """Take note of the `rank` of each level, the same numbers on all ranks; NaN: unknown.

        Raises:
            ConcertoError: The features of all levels have collapsed.
        """
        if step < self._first_step:
            return
        since = [
            self._since(step, before, share)
            for before, share in zip(self.low_since.tolist(), shares, strict=True)
        ]
        self.low_since.copy_(self.low_since.new_tensor(since))
        patience = self._config.patience
        is_long = [first != _NEVER and step - first + 1 >= patience for first in since]
        if all(is_long):
            raise ConcertoError(
                f'{self._sentence("all levels", step)}: lower optimizer.lr or set '
                'loss.target_norm to whiten, and start anew with another run.output; or lower '
                'collapse.least_rank if the scenes are that plain'
            )
        for level, share, long in zip(self._levels, shares, is_long, strict=True):
            if long and level not in self._named and rank() == 0:
                self._named.add(level)
                _log.warning(
                    '%s, and is %.3f now: loss.levels can leave it out',
                    self._sentence(f'level {level}', step), share,
                )  # fmt: skip

    def _since(self, step: int, before: int, share: float) -> int:
        if math.isnan(share):
            return before
        if share >= self._config.least_rank:
            return _NEVER
        return step if before == _NEVER else before

    def _sentence(self, where: str, step: int) -> str:
        least, patience = self._config.least_rank, self._config.patience
        return (
            f"the teacher's features have collapsed at {where}: their effective rank has been "
            f'below {least:g} of what it could be for {patience} steps, up to step {step}'
        )
