"""Refuses what is not as `hierarchy.py` says, in one sentence each."""

import json
import math
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise

import torch
from torch import Tensor

from concerto_ros.errors import ConcertoError, ConfigError
from training.datasets.labelled import LabelledScene
from training.protocol.hierarchy import HierarchicalEncoder, Hierarchy, Level

_MEMBERS = ('name', 'num_channels', 'last', 'facts', '__call__')
_BESIDE = 1.0  # m, by which the middle of a coarse cell may lie beside a flat scene


def check_encoder(encoder: HierarchicalEncoder, asked: str) -> None:
    """Refuse an encoder that cannot be judged.

    Args:
        encoder: Whatever was made.
        asked: The name by which it was asked for, for the message.

    Raises:
        ConfigError: A member is missing, names no level, or cannot be written into results.
    """
    for problem in _of_members(encoder):
        raise ConfigError(f'{asked}: {problem}')


def check_hierarchy(
    hierarchy: Hierarchy, encoder: HierarchicalEncoder, scene: LabelledScene, device: torch.device
) -> None:
    """Refuse a hierarchy that cannot be read.

    Args:
        hierarchy: Of a scene.
        encoder: That gave it; a `number_format` of its own is that of `run.precision`.
        scene: That it was given.
        device: Where its levels must lie.

    Raises:
        ConcertoError: It is not as `Hierarchy` and `Level` say, or as the encoder says.
    """
    for problem in _problems(hierarchy, encoder, scene, device):
        raise ConcertoError(f'{encoder.name}, {scene.name}: {problem}')


def _of_members(encoder: HierarchicalEncoder) -> Iterator[str]:
    if lacking := [member for member in _MEMBERS if not hasattr(encoder, member)]:
        yield (
            f'the encoder, {_told(encoder)}, has no {" and no ".join(lacking)}: give it the '
            'members of HierarchicalEncoder in training/protocol/hierarchy.py'
        )
    name, widths, last = encoder.name, encoder.num_channels, encoder.last
    if not isinstance(name, str):
        yield f'name must be a text, found {_told(name)}'
    if not _is_row(widths, int) or not widths or min(widths) < 1:
        yield (
            'num_channels must be a tuple of int, the channels of each level, finest first, found '
            f'{widths!r}'
        )
    if not isinstance(last, int) or not 0 <= last < len(widths):
        yield (
            f'last is {last}, but num_channels tells of {len(widths)} levels: let last be the '
            'index of the level that is computed last'
        )
    try:
        json.dumps(dict(encoder.facts))
    except (TypeError, ValueError) as err:
        yield f'its facts cannot be written as JSON ({err}): give texts and plain numbers'


def _problems(
    hierarchy: Hierarchy, encoder: HierarchicalEncoder, scene: LabelledScene, device: torch.device
) -> Iterator[str]:
    if not isinstance(hierarchy, Hierarchy) or not _is_row(hierarchy.levels, Level):
        given = hierarchy.levels if isinstance(hierarchy, Hierarchy) else hierarchy
        yield (
            f'must give a Hierarchy, whose levels are a tuple of Level, found {_told(given)}: '
            'both are in training/protocol/hierarchy.py'
        )
    yield from _of_frame(hierarchy)
    for level in hierarchy.levels:
        problems = chain(_of_tensors(level, device), _of_values(level, encoder, scene))
        for problem in problems:
            yield f'level "{level.name}": {problem}'
    yield from _of_levels(hierarchy.levels, encoder)


def _of_frame(hierarchy: Hierarchy) -> Iterator[str]:
    origin, voxel_size = hierarchy.origin, hierarchy.voxel_size
    is_place = isinstance(origin, Tensor) and origin.shape == (3,)
    if not is_place or origin.dtype != torch.float64 or not origin.isfinite().all():
        yield f'origin must be a (3,) finite float64 tensor [m], found {_told(origin)}'
    if not isinstance(voxel_size, int | float) or not 0 < voxel_size < math.inf:
        yield f'voxel_size must be the edge of a base voxel [m], a float, found {voxel_size!r}'


