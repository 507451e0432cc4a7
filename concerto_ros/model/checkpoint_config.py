"""The configuration of a checkpoint: as its file says, or as its tensors imply."""

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor

from concerto_ros.errors import CheckpointError, ConfigError
from concerto_ros.model.config import BackboneConfig
from concerto_ros.model.serialization import CURVES

STEM = 'embedding.stem.linear.weight'  # every network of this kind has it, and nothing else has

# What a key means that a published file leaves out, where that differs from our defaults.
_PUBLISHED_DEFAULTS: dict[str, Any] = {
    'in_channels': 6, 'order': ('z', 'z-trans'), 'mask_token': False, 'enc_mode': False,
}  # fmt: skip
# Published keys with the one value that this network implements.
_FIXED: dict[str, Any] = {'qk_scale': None}
# Published keys that do not change the features in eval mode.
_WITHOUT_EFFECT = {
    'attn_drop', 'proj_drop', 'upcast_attention', 'upcast_softmax', 'traceable', 'freeze_encoder',
}  # fmt: skip
_HEAD_CHANNELS = 16  # of every published network
_PATCH_SIZE = 1024


def read_config(raw: Mapping[str, Any]) -> BackboneConfig:
    """Return the configuration of a file; keys that it leaves out have their published default.

    Raises:
        CheckpointError: It is not one of this network.
    """
    for key, value in _FIXED.items():
        if raw.get(key, value) != value:
            raise CheckpointError(f'{key} = {raw[key]} is not supported, only {value} is')
    known = {k: v for k, v in raw.items() if k in _names()}
    values = {**_PUBLISHED_DEFAULTS, **known}
    if isinstance(values['order'], str):
        values['order'] = (values['order'],)
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    try:
        return BackboneConfig(**values)
    except (ConfigError, TypeError) as err:
        raise CheckpointError(f'its configuration is not valid: {err}') from err


def unknown_keys(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of a file's configuration that mean nothing to us."""
    return tuple(k for k in raw if k not in {*_names(), *_FIXED, *_WITHOUT_EFFECT})


def missing_keys(raw: Mapping[str, Any], config: BackboneConfig) -> tuple[str, ...]:
    """Return what matters and is not in a file's configuration."""
    names = (n for n in _names() if not (config.enc_mode and n.startswith('dec_')))
    return tuple(name for name in names if name not in raw)


def imply_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the configuration that tensors imply, in the form of a file.

    They do not tell curves, strides, patch sizes, heads and the place of the norms: those are
    taken to be as in all published networks.

    Raises:
        CheckpointError: A tensor that tells a number is missing.
    """
    try:
        depths = {part: _depths(tensors, part) for part in ('enc', 'dec')}
        config = {
            'in_channels': tensors[STEM].shape[1],
            'order': CURVES,
            'stride': (2,) * (len(depths['enc']) - 1),
            'enc_mode': not depths['dec'],
            'mask_token': 'embedding.mask_token' in tensors,
            **_block_config(tensors),
        }
        for part, blocks in depths.items():
            config |= _stage_config(tensors, part, blocks) if blocks else {}
    except (LookupError, ZeroDivisionError) as err:
        raise CheckpointError(f'without a configuration, its tensors must tell: {err}') from err
    return config


def _names() -> tuple[str, ...]:
    return tuple(field.name for field in fields(BackboneConfig))


def _depths(tensors: Mapping[str, Tensor], part: str) -> tuple[int, ...]:
    """Return the number of blocks of each stage of the encoder or the decoder."""
    pattern = re.compile(rf'{part}\.{part}(\d+)\.block(\d+)\.norm1\.0\.weight')
    blocks = [tuple(map(int, m.groups())) for m in map(pattern.fullmatch, tensors) if m]
    stages = [stage for stage, _ in blocks]
    return tuple(stages.count(stage) for stage in range(max(stages, default=-1) + 1))


def _block_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what all blocks share."""
    block = 'enc.enc0.block0'
    hidden, channels = tensors[f'{block}.mlp.0.fc1.weight'].shape
    return {
        'mlp_ratio': hidden / channels,
        'qkv_bias': f'{block}.attn.qkv.bias' in tensors,
        'pre_norm': True,
        'layer_scale': 1.0 if f'{block}.ls1.0.gamma' in tensors else None,
        'enable_rpe': f'{block}.attn.rpe.rpe_table' in tensors,
        'enable_flash': True,
    }


def _stage_config(
    tensors: Mapping[str, Tensor], part: str, depths: tuple[int, ...]
) -> dict[str, Any]:
    """Return what differs between stages."""
    channels = tuple(
        len(tensors[f'{part}.{part}{s}.block0.norm1.0.weight']) for s in range(len(depths))
    )
    return {
        f'{part}_depths': depths,
        f'{part}_channels': channels,
        f'{part}_num_head': tuple(c // _HEAD_CHANNELS for c in channels),
        f'{part}_patch_size': (_PATCH_SIZE,) * len(depths),
    }
