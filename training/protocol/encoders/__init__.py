"""Encoders by name, as `encoder.name` gives them.

concerto:CHECKPOINT     published name, file or state of training; concerto:random#SIZE: untrained
masked:FILE             U-Net of a state of training.pretrain_masked; masked:FILE#teacher;
                        masked:random#KIND/SIZE: untrained, as training begins with this seed
msm:FILE                released network of masked scene modelling; msm:FILE#SIZE for another size
python:MODULE:FUNCTION  FUNCTION(device) returns the encoder; example.py is one

The folder of a run stands for the last state in it.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch

from concerto_ros.box import BOX
from concerto_ros.config.tree import build
from concerto_ros.errors import CheckpointError, ConfigError
from concerto_ros.published_weights import PUBLISHED
from training.checkpoint import state_file
from training.evaluation.backbone_features import RANDOM
from training.evaluation.results import files_hash
from training.networks.backends import use_backends
from training.networks.config import NetworkSection
from training.networks.released_checkpoint import load_released
from training.networks.unet import UNet
from training.origin import settings_of
from training.protocol.config import ProtocolConfig
from training.protocol.encoders.concerto import ConcertoEncoder, load_concerto
from training.protocol.encoders.masked import load_masked, new_network
from training.protocol.encoders.own import make_own
from training.protocol.encoders.unet import UNetEncoder
from training.protocol.hierarchy import HierarchicalEncoder
from training.protocol.hierarchy_check import check_encoder
from training.weights_kind import WHAT, kinds_of

E = TypeVar('E', ConcertoEncoder, UNetEncoder)
_RELEASED, _OWN = 'released', 'python'
_OF_OURS = ('encoder.convolution', 'encoder.attention', 'run.precision')  # how networks compute
_TRAINED_ON = {_RELEASED: 0.02, 'ablation': 0.04}  # m, voxels of published sizes


class _Request(NamedTuple):
    """What is asked for: the whole name, what stands after the colon, before and after a #."""

    name: str
    file: str
    option: str
    config: ProtocolConfig
    seed: int
    device: torch.device


def make_encoder(config: ProtocolConfig, seed: int, device: torch.device) -> HierarchicalEncoder:
    """Return the encoder that the settings name, frozen.

    Args:
        config: Of which `encoder`, `run.precision` and, for networks that do not tell on which
            voxels they were trained, `data.voxel_size` matter.
        seed: Stands where the name has {seed}; also of untrained weights.
        device: Where it runs.

    Raises:
        ConfigError: There is no such encoder, or it cannot be judged.
        CheckpointError: Its weights cannot be used.
        BackendUnavailable: What shall compute it cannot run on the device.
    """
    makers: dict[str, Callable[[_Request], HierarchicalEncoder]] = {
        'concerto': _concerto, 'masked': _masked, 'msm': _msm, _OWN: _python,
    }  # fmt: skip
    name = _asked_name(config, seed)
    kind, _, rest = name.partition(':')
    file, _, option = rest.partition('#')
    if kind not in makers or not file:
        raise ConfigError(
            'encoder.name must be concerto:CHECKPOINT, masked:FILE, msm:FILE or '
            f'python:MODULE:FUNCTION, got "{name}"'
        )
    asked = _Request(name, _file_of(kind, file), option, config, seed, device)
    _refuse_what_has_no_effect(asked, kind)
    try:
        encoder = makers[kind](asked)
    except CheckpointError as err:
        _refuse_another_kind(asked, kind, err)
        raise
    check_encoder(encoder, name)
    return encoder


def depends_on_seed(config: ProtocolConfig) -> bool:
    """Return whether another seed is another encoder."""
    wanted = config.encoder
    return '{seed}' in wanted.name or f':{RANDOM}' in wanted.name or wanted.as_released


def code_of(config: ProtocolConfig, seed: int) -> dict[str, str]:
    """Return the hash of the file in which an own encoder was found; nothing of the others."""
    kind, _, rest = _asked_name(config, seed).partition(':')
    path = sys.modules[rest.partition(':')[0]].__file__ if kind == _OWN else None
    return {'code': f'sha256:{files_hash([Path(path)])}'} if path else {}


def _asked_name(config: ProtocolConfig, seed: int) -> str:
    return config.encoder.name.replace('{seed}', str(seed))


def _file_of(kind: str, file: str) -> str:
    """Return the last state where a folder of a run is named; other names unchanged."""
    path = Path(file)
    if kind == _OWN or file in (*BOX, *PUBLISHED) or not path.is_dir():
        return file
    found = state_file(path)
    return file if found == path else str(found)


