"""Files of weights: a configuration and named tensors, as .pth or .safetensors."""

import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from concerto_ros.errors import CheckpointError

_TORCH_SUFFIXES = ('.pth', '.pt')
# What torch.load and safe_open raise on files that are damaged or something else altogether.
_DAMAGED = (
    SafetensorError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def read_weights(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a file of weights onto the CPU; no code in the file is run.

    Args:
        path: .pth holding {'config': dict, 'state_dict': dict of tensors}, or .safetensors with
            the configuration as JSON under "config" in its metadata.

    Returns:
        config: As stored.
        tensors: By name.

    Raises:
        CheckpointError: The file is missing, damaged or of another format.
    """
    path = Path(path)
    if path.suffix not in (*_TORCH_SUFFIXES, '.safetensors'):
        raise CheckpointError(f'{path}: weights must be a .pth or .safetensors file')
    if not path.is_file():
        raise CheckpointError(f'{path}: there is no such file; download the weights first')
    try:
        content = _read_torch(path) if path.suffix in _TORCH_SUFFIXES else _read_safetensors(path)
    except _DAMAGED as err:
        reason = (str(err).strip() or type(err).__name__).splitlines()[0]
        raise CheckpointError(
            f'{path}: cannot be read, so copy or download it again ({reason})'
        ) from err
    config, tensors = _sections(content)
    if config is None or tensors is None:
        found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(
            f"{path}: expected a 'config' and a 'state_dict' of tensors, found {found}"
        )
    return config, tensors


def write_weights(
    path: str | Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write what `read_weights` reads; the file appears complete or not at all.

    Raises:
        CheckpointError: The suffix is unknown, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in (*_TORCH_SUFFIXES, '.safetensors'):
        raise CheckpointError(f'{path}: weights must be a .pth or .safetensors file')
    # Copies: a view would drag its whole storage into the file.
    owned = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    unfinished = path.with_name(f'{path.name}.tmp')
    try:
        if path.suffix == '.safetensors':
            save_file(owned, unfinished, metadata={'config': json.dumps(dict(config))})
        else:
            torch.save({'config': dict(config), 'state_dict': owned}, unfinished)
        os.replace(unfinished, path)
    except (OSError, RuntimeError, SafetensorError) as err:
        unfinished.unlink(missing_ok=True)
        raise CheckpointError(f'{path}: cannot be written ({err})') from err


def _read_torch(path: Path) -> Any:
    return torch.load(path, map_location='cpu', weights_only=True)


def _read_safetensors(path: Path) -> Any:
    with safe_open(path, framework='pt') as file:
        content: dict[str, Any] = dict(file.metadata() or {})
        if 'config' in content:
            content['config'] = json.loads(content['config'])
        content['state_dict'] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return content


def _sections(content: Any) -> tuple[dict[str, Any] | None, dict[str, Tensor] | None]:
    """Return configuration and tensors; None for what is absent or of another type."""
    if not isinstance(content, dict):
        return None, None
    config, tensors = content.get('config'), content.get('state_dict')
    is_tensors = isinstance(tensors, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    )
    return (config if isinstance(config, dict) else None), (tensors if is_tensors else None)
