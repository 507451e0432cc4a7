"""Processes of one thread, such as torchrun starts; one that has imported torch forks them all."""

import multiprocessing
import os
import socket
import sys

import torch

_FORKS = multiprocessing.get_context('forkserver')
_FORKS.set_forkserver_preload(['training.command', 'training.joint_task'])
_PATIENCE = 120  # seconds


def start_process(function, *arguments):
    """Call a function in a process; what it returns is the exit status."""
    process = _FORKS.Process(target=_run, args=(function, arguments))
    process.start()
    return process


def run_ranks(function, *arguments):
    """Call a function of rank and arguments in two processes; return their exit statuses."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    ranks = [start_process(_run_rank, rank, port, function, arguments) for rank in (0, 1)]
    for process in ranks:
        process.join(_PATIENCE)
        process.kill()
    return [process.exitcode for process in ranks]


def _run(function, arguments):
    torch.set_num_threads(1)
    sys.exit(function(*arguments))


def _run_rank(rank, port, function, arguments):
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )  # fmt: skip
    return function(rank, *arguments)