def _of_tensors(level: Level, device: torch.device) -> Iterator[str]:
    feat, coord = level.feat, level.coord
    if not isinstance(feat, Tensor) or feat.dim() != 2 or not feat.is_floating_point():
        yield f'feat must be an (M, C) float tensor, found {_told(feat)}'
    if not isinstance(coord, Tensor) or coord.shape != (len(feat), 3):
        yield (
            f'coord must be a ({len(feat)}, 3) tensor, a row for each of feat, found '
            f'{_told(coord)}'
        )
    for name, found in {'feat': feat, 'coord': coord}.items():
        if found.device.type != device.type:
            yield f'{name} lies on {found.device}: put it on {device}, where the encoder shall run'


def _of_values(level: Level, encoder: HierarchicalEncoder, scene: LabelledScene) -> Iterator[str]:
    feat, coord = level.feat, level.coord
    if not feat.isfinite().all():
        number = int((~feat.isfinite().all(1)).sum())
        is_rounded = getattr(encoder, 'number_format', 'fp32') != 'fp32'
        hint = ', and try run.precision=fp32' if is_rounded else ''
        yield f'feat is not finite in {number} of {len(feat)} rows: check the weights{hint}'
    if level.stride is None:
        yield from _of_places(coord, scene)
    else:
        yield from _of_cells(coord, level.stride)


def _of_places(coord: Tensor, scene: LabelledScene) -> Iterator[str]:
    if not coord.is_floating_point():
        yield (
            f'coord must be places [m], float, found {_told(coord)}: cells of a lattice need a '
            'stride'
        )
    if not coord.isfinite().all():
        yield 'coord has places that are not finite'
    if len(coord):
        places = [end.tolist() for end in coord.double().aminmax(dim=0)]
        points = [end.tolist() for end in (scene.coord.min(0), scene.coord.max(0))]
        if any(
            max(low, scene_low) - min(high, scene_high) > _BESIDE
            for low, high, scene_low, scene_high in zip(*places, *points, strict=True)
        ):
            yield (
                f'its places, {_span(places)}, lie beside the scene, {_span(points)}: give them '
                'in the frame of the scene [m]'
            )


def _of_cells(coord: Tensor, stride: float) -> Iterator[str]:
    if not isinstance(stride, int | float) or not 1 <= stride < math.inf:
        yield (
            'stride must be base voxels per cell, an int or float from 1 on, or None, found '
            f'{stride!r}'
        )
    if coord.dtype != torch.int64:
        yield (
            f'coord must be int64 cells, found {_told(coord)}: convert them by .long(), or let '
            'stride be None where they are places [m]'
        )
    if len(coord) and (least := int(coord.min())) < 0:
        yield f'the least cell is {least}: count cells from 0 on, and let origin tell where it is'


def _of_levels(levels: Sequence[Level], encoder: HierarchicalEncoder) -> Iterator[str]:
    names = [level.name for level in levels]
    if not _is_row(names, str) or len(set(names)) < len(names):
        yield f'levels are named {names}: give each a name of its own, a text'
    found = tuple(level.feat.shape[1] for level in levels)
    if found != tuple(encoder.num_channels):
        yield (
            f'gave levels of {found} channels, but says {encoder.num_channels}: let '
            'num_channels list the channels of each level, finest first'
        )
    strides = [(level.stride, level.name) for level in levels if level.stride is not None]
    for (stride, name), (next_stride, next_name) in pairwise(strides):
        if next_stride < stride:
            yield (
                f'level "{next_name}" of stride {next_stride:g} comes after "{name}" of stride '
                f'{stride:g}: give levels finest first, and num_channels and last in this order'
            )


def _is_row(found: object, kind: type) -> bool:
    return isinstance(found, tuple | list) and all(isinstance(one, kind) for one in found)


def _span(ends: Sequence[Sequence[float]]) -> str:
    return ' to '.join(f'({", ".join(f"{value:.1f}" for value in end)})' for end in ends)


def _told(found: object) -> str:
    if isinstance(found, Tensor):
        return f'{tuple(found.shape)} of {found.dtype}'
    if isinstance(found, tuple | list):
        return f'{type(found).__name__} of {", ".join(type(one).__name__ for one in found)}'
    return type(found).__name__
