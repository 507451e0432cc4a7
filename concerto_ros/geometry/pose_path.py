"""PosePath: where something was over time, as a pose graph or a recording tells it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from concerto_ros.geometry.transforms import Matrix, from_quaternion, slerp

_NORM_TOLERANCE = 0.01  # of the squared length of a quaternion, as in tf2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PosePath:
    """T_world_body at ascending stamps.

    Attributes:
        stamps_ns: (P,) int64 [ns], strictly ascending; P is at least 1.
        translation: (P, 3) float64 [m].
        quaternion: (P, 4) float64 x y z w, of length 1 within 0.5 %.

    Raises:
        ValueError: Something above does not hold; the message says what.
    """

    stamps_ns: NDArray[np.int64]
    translation: NDArray[np.float64]
    quaternion: NDArray[np.float64]

    def __post_init__(self) -> None:
        num = len(self.stamps_ns)
        if num == 0:
            raise ValueError('it has no poses')
        if self.translation.shape != (num, 3) or self.quaternion.shape != (num, 4):
            raise ValueError(
                f'expected 3 and 4 numbers for each of {num} stamps, got '
                f'{self.translation.shape} and {self.quaternion.shape}'
            )
        if (np.diff(self.stamps_ns) <= 0).any():
            raise ValueError('the stamps of its poses do not ascend')
        if not (np.isfinite(self.translation).all() and np.isfinite(self.quaternion).all()):
            raise ValueError('a pose has a number that is not finite')
        if (np.abs((self.quaternion**2).sum(1) - 1.0) >= _NORM_TOLERANCE).any():
            raise ValueError('a pose has a quaternion whose length is not 1')

    def at(self, stamp_ns: int) -> Matrix | None:
        """Return T_world_body (4, 4) at a stamp [ns]; None before the first and after the last.

        Between two poses positions are interpolated linearly and rotations by slerp.
        """
        if not self.stamps_ns[0] <= stamp_ns <= self.stamps_ns[-1]:
            return None
        after = int(np.searchsorted(self.stamps_ns, stamp_ns))
        before = after if self.stamps_ns[after] == stamp_ns else after - 1
        gap = int(self.stamps_ns[after] - self.stamps_ns[before])
        fraction = int(stamp_ns - self.stamps_ns[before]) / max(gap, 1)
        a, b = self.translation[[before, after]]
        rotation = slerp(self.quaternion[before], self.quaternion[after], fraction)
        return from_quaternion(a + fraction * (b - a), rotation)
