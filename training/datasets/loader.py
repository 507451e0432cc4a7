"""Batches of a data set, made in other processes.

The processes are forked. They use no CUDA, so they may be started after it; they share the list
of scenes with their parent instead of each holding a copy; and they are there at once, where
others would import torch anew. Batches come in the order asked for, however many processes
there are, and what goes wrong in them is raised here as if it had gone wrong here.
"""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from concerto_ros.errors import ConcertoError, ConfigError
from training.config import DataConfig

T = TypeVar('T')
B_co = TypeVar('B_co', covariant=True)


class NumberedItems(Protocol[T, B_co]):
    """A data set whose items follow from their numbers, and that makes batches of them."""

    def __getitem__(self, index: int) -> T:
        """Return an item."""
        ...

    def collate(self, items: Sequence[T]) -> B_co:
        """Join items to a batch."""
        ...


def rank_batches(
    data: DataConfig, steps: range, rank: int = 0, world_size: int = 1
) -> list[range]:
    """Return which items a rank takes: in each step its share of the slots, part by part.

    Args:
        data: Of which `batch_size` and `accumulation` matter.
        steps: Numbers of the steps.
        rank: Number of this process.
        world_size: Number of processes.

    Returns:
        `accumulation` lists per step, equally long.

    Raises:
        ConfigError: The batch cannot be divided.
    """
    num_parts = world_size * data.accumulation
    size, rest = divmod(data.batch_size, num_parts)
    if rest:
        raise ConfigError(
            f'data.batch_size should be a multiple of {num_parts} (processes times '
            f'data.accumulation), got {data.batch_size}'
        )
    parts = range(rank * data.accumulation, (rank + 1) * data.accumulation)
    starts = [step * data.batch_size + part * size for step in steps for part in parts]
    return [range(start, start + size) for start in starts]


def make_loader(
    dataset: NumberedItems[T, B_co], batches: Sequence[Sequence[int]], num_workers: int
) -> Iterator[B_co]:
    """Yield batches.

    Args:
        dataset: Of items.
        batches: Numbers of the items of each batch, as `rank_batches` gives them.
        num_workers: Processes that make batches; 0: this one makes them.

    Raises:
        ConcertoError: What the data set raises.
    """
    numbers: Any = batches
    loader: Any = _PreemptibleLoader(
        _Batches(dataset),
        batch_size=None,  # an item of this data set is a batch
        sampler=numbers,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        worker_init_fn=_leave_signals_to_parent,
        multiprocessing_context='fork' if num_workers else None,
        generator=torch.Generator(),  # else the loader draws from the global one
        # Then the weights are on a GPU, which reads pinned memory by itself.
        pin_memory=torch.cuda.is_initialized(),  # type: ignore[no-untyped-call]
    )
    for batch in loader:
        if isinstance(batch, ConcertoError):
            raise batch
        yield batch


class _Batches(Dataset[Any], Generic[T, B_co]):
    """A data set of batches; errors with a sentence of their own are returned instead.

    A loader hands values from process to process as they are, but errors as long texts.
    """

    def __init__(self, dataset: NumberedItems[T, B_co]) -> None:
        self._dataset = dataset

    def __getitem__(self, numbers: Sequence[int]) -> B_co | ConcertoError:
        try:
            return self._dataset.collate([self._dataset[number] for number in numbers])
        except ConcertoError as err:
            return err


def _as_it_is(batch: T) -> T:
    return batch


class _PreemptibleLoader(DataLoader[T]):
    """A loader whose workers outlive the signals that ask a whole job to stop.

    The trainer finishes its step with their batches, saves, and then ends them. Ctrl-C and the
    SIGTERM of a scheduler reach all processes of a job; only those of the parent count.
    """

    def __iter__(self) -> Any:  # an iterator with private methods that torch relies on
        # Blocked before they are forked, SIGTERM stays so in every thread of the workers.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_signals_to_parent(_worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
