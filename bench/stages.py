"""Where the time of a step goes."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from types import ModuleType
from typing import Any
from unittest.mock import patch

from torch import nn


class Stages:
    """Adds up the time of stages, round by round; a stage inside another is taken off it.

    Args:
        now: The time [s].
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.rounds: list[Counter[str]] = []
        self._now = now
        self._open: list[str] = []

    def ms(self, stage: str, warmup: int = 1) -> float:
        """Return the median over the rounds after the first ones."""
        return 1000 * median(spent[stage] for spent in self.rounds[warmup:])

    def next_round(self) -> None:
        """Count from here on for another round."""
        self.rounds.append(Counter())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside the context for a stage."""
        self._open.append(name)
        started = self._now()
        try:
            yield
        finally:
            seconds = self._now() - started
            self._open.pop()
            self.rounds[-1][name] += seconds
            if self._open:
                self.rounds[-1][self._open[-1]] -= seconds

    @contextmanager
    def watch(self, owner: ModuleType | nn.Module, **stages: str) -> Iterator[None]:
        """Count the time of functions of a module, by their names, for the stages given."""
        watched = {name: self._watched(getattr(owner, name), s) for name, s in stages.items()}
        with patch.multiple(owner, **watched):
            yield

    def _watched(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            with self.stage(stage):
                return function(*args, **kwargs)

        return run
