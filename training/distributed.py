"""Several processes as one: rank, sums over ranks; identities without a process group.

`torchrun` starts the processes and tells each its place; one process needs no `torchrun`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed

from concerto_ros.errors import ConfigError


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the other processes that `torchrun` started, if it did."""
    if 'WORLD_SIZE' not in os.environ or int(os.environ['WORLD_SIZE']) == 1:
        yield
        return
    # numbers of the progress line and of `wait_for_all` lie on the CPU
    distributed.init_process_group('cpu:gloo,cuda:nccl' if device.type == 'cuda' else 'gloo')
    try:
        yield
    finally:
        distributed.destroy_process_group()


def world_size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return the number of this process; 0 leads."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def all_reduce_sum(x: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks, as a new tensor without gradient."""
    x = x.detach().clone()
    if world_size() > 1:
        distributed.all_reduce(x)
    return x


def choose_device(name: str) -> torch.device:
    """Return the device of this process: its own GPU of the machine, or the CPU.

    Raises:
        ConfigError: CUDA is wanted and absent, or the name is none of auto, cpu, cuda.
    """
    if name not in ('auto', 'cpu', 'cuda'):
        raise ConfigError(f'"run.device" must be auto, cpu or cuda, got "{name}"')
    if name == 'cpu' or (name == 'auto' and not torch.cuda.is_available()):
        return torch.device('cpu')
    if not torch.cuda.is_available():
        raise ConfigError('"run.device" is cuda, but there is no CUDA device: set it to cpu')
    device = torch.device('cuda', int(os.environ.get('LOCAL_RANK', '0')))
    torch.cuda.set_device(device)
    return device


def wait_for_all() -> None:
    """Return when all ranks have come here."""
    all_reduce_sum(torch.zeros(()))  # on the CPU: sums on GPUs are only queued
