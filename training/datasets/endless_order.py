"""Items without end: which one has a number follows from the number alone.

So the order does not depend on processes, ranks or interruptions.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import SourceError

_MOST_SKIPPED = 20  # broken items in a row that are no accident
_ORDER = 1  # stream of random numbers; others draw from others

T = TypeVar('T')


class EndlessOrder:
    """All items once an epoch, each epoch in an order of its own.

    Args:
        num_items: At least one.
        seed: Of the orders.
        kind: What the items are, for messages; for instance "scenes".
    """

    def __init__(self, num_items: int, seed: int, kind: str) -> None:
        self._num_items, self._seed, self._kind = num_items, seed, kind
        self._epoch, self._order = -1, np.zeros(0, dtype=np.int64)  # of the number last asked for

    def read(self, number: int, read: Callable[[int], T]) -> tuple[T, tuple[str, ...]]:
        """Read the item that has a number, or else the next one of the epoch that can be read.

        Args:
            number: 0, 1, 2, ...
            read: Reads an item; it is given which one, in 0..num_items-1.

        Returns:
            The item, and one sentence for each one before it that cannot be read.

        Raises:
            SourceError: Many in a row cannot be read.
        """
        epoch, place = divmod(number, self._num_items)
        places = range(place, place + min(_MOST_SKIPPED, self._num_items))
        skipped: list[str] = []
        for item in self._order_of(epoch).take(places, mode='wrap').tolist():
            try:
                return read(item), tuple(skipped)
            except SourceError as err:
                skipped.append(str(err))
        raise SourceError(
            f'{len(skipped)} {self._kind} in a row cannot be read; first: {skipped[0]}'
        )

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            rng = np.random.default_rng([self._seed, _ORDER, epoch])
            self._epoch, self._order = epoch, rng.permutation(self._num_items)
        return self._order
