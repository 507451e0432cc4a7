"""Checkpoints of the backbone: the published format, and our own, which is the same."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concerto_ros.errors import CheckpointError, ConfigError
from concerto_ros.model.config import BackboneConfig
from concerto_ros.model.ptv3 import PointTransformerV3
from concerto_ros.weights_file import read_weights, write_weights

# What a key means when a published file leaves it out, where that differs from our defaults.
_PUBLISHED_DEFAULTS: dict[str, Any] = {
    'in_channels': 6, 'order': ('z', 'z-trans'), 'mask_token': False,
}  # fmt: skip
# Published keys with the one value that this network implements.
_FIXED: dict[str, Any] = {
    'qkv_bias': True, 'qk_scale': None, 'layer_scale': None, 'pre_norm': True, 'enable_rpe': False,
}  # fmt: skip
# Published keys that do not change the features of the encoder in eval mode.
_WITHOUT_EFFECT = {
    'attn_drop', 'proj_drop', 'shuffle_orders', 'enable_flash', 'upcast_attention',
    'upcast_softmax', 'traceable', 'enc_mode', 'freeze_encoder', 'dec_depths', 'dec_channels',
    'dec_num_head', 'dec_patch_size',
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointReport:
    """What loading a checkpoint had to assume or leave out.

    Attributes:
        path: The file.
        num_parameters: Numbers in the encoder.
        unknown_config: Keys of the file's configuration that mean nothing to us.
        missing_config: Keys that the file leaves to their published default.
        left_out: Tensors of a decoder, which is not built.
    """

    path: Path
    num_parameters: int
    unknown_config: tuple[str, ...] = ()
    missing_config: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f'{self.path.name}: {self.num_parameters / 1e6:.1f} M parameters']
        if self.unknown_config:
            parts.append(f'ignored unknown configuration {", ".join(self.unknown_config)}')
        if self.missing_config:
            parts.append(f'took the published default for {", ".join(self.missing_config)}')
        if self.left_out:
            parts.append(f'left out {len(self.left_out)} tensors of the decoder')
        return '; '.join(parts)


def load_backbone(path: str | Path) -> tuple[PointTransformerV3, CheckpointReport]:
    """Load an encoder for inference: in eval mode, on the CPU, without gradients.

    Args:
        path: .pth or .safetensors, published or from `save_backbone`; see `read_weights`.

    Returns:
        model: Weights as in the file.
        report: What was assumed or left out; print it.

    Raises:
        CheckpointError: The file is missing or damaged, or its configuration or tensors do not
            fit; the message lists the differences.
    """
    path = Path(path)
    raw, tensors = read_weights(path)
    config = _read_config(path, raw)
    encoder = {name: t for name, t in tensors.items() if not name.startswith('dec.')}
    with torch.device('meta'):
        model = PointTransformerV3(config)
    _check_tensors(path, model.state_dict(), encoder)
    if damaged := [name for name, t in encoder.items() if not t.isfinite().all()]:
        raise CheckpointError(f'{path}: numbers are not finite in {_first(damaged)}')
    model.load_state_dict({k: t.float() for k, t in encoder.items()}, assign=True)
    names = _config_names()
    report = CheckpointReport(
        path=path,
        num_parameters=sum(t.numel() for t in encoder.values()),
        unknown_config=tuple(k for k in raw if k not in (*names, *_FIXED, *_WITHOUT_EFFECT)),
        missing_config=tuple(name for name in names if name not in raw),
        left_out=tuple(name for name in tensors if name not in encoder),
    )
    return model.eval().requires_grad_(False), report


def save_backbone(model: PointTransformerV3, path: str | Path) -> None:
    """Save an encoder in the published format.

    Args:
        model: Any device and dtype.
        path: .pth or .safetensors; replaced if it exists.

    Raises:
        CheckpointError: The suffix is unknown, or the file cannot be written.
    """
    config = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(model.config).items()}
    write_weights(path, {**config, 'enc_mode': True}, model.state_dict())


def _read_config(path: Path, raw: Mapping[str, Any]) -> BackboneConfig:
    for key, value in _FIXED.items():
        if raw.get(key, value) != value:
            raise CheckpointError(f'{path}: {key} = {raw[key]} is not supported, only {value} is')
    known = _config_names()
    values = {**_PUBLISHED_DEFAULTS, **{k: v for k, v in raw.items() if k in known}}
    if isinstance(values['order'], str):
        values['order'] = (values['order'],)
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    try:
        return BackboneConfig(**values)
    except (ConfigError, TypeError) as err:
        raise CheckpointError(f'{path}: its configuration is not valid: {err}') from err


def _config_names() -> list[str]:
    names = (field.name for field in fields(BackboneConfig))
    return [name for name in names if name not in (*_FIXED, *_WITHOUT_EFFECT)]


def _check_tensors(
    path: Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> None:
    differences = {
        'missing': [name for name in expected if name not in found],
        'unexpected': [name for name in found if name not in expected],
        'of another shape': [
            f'{name} {tuple(found[name].shape)} instead of {tuple(tensor.shape)}'
            for name, tensor in expected.items()
            if name in found and found[name].shape != tensor.shape
        ],
    }
    parts = [f'{len(v)} {kind}: {_first(v)}' for kind, v in differences.items() if v]
    if parts:
        raise CheckpointError(
            f'{path}: tensors do not fit the configuration in the file; {"; ".join(parts)}'
        )


def _first(names: list[str], num_shown: int = 5) -> str:
    return ', '.join(names[:num_shown]) + (', ...' if len(names) > num_shown else '')
