"""Whether targets are still different from each other, and the rule that stops a run."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from concerto_ros.errors import ConcertoError
from training.masked_scene.config import CollapseConfig

MONITORS = ('std', 'cosine', 'rank')
_SAMPLE = 1024  # rows that are enough to see a collapse
_NOTHING = 0.01  # differences that are so much smaller than all targets together are none


@torch.no_grad()
def spread(target: Tensor) -> Tensor:
    """Return (3,) float32: how different targets are from each other, by at most 1024 of them.

    `std` is the standard deviation, mean over channels. `cosine` is the mean over all pairs of
    rows, 1 if they all point the same way. `rank` is the exponential of the entropy of the
    singular values, after centring, as share of what it could be: of the channels, or of the
    rows less one if these are fewer. Singular values below a hundredth of the norm of all
    targets count as none; the rank is 0 if there are no others. All are NaN if a target is not
    finite.

    Args:
        target: (R, C) float, of two rows or more.
    """
    chosen = torch.linspace(0, len(target) - 1, min(len(target), _SAMPLE), dtype=torch.float64)
    x = target[chosen.long().to(target.device)].double()
    if not x.isfinite().all():
        return target.new_full((len(MONITORS),), torch.nan)
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
    rank: Tensor = torch.special.entr(share).sum().exp() * share.any()
    return rank / min(num_rows - 1, channels)


class CollapseWatch:
    """Stops a run whose targets have been alike at all levels for a number of steps in a row.

    A single level may well have a low rank in a healthy run, as rooms with few colours do at the
    finest one; so may all of them for a while, until weights have found a scale.

    Args:
        config: The least share, and how many steps it may stay below.
        first_step: With which watching begins, after the warm-up.
    """

    def __init__(self, config: CollapseConfig, first_step: int) -> None:
        self._config = config
        self._first_step = first_step
        self._low_since: int | None = None

    def check(self, step: int, shares: Sequence[float]) -> None:
        """Take note of the `rank` of all levels, the same numbers on all ranks.

        Raises:
            ConcertoError: Targets have collapsed.
        """
        least, patience = self._config.least_rank, self._config.patience
        if step < self._first_step or not shares or max(shares) >= least:
            self._low_since = None
            return
        if self._low_since is None:
            self._low_since = step
        if step - self._low_since + 1 >= patience:
            raise ConcertoError(
                f'targets have collapsed: their effective rank was below {least:g} of what it '
                f'could be at all levels for {patience} steps, up to step {step}. Set '
                'loss.target_norm to batch or lower optimizer.lr, and start anew with another '
                'run.output; or lower collapse.least_rank if the scenes are that plain'
            )
