"""U-Nets out of states of masked scene modelling, and new ones."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from concerto_ros.config.tree import build
from concerto_ros.errors import CheckpointError
from training.checkpoint import load_state, tensor_difference
from training.networks.config import NetworkSection
from training.networks.make import make_network
from training.networks.unet import UNet

_SETTING = 'network.'


def load_masked(path: Path, part: str) -> tuple[UNet, float]:
    """Return a U-Net of a state of `training.pretrain_masked`, and its voxel size [m].

    Args:
        path: Of the state.
        part: student or teacher.

    Raises:
        CheckpointError: The file is no such state, or has no such network.
    """
    state = load_state(path)
    settings = {
        name.removeprefix(_SETTING): value
        for name, value in state.settings.items()
        if name.startswith(_SETTING)
    }
    if not settings:
        raise CheckpointError(
            f'{path}: is a state of another training than training.pretrain_masked: name one of '
            'its own'
        )
    network = new_network(build(NetworkSection, settings))
    _fill(network, state.state_dict, f'{part}.', path)
    return network, float(state.settings['data.voxel_size'])


def new_network(section: NetworkSection, seed: int = 0) -> UNet:
    """Return a network of random weights; leaves the global generator alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make_network(section)


def _fill(network: UNet, tensors: Mapping[str, Tensor], prefix: str, path: Path) -> None:
    own = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
    if not own:
        found = ', '.join(list(tensors)[:3]) or 'none'
        raise CheckpointError(
            f'{path}: has no network under {prefix}*, found tensors such as {found}: the teacher '
            'is absent where targets were shallow'
        )
    if difference := tensor_difference(network.state_dict(), own):
        raise CheckpointError(f'{path}: is another network than its settings say: {difference}')
    network.load_state_dict(own)