def _refuse_another_kind(asked: _Request, kind: str, err: CheckpointError) -> None:
    """Say how a file must be named that is sound, but of another kind than it was asked for as.

    Raises:
        CheckpointError: It is such a file.
    """
    kinds = kinds_of(asked.file)
    if kinds and kind not in kinds:
        raise CheckpointError(
            f'{asked.name}: is {WHAT[kinds[0]]}: judge it as {kinds[0]}:{asked.file}'
        ) from err


def _refuse_what_has_no_effect(asked: _Request, kind: str) -> None:
    """Refuse options that an encoder would leave aside.

    Raises:
        ConfigError: There is one.
    """
    wanted = asked.config.encoder
    if wanted.as_released and kind != 'msm':
        raise ConfigError(
            f'"encoder.as_released" is for msm:FILE alone, and encoder.name is {asked.name}: '
            'leave it out'
        )
    if wanted.family != 'decoder' and kind in ('concerto', _OWN):
        raise ConfigError(
            f'"encoder.family" is for U-Nets, masked: and msm:, and encoder.name is {asked.name}, '
            'which has one family of levels: leave it out'
        )
    if kind == _OWN:
        _refuse_settings_of_ours(asked)
    if asked.option and (kind == _OWN or (kind == 'concerto' and asked.file != RANDOM)):
        raise ConfigError(
            f'{asked.name}: #{asked.option} has no meaning there, only after concerto:random, '
            'masked: and msm:; leave it out'
        )


def _refuse_settings_of_ours(asked: _Request) -> None:
    """Refuse settings that do not reach an own encoder.

    Raises:
        ConfigError: One is not as it is by default.
    """
    given, default = settings_of(asked.config), settings_of(ProtocolConfig())
    for name in _OF_OURS:
        if given[name] != default[name]:
            raise ConfigError(
                f'"{name}" is for concerto:, masked: and msm:, and encoder.name is {asked.name}, '
                'which computes as its own code says: leave it out'
            )


def _concerto(asked: _Request) -> HierarchicalEncoder:
    config = asked.config
    network, voxel_size = load_concerto(
        asked.file, asked.option or 'base', asked.seed, config.data.voxel_size
    )
    number_format = config.run.precision
    encoder = ConcertoEncoder(network, asked.name, voxel_size, asked.device, number_format)
    return _computed(asked, encoder)


def _masked(asked: _Request) -> HierarchicalEncoder:
    if asked.file == RANDOM:
        return _unet(asked, _untrained(asked), asked.config.data.voxel_size)
    if asked.option not in ('', 'student', 'teacher'):
        raise ConfigError(f'{asked.name}: after # must be student or teacher')
    network, voxel_size = load_masked(Path(asked.file), asked.option or 'student')
    return _unet(asked, network, voxel_size)


def _untrained(asked: _Request) -> UNet:
    kind, _, size = asked.option.partition('/')
    if not size:
        raise ConfigError(
            f'{asked.name}: after # must be kind and size of a network, as in '
            'masked:random#concerto/nano'
        )
    return new_network(build(NetworkSection, {'kind': kind, 'size': size}), asked.seed)


def _msm(asked: _Request) -> HierarchicalEncoder:
    size = asked.option or _RELEASED
    network = load_released(Path(asked.file), size)
    if asked.config.encoder.as_released:
        network.noise = torch.Generator().manual_seed(asked.seed)
    voxel_size = _TRAINED_ON.get(size, asked.config.data.voxel_size)
    return _unet(asked, network, voxel_size, network.noise)


def _unet(
    asked: _Request, network: UNet, voxel_size: float, noise: torch.Generator | None = None
) -> HierarchicalEncoder:
    encoder = UNetEncoder(
        network,
        asked.name,
        voxel_size,
        asked.config.encoder.family,
        asked.device,
        asked.config.run.precision,
        noise,
    )
    return _computed(asked, encoder)


def _computed(asked: _Request, encoder: E) -> E:
    """Return an encoder that computes as the settings say, and tells so."""
    wanted = asked.config.encoder
    convolution, attention = use_backends(
        encoder.network,
        wanted.convolution,
        wanted.attention,
        device=asked.device,
        number_format=asked.config.run.precision,
    )
    told = {'convolution': convolution.name, 'attention': attention.name}
    encoder.facts = {**encoder.facts, **told}
    return encoder


def _python(asked: _Request) -> HierarchicalEncoder:
    return make_own(asked.name, asked.file, asked.device)
