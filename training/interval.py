"""How sure a mean over seeds is."""

import math
from collections.abc import Sequence
from statistics import mean, stdev

# 97.5 % quantile of Student's t by degrees of freedom; the last one for more of them too.
_T = (math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201,
      2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064,
      2.060, 2.056, 2.052, 2.048, 2.045, 2.042)  # fmt: skip


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean by Student's t; infinite for a single value."""
    num = len(values)
    if num < 2:
        return -math.inf, math.inf
    half = _T[min(num - 1, len(_T) - 1)] * stdev(values) / math.sqrt(num)
    return mean(values) - half, mean(values) + half
