"""Files of weights: a configuration and named tensors, as .pth or .safetensors."""

import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from safetensors.torch import save_file
from torch import Tensor

from concerto_ros.box import BOX
from concerto_ros.errors import CheckpointError
from concerto_ros.published_weights import PUBLISHED, find_weights

_TORCH_SUFFIXES = ('.pth', '.pt')
_SUFFIXES = (*_TORCH_SUFFIXES, '.safetensors')
_FOLDER_FILES = ('config.json', 'model.safetensors')
_ORIGIN = ('settings', 'source', 'made_by', 'metrics')
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


class Weights(NamedTuple):
    """What a file of weights holds.

    Attributes:
        config: As stored; empty if there is none.
        tensors: By name. They may lie in the file, mapped into memory: copy what you keep.
        origin: How they came about, as far as the file says: "settings" of the training by
            dotted name; "source", its versions and git hash; "made_by", the commands before it
            with theirs; and "metrics".
    """

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    origin: dict[str, dict[str, Any]]


def read_weights(name_or_path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read configuration and tensors; see `read_weights_file`."""
    return read_weights_file(name_or_path)[:2]


def read_weights_file(name_or_path: str | Path) -> Weights:
    """Read weights on the CPU; no code in the file is run.

    Args:
        name_or_path: A name of the box (`BOX`), a published one (`PUBLISHED`) that was
            downloaded, or one of

            - .pth holding {'config': dict, 'state_dict': dict of tensors}, a state of training
              that holds 'state_dict' (or 'model') among other things, or only a dict of tensors;
            - .safetensors with the configuration as JSON under "config" in its metadata;
            - folder of config.json and model.safetensors, as `save_pretrained` writes it.

    Raises:
        CheckpointError: The file is missing, damaged or of another format.
    """
    path = find_weights(name_or_path)
    file = path / _FOLDER_FILES[1] if path.is_dir() else path
    if file.suffix not in _SUFFIXES:
        raise CheckpointError(
            f'{path}: weights must be a .pth or .safetensors file, a folder of '
            f'{" and ".join(_FOLDER_FILES)}, or one of the names {", ".join([*BOX, *PUBLISHED])}'
        )
    if not file.is_file():
        raise CheckpointError(f'{file}: there is no such file; download the weights first')
    try:
        content = _read_torch(file) if file.suffix in _TORCH_SUFFIXES else _read_safetensors(file)
        if path.is_dir() and (path / _FOLDER_FILES[0]).is_file():
            content['config'] = json.loads((path / _FOLDER_FILES[0]).read_text(encoding='utf-8'))
    except _DAMAGED as err:
        raise _unreadable(path, err) from err
    return _sections(path, content)


def write_weights(
    path: str | Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    origin: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write what `read_weights_file` reads; the file appears complete or not at all.

    The origin stands beside the configuration, where other loaders of the format do not look.

    Raises:
        CheckpointError: The suffix is unknown, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in _SUFFIXES:
        raise CheckpointError(f'{path}: weights must be a .pth or .safetensors file')
    # Copies: a view would drag its whole storage into the file.
    owned = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    told = {name: dict(values) for name, values in {'config': config, **(origin or {})}.items()}
    unfinished = path.with_name(f'{path.name}.tmp')
    try:
        if path.suffix == '.safetensors':
            metadata = {name: json.dumps(values) for name, values in told.items()}
            save_file(owned, unfinished, metadata=metadata)
        else:
            torch.save({**told, 'state_dict': owned}, unfinished)
        unfinished.chmod(0o666 & ~_umask())  # safetensors lets nobody else read
        os.replace(unfinished, path)
    except (OSError, RuntimeError, SafetensorError) as err:
        unfinished.unlink(missing_ok=True)
        raise CheckpointError(f'{path}: cannot be written ({err})') from err


def pack_arrays(arrays: Mapping[str, Tensor | NDArray[Any]]) -> bytes:
    """Return the bytes of a .safetensors file of arrays on the CPU, without a configuration."""
    plain = {name: a.numpy() if isinstance(a, Tensor) else a for name, a in arrays.items()}
    return bytes(save({name: np.asarray(a, order='C') for name, a in plain.items()}))


def _umask() -> int:
    """Return what the user takes away from the modes of new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _read_torch(path: Path) -> Any:
    is_zip = zipfile.is_zipfile(path)  # else it is of the time before torch 1.6, or damaged
    with path.open('rb') as file:
        if not is_zip and file.read(1) != b'\x80':  # with which a pickle begins
            raise ValueError('it is cut off, or torch did not write it')
    if is_zip:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the check sums
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f'wrong check sum of {damaged}')
    with _numpy_numbers():
        return torch.load(path, map_location='cpu', weights_only=True, mmap=is_zip)


def _numpy_numbers() -> AbstractContextManager[None]:
    """Admit numpy's numbers, the best metric for example, which states of training hold."""
    if not hasattr(torch.serialization, 'safe_globals'):  # torch before 2.5
        return nullcontext()
    make: Any = np.float64(0).__reduce__()[0]
    makers = [(make, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')]
    types = [type(np.dtype(code)) for code in ('f4', 'f8', 'i8')]
    return torch.serialization.safe_globals([*makers, np.dtype, *types])


def _read_safetensors(path: Path) -> Any:
    with safe_open(path, framework='pt') as file:
        metadata: dict[str, str] = file.metadata() or {}
        content: dict[str, Any] = {'config': json.loads(metadata.get('config', '{}'))}
        for name in _ORIGIN:
            with suppress(ValueError):  # absent, or another's by the same name
                content[name] = json.loads(metadata.get(name, ''))
        content['state_dict'] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return content


def _unreadable(path: Path, err: Exception) -> CheckpointError:
    """Return one sentence for what torch says in a paragraph."""
    lines = str(err).strip().splitlines() or [type(err).__name__]
    reason = next((line for line in lines if 'WeightsUnpickler' in line), lines[0])
    reason = reason.strip().split('. ')[0]
    if 'Unsupported global' in reason:
        return CheckpointError(
            f'{path}: holds other things than tensors and numbers, which are not loaded because '
            f'they could run code ({reason})'
        )
    return CheckpointError(f'{path}: cannot be read, so copy or download it again ({reason})')


def _sections(path: Path, content: Any) -> Weights:
    """Return the parts of what was in a file."""
    content = content if isinstance(content, dict) else {type(content).__name__: None}
    tensors, config = content.get('model', content), content.get('config', {})
    tensors = content.get('state_dict', tensors)
    is_tensors = isinstance(tensors, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    )
    if not is_tensors or not tensors or not isinstance(config, dict):
        found = sorted(map(str, content))[:5]
        raise CheckpointError(
            f"{path}: expected a 'state_dict' of tensors, with their 'config', found {found}"
        )
    origin = {name: content[name] for name in _ORIGIN if isinstance(content.get(name), dict)}
    return Weights(config, tensors, origin)
