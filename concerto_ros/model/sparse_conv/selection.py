"""Which function computes a convolution: chosen once, and said."""

import importlib.metadata
import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from concerto_ros.errors import BackendUnavailable
from concerto_ros.model.sparse_conv import torch_backend, torch_stride2
from concerto_ros.model.sparse_conv.halving import Halving
from concerto_ros.model.sparse_conv.neighborhood import Neighborhood

Convolution = Callable[[Tensor, Tensor, Tensor, Neighborhood], Tensor]
Stride2 = Callable[[Tensor, Tensor, Tensor, Halving], Tensor]

NAMES = ('auto', 'torch', 'spconv')
# Wheels of spconv: the name says for which CUDA each was built; the last one has no CUDA.
_WHEELS = (
    'spconv-cu126', 'spconv-cu124', 'spconv-cu121', 'spconv-cu120', 'spconv-cu118', 'spconv',
)  # fmt: skip
_CURE = 'pip install spconv-cu126==2.3.8 (or -cu124, -cu121, as old as the driver needs)'

_TRIAL = """
import torch
from concerto_ros.model.sparse_conv import find_neighbors, spconv_backend
x = torch.ones(2, 16, device='{device}')
grid = torch.tensor([[0, 0, 0], [0, 0, 1]], device=x.device)
weight = torch.ones(16, 3, 3, 3, 16, device=x.device)
y = spconv_backend.convolve(x, weight, weight[:, 0, 0, 0, 0], find_neighbors(grid, grid[:, 0]))
assert (y == 33).all(), 'wrong numbers'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A way to compute convolutions.

    Attributes:
        name: 'torch' or 'spconv'.
        convolve: The function, called as `torch_backend.convolve`.
        down: To cells twice as wide, called as `torch_stride2.down`.
        up: Back to their voxels, called as `torch_stride2.up`.
        notice: What was taken and why, one sentence for people.
    """

    name: str
    convolve: Convolution
    down: Stride2
    up: Stride2
    notice: str


def select_backend(name: str, device: torch.device) -> Backend:
    """Choose how convolutions are computed.

    Args:
        name: 'torch' runs everywhere. 'spconv' needs CUDA and its package, and is refused where
            it is known to fail. 'auto' takes spconv where it can run, else torch.
        device: Where the network runs.

    Raises:
        BackendUnavailable: There is no backend of this name, or spconv was asked for by name and
            cannot run here; the message says what would help.
    """
    if name not in NAMES:
        raise BackendUnavailable(f'a convolution is one of {", ".join(NAMES)}, got "{name}"')
    if name == 'torch':
        return _torch('as configured')
    obstacle = _obstacle(device)
    if not obstacle:
        return _spconv('as configured' if name == 'spconv' else 'it is installed')
    if name == 'spconv':
        raise BackendUnavailable(
            f'convolution by spconv is not possible: {obstacle}; or choose torch'
        )
    return _torch(obstacle)


def _torch(reason: str) -> Backend:
    return Backend(
        name='torch',
        convolve=torch_backend.convolve,
        down=torch_stride2.down,
        up=torch_stride2.up,
        notice=f'convolution by torch: {reason}',
    )


def _spconv(reason: str) -> Backend:
    from concerto_ros.model.sparse_conv import spconv_backend, spconv_stride2

    return Backend(
        name='spconv',
        convolve=spconv_backend.convolve,
        down=spconv_stride2.down,
        up=spconv_stride2.up,
        notice=f'convolution by spconv: {reason}',
    )


def _obstacle(device: torch.device) -> str:
    """Say why spconv cannot run; empty if it can. Finds it out without importing spconv."""
    if device.type != 'cuda':
        return f'spconv is for CUDA, its results on a {device.type} are wrong with several threads'
    if importlib.util.find_spec('spconv') is None:
        return f'spconv is not installed: {_CURE}'
    wheel, version = _installed_wheel()
    if wheel == 'spconv':
        return f'the installed spconv {version} is built without CUDA: {_CURE}'
    if _numbers(version) < (2, 3, 7) and _numbers(np.__version__) >= (2,):
        # SIGFPE in an interface to numpy that numpy 2 changed: issues 725, 743 of spconv
        failure = f'it crashes with numpy {np.__version__}'
    else:
        failure = _failure(device)
    return f'{wheel} {version}: {failure}; pip uninstall {wheel}, then {_CURE}' if failure else ''


@lru_cache(maxsize=8)
def _failure(device: torch.device) -> str:
    """Say how a first convolution ends, in a process of its own; empty if well.

    Builds that do not fit torch, the driver or the GPU end the process instead of raising.
    """
    run = subprocess.run(
        [sys.executable, '-c', _TRIAL.format(device=device)],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if run.returncode == 0:
        return ''
    if run.returncode < 0:
        return f'a first convolution ends by {signal.Signals(-run.returncode).name}'
    last_line = (run.stderr.strip() or 'no message').splitlines()[-1]
    return f'a first convolution fails with {last_line}'


def _installed_wheel() -> tuple[str, str]:
    """Return name and version of the package that spconv came from."""
    for wheel in _WHEELS:
        try:
            return wheel, importlib.metadata.version(wheel)
        except importlib.metadata.PackageNotFoundError:
            continue
    return 'spconv (built here)', '2.3.8'  # from source, as on a Jetson: only its run can tell


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version such as 2.13.0+cpu, without what follows the plus."""
    return tuple(int(number) for number in re.findall(r'\d+', version.partition('+')[0]))
