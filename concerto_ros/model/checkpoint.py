"""Checkpoints of the backbone: the published format, and our own, which is the same."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concerto_ros.errors import CheckpointError
from concerto_ros.model.checkpoint_config import (
    STEM,
    imply_config,
    missing_keys,
    read_config,
    unknown_keys,
)
from concerto_ros.model.config import BackboneConfig
from concerto_ros.model.ptv3 import PointTransformerV3
from concerto_ros.published_weights import LICENCE, PUBLISHED, download_weights, find_weights
from concerto_ros.weights_file import read_weights_file, write_weights

_VOXEL_SIZE = 'data.voxel_size'  # among the settings of a training


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointReport:
    """What loading a checkpoint had to assume or leave out.

    Attributes:
        path: The file.
        num_parameters: Numbers in the network.
        licence: Terms of use of published weights; empty for others.
        has_config: The file holds a configuration; otherwise it was read off the tensors.
        unknown_config: Keys of the file's configuration that mean nothing to us.
        missing_config: Keys that the file leaves to their published default.
        prefix: What the names of the network's tensors begin with in a state of training.
        left_out: Tensors beside the network.
        origin: How the weights came about, as in `Weights`.
    """

    path: Path
    num_parameters: int
    licence: str = ''
    has_config: bool = True
    unknown_config: tuple[str, ...] = ()
    missing_config: tuple[str, ...] = ()
    prefix: str = ''
    left_out: tuple[str, ...] = ()
    origin: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def voxel_size(self) -> float | None:
        """Edge length of the voxels that the network was trained on [m]; None: not told."""
        voxel_size: float | None = self.origin.get('settings', {}).get(_VOXEL_SIZE)
        return voxel_size

    def __str__(self) -> str:
        parts = [f'{self.path.name}: {self.num_parameters / 1e6:.1f} M parameters']
        if not self.has_config:
            parts.append(
                'the file holds no configuration: took it from the tensors, with curves, strides '
                'and patch sizes as published'
            )
        if self.unknown_config:
            parts.append(f'ignored unknown configuration {", ".join(self.unknown_config)}')
        if self.missing_config:
            parts.append(f'took the published default for {", ".join(self.missing_config)}')
        if self.left_out:
            parts.append(f'took {self.prefix}*, left out {len(self.left_out)} other tensors')
        if self.voxel_size:
            parts.append(f'trained on voxels of {self.voxel_size:g} m')
        if self.licence:
            parts.append(self.licence)
        return '; '.join(parts)


def load_checkpoint(
    name_or_path: str | Path, *, download: bool = False, network: str = 'student'
) -> tuple[PointTransformerV3, CheckpointReport]:
    """Load a backbone for inference: in eval mode, on the CPU, without gradients.

    Args:
        name_or_path: A published name such as 'base', or what `read_weights_file` takes:
            published files, those of `save_checkpoint`, states of training.
        download: Download a published name that is not on this machine.
        network: Of several in a state of training, the one to take.

    Returns:
        model: Weights as in the file, float32.
        report: What was assumed or left out, and the licence; print it.

    Raises:
        CheckpointError: The file is missing or damaged, or its configuration or tensors do not
            fit; the message lists the differences.
    """
    if download and name_or_path in PUBLISHED:
        download_weights(str(name_or_path))
    path = find_weights(name_or_path)
    raw, tensors, origin = read_weights_file(path)
    prefix = backbone_prefix(path, tensors, network)
    own = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
    try:
        config = read_config(raw or imply_config(own))
    except CheckpointError as err:
        raise CheckpointError(f'{path}: {err}') from err
    model = _build(path, config, own)
    report = CheckpointReport(
        path=path,
        num_parameters=sum(t.numel() for t in own.values()),
        licence=LICENCE if name_or_path in PUBLISHED else '',
        has_config=bool(raw),
        unknown_config=unknown_keys(raw),
        missing_config=missing_keys(raw, config) if raw else (),
        prefix=prefix,
        left_out=tuple(name for name in tensors if not name.startswith(prefix)),
        origin=origin,
    )
    return model, report


def save_checkpoint(
    model: PointTransformerV3,
    path: str | Path,
    origin: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Save a backbone in the published format.

    Args:
        model: Any device and dtype.
        path: .pth or .safetensors; replaced if it exists.
        origin: How it came about, as in `Weights`.

    Raises:
        CheckpointError: The suffix is unknown, or the file cannot be written.
    """
    config = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(model.config).items()}
    write_weights(path, config, model.state_dict(), origin)


def backbone_prefix(path: Path, tensors: Mapping[str, Tensor], network: str = 'student') -> str:
    """Return what stands before the published names.

    Args:
        path: The file, for messages.
        tensors: All of it.
        network: Which, if there are several.

    Raises:
        CheckpointError: There is no backbone, or there are several and none or more than one has
            that name.
    """
    prefixes = [name.removesuffix(STEM) for name in tensors if name.endswith(STEM)]
    prefixes = [p for p in prefixes if network in p] or prefixes
    if len(prefixes) == 1:
        return prefixes[0]
    if not prefixes:
        raise CheckpointError(
            f'{path}: is no Concerto backbone, which holds {STEM}; found {_first(list(tensors))}'
        )
    raise CheckpointError(f'{path}: holds several backbones: {_first(prefixes)}')


def _build(
    path: Path, config: BackboneConfig, tensors: Mapping[str, Tensor]
) -> PointTransformerV3:
    with torch.device('meta'):
        model = PointTransformerV3(config)
    _check_tensors(path, model.state_dict(), tensors)
    # Copies, because tensors that lie in a file change with it.
    own = {name: t.to(torch.float32, copy=True) for name, t in tensors.items()}
    if damaged := [name for name, t in own.items() if not t.isfinite().all()]:
        raise CheckpointError(f'{path}: numbers are not finite in {_first(damaged)}')
    model.load_state_dict(own, assign=True)
    return model.eval().requires_grad_(False)


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
