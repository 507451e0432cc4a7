"""Refuses what is not as `hierarchy.py` says, in one sentence each."""

import json
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from concerto_ros.errors import ConcertoError, ConfigError
from training.protocol.hierarchy import HierarchicalEncoder, Hierarchy, Level

_MEMBERS = ('name', 'num_channels', 'last', 'facts')


def check_encoder(encoder: HierarchicalEncoder, asked: str) -> None:
    """Refuse an encoder that cannot be judged.

    Args:
        encoder: Whatever was made.
        asked: The name by which it was asked for, for the message.

    Raises:
        ConfigError: A member is missing, names no level, or cannot be written into results.
    """
    lacking = [member for member in _MEMBERS if not hasattr(encoder, member)]
    if lacking:
        raise ConfigError(
            f'{asked}: the encoder has no {" and no ".join(lacking)}: give it the members of '
            'HierarchicalEncoder in training/protocol/hierarchy.py'
        )
    widths, last = encoder.num_channels, encoder.last
    if not 0 <= last < len(widths):
        raise ConfigError(
            f'{asked}: last is {last}, but num_channels tells of {len(widths)} levels: let last '
            'be the index of the level that is computed last'
        )
    try:
        json.dumps(dict(encoder.facts))
    except (TypeError, ValueError) as err:
        raise ConfigError(
            f'{asked}: its facts cannot be written as JSON ({err}): give texts and plain numbers'
        ) from err


def check_hierarchy(hierarchy: Hierarchy, encoder: HierarchicalEncoder, scene: str) -> None:
    """Refuse a hierarchy that cannot be read.

    Args:
        hierarchy: Of a scene.
        encoder: That gave it.
        scene: Its name, for the message.

    Raises:
        ConcertoError: It is not as `Hierarchy` and `Level` say, or as the encoder says.
    """
    for problem in _problems(hierarchy, encoder):
        raise ConcertoError(f'{encoder.name}, {scene}: {problem}')


def _problems(hierarchy: Hierarchy, encoder: HierarchicalEncoder) -> Iterator[str]:
    yield from _of_frame(hierarchy)
    for level in hierarchy.levels:
        for problem in _of_level(level):
            yield f'level "{level.name}": {problem}'
    names = [level.name for level in hierarchy.levels]
    if len(set(names)) < len(names):
        yield f'levels are named {names}: give each a name of its own'
    found = tuple(level.feat.shape[1] for level in hierarchy.levels)
    if found != tuple(encoder.num_channels):
        yield (
            f'gave levels of {found} channels, but says {encoder.num_channels}: let '
            'num_channels list the channels of each level, finest first'
        )


def _of_frame(hierarchy: Hierarchy) -> Iterator[str]:
    origin = hierarchy.origin
    if not isinstance(origin, Tensor) or origin.shape != (3,) or origin.dtype != torch.float64:
        yield f'origin must be a (3,) float64 tensor [m], found {_told(origin)}'
    if not 0 < hierarchy.voxel_size < math.inf:
        yield f'voxel_size must be the edge of a base voxel [m], found {hierarchy.voxel_size}'


def _of_level(level: Level) -> Iterator[str]:
    feat, coord = level.feat, level.coord
    if feat.dim() != 2 or not feat.is_floating_point():
        yield f'feat must be (M, C) float, found {_told(feat)}'
    if coord.shape != (len(feat), 3):
        yield f'coord must be ({len(feat)}, 3), a row for each of feat, found {_told(coord)}'
    yield from _of_places(coord) if level.stride is None else _of_cells(coord, level.stride)


def _of_places(coord: Tensor) -> Iterator[str]:
    if not coord.is_floating_point():
        yield (
            f'coord must be places [m], float, found {_told(coord)}: cells of a lattice need a '
            'stride'
        )


def _of_cells(coord: Tensor, stride: float) -> Iterator[str]:
    if not 1 <= stride < math.inf:
        yield f'stride must be base voxels per cell, from 1 on, or None, found {stride}'
    if coord.dtype != torch.int64:
        yield (
            f'coord must be int64 cells, found {_told(coord)}: convert them by .long(), or let '
            'stride be None where they are places [m]'
        )
    if len(coord) and (least := int(coord.min())) < 0:
        yield f'the least cell is {least}: count cells from 0 on, and let origin tell where it is'


def _told(found: object) -> str:
    if isinstance(found, Tensor):
        return f'{tuple(found.shape)} of {found.dtype}'
    return type(found).__name__
