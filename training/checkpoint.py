"""States of training: written whole or not at all, enough to go on exactly.

A state holds the step, student and teacher, the optimiser and the effective settings; not the
frozen image encoder, and no random numbers, which follow from seed and step. `load_checkpoint`
of the product reads the student's backbone out of it.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concerto_ros.config.tree import Value
from concerto_ros.errors import CheckpointError

LAST = 'last.pth'


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingState:
    """What a run needs to go on.

    Attributes:
        step: Optimiser steps done.
        state_dict: Of the objective: student, teacher and projections.
        optimizer: Its state.
        config: Of the network, as `load_checkpoint` reads it; empty for other networks.
        settings: Effective settings by dotted name.
        source: How the file came about: git hash, versions.
    """

    step: int
    state_dict: Mapping[str, Tensor]
    optimizer: dict[str, Any]
    config: dict[str, Any]
    settings: dict[str, Value]
    source: dict[str, str]


def save_state(folder: Path, state: TrainingState, *, keep: bool = False) -> Path:
    """Write `last.pth`; the one before it stays until the new one is complete.

    Args:
        folder: Of the run; made if it is not there.
        state: To be written.
        keep: Also keep it as `step_N.pth`.

    Raises:
        CheckpointError: It cannot be written, because the disk is full for example; the one
            before it is whole.
    """
    last = folder / LAST
    unfinished = last.with_name(f'{LAST}.tmp')
    content = {
        'step': state.step,
        'state_dict': dict(state.state_dict),
        'optimizer': state.optimizer,
        'config': state.config,
        'settings': state.settings,
        'source': state.source,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with unfinished.open('wb') as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, last)
        if keep:
            _keep(last, folder / f'step_{state.step:08d}.pth')
    except (OSError, RuntimeError) as err:
        unfinished.unlink(missing_ok=True)
        older = 'the one before it is whole' if last.exists() else 'there is none before it'
        raise CheckpointError(
            f'{last}: the state after step {state.step} cannot be written ({err}); {older}: make '
            'room and start the same command again'
        ) from err
    return last


def state_file(source: Path) -> Path:
    """Return the state in the folder of a run; other sources unchanged.

    Raises:
        CheckpointError: A folder is neither that of a run nor one of weights.
    """
    if (source / LAST).exists():
        return source / LAST
    if not source.is_dir() or (source / 'model.safetensors').exists():
        return source
    raise CheckpointError(
        f'{source}: this folder holds no {LAST}, which a run writes after run.save_every steps: '
        'name the run.output of a run, or a file of weights'
    )


def load_state(
    path: Path, *, cure: str = 'name a last.pth or step_N.pth of a run'
) -> TrainingState:
    """Read a state on the CPU; no code in the file is run.

    Args:
        path: Of the state.
        cure: What can be done about a file that is none, for the message.

    Raises:
        CheckpointError: The file is missing, damaged, or no state of our training.
    """
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
        return TrainingState(**content)
    except FileNotFoundError as err:
        raise CheckpointError(f'{path}: there is no such file') from err
    except OSError as err:
        raise CheckpointError(f'{path}: cannot be read ({err.strerror or err})') from err
    except Exception as err:  # what damaged files raise is open-ended, and no advice for users
        raise CheckpointError(
            f'{path}: is no whole state of training, but damaged or something else; {cure}'
        ) from err


def tensor_difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Return how many tensors differ in name or shape, and the first; empty if none does."""
    own, other = ({k: tuple(t.shape) for k, t in part.items()} for part in (expected, found))
    names = {**own, **other}
    wrong = [name for name in names if own.get(name) != other.get(name)]
    if not wrong:
        return ''
    first, none = wrong[0], 'none'
    return (
        f'{len(wrong)} of {len(names)} tensors differ, such as {first}: '
        f'{own.get(first, none)} expected, {other.get(first, none)} found'
    )


def _keep(last: Path, path: Path) -> None:
    """Give the file a second name, or copy it where the file system has no such names."""
    path.unlink(missing_ok=True)
    try:
        os.link(last, path)
    except OSError:
        shutil.copyfile(last, path)
