"""What is told of a run: a line on the terminal, curves for TensorBoard, skipped scenes."""

import logging
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from training.config import RunConfig
from training.distributed import all_reduce_sum, rank, world_size
from training.structures import StepValues

_log = logging.getLogger(__name__)
T = TypeVar('T')


class Progress:
    """Counts and times the steps of a run, and tells of them; a context manager.

    Args:
        folder: Where the curves go.
        run: How often.
        first_step: Where this part of the run begins.
        losses: Names of the terms that are losses, besides `loss`.
    """

    def __init__(
        self, folder: Path, run: RunConfig, first_step: int, losses: Collection[str]
    ) -> None:
        self._run = run
        self._losses = {'loss', *losses}
        self._first_step = first_step
        self._started = time.perf_counter()
        self._since = self._started
        self._writer: Any = None
        if rank() == 0:
            with self._curves():
                self._writer = SummaryWriter(str(folder), purge_step=first_step or None)
        self._points = 0
        self._waited = 0.0
        self._skipped: Counter[str] = Counter()

    def __enter__(self) -> 'Progress':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._writer:
            with self._curves():
                self._writer.close()
        if self._skipped:
            _log.warning(
                'scenes or images that cannot be read (named above): %d; visits skipped: %d',
                len(self._skipped), self._skipped.total(),
            )  # fmt: skip

    def timed(self, items: Iterator[T]) -> Iterator[T]:
        """Yield the items; the time to get each of them counts as waiting for data."""
        while True:
            start = time.perf_counter()
            item = next(items)
            self._waited += time.perf_counter() - start
            yield item

    def batch_read(self, batch: Any) -> None:
        """Count the points of a batch; name the scenes it had to do without, each once."""
        self._points += batch.num_points
        for sentence in batch.skipped:
            if sentence not in self._skipped:
                _log.warning('skipped: %s', sentence)
            self._skipped[sentence] += 1

    def step_done(self, step: int, values: StepValues, terms: dict[str, Tensor]) -> None:
        """Tell of a step if it is time to."""
        if (step + 1) % self._run.log_every and step + 1 != self._run.num_steps:
            return
        names = list(terms)
        total = all_reduce_sum(torch.stack([terms[name] for name in names]))
        numbers = (total / world_size()).tolist()
        shown = dict(zip(names, numbers, strict=True))
        seconds = time.perf_counter() - self._since
        points = float(all_reduce_sum(torch.tensor(float(self._points), dtype=torch.float64)))
        speed = {'points_per_s': points / seconds, 'data_share': self._waited / seconds}
        self._write(step, values, shown, speed)
        if rank() == 0:
            _log.info('%s', self._line(step, values, shown, speed))
        self._points, self._waited, self._since = 0, 0.0, time.perf_counter()

    def _write(
        self, step: int, values: StepValues, terms: dict[str, float], speed: dict[str, float]
    ) -> None:
        if self._writer is None:
            return
        with self._curves():
            for name, value in terms.items():
                group = 'loss' if name in self._losses else 'monitor'
                self._writer.add_scalar(f'{group}/{name}', value, step)
            for name, value in asdict(values).items():
                if name != 'step':
                    self._writer.add_scalar(f'schedule/{name}', value, step)
            for name, value in speed.items():
                self._writer.add_scalar(f'speed/{name}', value, step)

    @contextmanager
    def _curves(self) -> Iterator[None]:
        """Do without curves from where they cannot be written: a state may still have room."""
        try:
            yield
        except OSError as err:
            self._writer = None
            _log.warning('curves cannot be written: the run goes on without them (%s)', err)

    def _line(
        self, step: int, values: StepValues, terms: dict[str, float], speed: dict[str, float]
    ) -> str:
        done, total = step + 1, self._run.num_steps
        per_step = (time.perf_counter() - self._started) / (done - self._first_step)
        return (
            f'step {done}/{total} {_in_groups(terms)} lr {values.lr:.2e} '
            f'{speed["points_per_s"] / 1e3:.1f}k points/s data {speed["data_share"]:.0%} '
            f'{clock((total - done) * per_step)} left'
        )


def _in_groups(terms: dict[str, float]) -> str:
    """Return names with their values; after `std0` those of `std1`, `std2`, ... without names."""
    groups: dict[str, list[str]] = {}
    for name in terms:
        groups.setdefault(name.rstrip('0123456789'), []).append(name)
    parts, following = [], ''
    for stem, names in groups.items():
        for name in names:
            parts += [f'{terms[name]:.3f}'] if name == following else [name, f'{terms[name]:.3f}']
            number = name.removeprefix(stem)
            following = f'{stem}{int(number) + 1}' if number else ''
    return ' '.join(parts)


def clock(seconds: float) -> str:
    """Return hours, minutes and seconds as h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    return f'{minutes // 60}:{minutes % 60:02d}:{second:02d}'
