"""Fewer scenes or fewer labels to train on, to see how far a representation carries."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from training.structures import IGNORED

T = TypeVar('T')
_SCENES, _POINTS = 10, 11  # purposes of random numbers


def choose_scenes(scenes: Sequence[T], share: float, seed: int) -> list[T]:
    """Draw a share of the scenes, at least one; a smaller share is part of a larger one.

    Args:
        scenes: To choose from.
        share: In 0..1.
        seed: Decides which.

    Returns:
        In their order.
    """
    count = min(len(scenes), max(1, round(share * len(scenes))))
    order = np.random.default_rng([seed, _SCENES]).permutation(len(scenes))
    return [scenes[i] for i in sorted(order[:count])]


def keep_labels(
    segment: NDArray[np.int64], count: int, seed: int, number: int
) -> NDArray[np.int64]:
    """Draw labelled points of a scene; a smaller number is part of a larger one.

    Args:
        segment: (N,) int64; `IGNORED` has no label.
        count: Labels to keep; 0: all.
        seed: Decides which,
        number: with the number of the scene.

    Returns:
        (N,) int64, `IGNORED` where a label was not kept.
    """
    labelled = np.flatnonzero(segment != IGNORED)
    if count == 0 or len(labelled) <= count:
        return segment
    kept = np.random.default_rng([seed, _POINTS, number]).permutation(labelled)[:count]
    few = np.full_like(segment, IGNORED)
    few[kept] = segment[kept]
    return few
