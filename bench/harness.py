"""Timing of two ways to do the same, in turns, so that a noisy machine disturbs both alike."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Step = Callable[[int], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """What `paired` measured.

    Attributes:
        speedup: Median over the pairs of the reference's time divided by ours.
        reference_ms: Median time of the reference [ms].
        ours_ms: Median time of ours [ms].
        worst_ms: Longest time of ours [ms].
        num_pairs: How many pairs were timed.
    """

    speedup: float
    reference_ms: float
    ours_ms: float
    worst_ms: float
    num_pairs: int

    def __str__(self) -> str:
        return f'{self.ours_ms:.2f} ms against {self.reference_ms:.2f} ms, {self.num_pairs} pairs'


def paired(
    reference: Step,
    ours: Step,
    rounds: int,
    *,
    warmup: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> Paired:
    """Run reference, ours, reference, ours ... and compare the times of each pair.

    Args:
        reference: Called with the number of the round.
        ours: Likewise, right after it.
        rounds: Of which the first `warmup` do not count.
        warmup: For caches and memory to fill.
        clock: Tells the time [s].
    """

    def seconds(step: Step, i: int) -> float:
        started = clock()
        step(i)
        return clock() - started

    times = np.array([(seconds(reference, i), seconds(ours, i)) for i in range(rounds)])
    times = 1000 * times[warmup:]
    return Paired(
        speedup=float(np.median(times[:, 0] / times[:, 1])),
        reference_ms=float(np.median(times[:, 0])),
        ours_ms=float(np.median(times[:, 1])),
        worst_ms=float(times[:, 1].max()),
        num_pairs=len(times),
    )
