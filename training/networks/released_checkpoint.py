"""Checkpoints of Masked Scene Modeling in the format of its authors.

Such a file is a state of training; the network in it is the student's, the teacher and the heads
beside it are left out.
"""

from pathlib import Path

from concerto_ros.errors import CheckpointError, ConfigError
from concerto_ros.weights_file import read_weights_file
from training.checkpoint import tensor_difference
from training.networks.hunet import HUNet
from training.networks.hunet_config import SIZES

PREFIX = 'module.student.'


def load_released(path: Path, size: str) -> HUNet:
    """Return the network of a released checkpoint, in eval mode, on the CPU, without gradients.

    Args:
        path: What `read_weights_file` takes; no code in the file is run.
        size: Name among `SIZES`.

    Raises:
        CheckpointError: The file is missing or damaged, or its tensors named `PREFIX` and more
            are not exactly those of the network, or not finite; the message names the first.
        ConfigError: There is no such size.
    """
    if size not in SIZES:
        raise ConfigError(f'a released network is one of {", ".join(SIZES)}, got {size!r}')
    tensors = read_weights_file(path).tensors
    own = {name.removeprefix(PREFIX): t for name, t in tensors.items() if name.startswith(PREFIX)}
    if not own:
        raise CheckpointError(
            f'{path}: is no released checkpoint of masked scene modelling, in which tensors are '
            f'named {PREFIX}*; found {next(iter(tensors))}'
        )
    network = HUNet(SIZES[size])
    if difference := tensor_difference(network.state_dict(), own):
        raise CheckpointError(f'{path}: is not the network of size "{size}": {difference}')
    if damaged := next((name for name, t in own.items() if not t.isfinite().all()), ''):
        raise CheckpointError(f'{path}: numbers of {PREFIX}{damaged} are not finite')
    network.load_state_dict(own)
    return network.eval().requires_grad_(False)
