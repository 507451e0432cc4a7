"""How far a loop is: a bar on a terminal, some lines in a log elsewhere."""

import logging
import sys
from collections.abc import Iterator
from typing import Protocol, TypeVar

from tqdm import tqdm

_log = logging.getLogger(__name__)
_LINES = 10  # of a loop
T_co = TypeVar('T_co', covariant=True)


class Counted(Protocol[T_co]):
    """Items of which the number is known."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __iter__(self) -> Iterator[T_co]:
        """Yield them."""


def followed(items: Counted[T_co], what: str) -> Iterator[T_co]:
    """Yield items, and tell how many are done: in a batch job after every tenth of them.

    Args:
        items: To go through.
        what: Is made of them, for people.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what)
        return
    total = len(items)
    for done, item in enumerate(items, start=1):
        yield item
        if done * _LINES // total > (done - 1) * _LINES // total:
            _log.info('%s: %d of %d', what, done, total)
