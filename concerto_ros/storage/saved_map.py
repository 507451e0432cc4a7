"""SavedMap: one file with what a search by text needs of a map; its layout is in the README."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concerto_ros import __version__
from concerto_ros.config.schema import SearchConfig
from concerto_ros.config.tree import Value
from concerto_ros.errors import CheckpointError, ConcertoError, MapFileError
from concerto_ros.model import StoredFeatures
from concerto_ros.model.stored_features import StoredLevel
from concerto_ros.search.object_search import SearchPoints
from concerto_ros.semantics import Translator
from concerto_ros.storage.search_settings import search_settings
from concerto_ros.weights_file import Weights, read_weights_file, write_weights

FILE_NAME = 'map.safetensors'  # in a folder of `concerto map`
FORMAT, _VERSION = 'concerto map', 2
_MAX_GRID = 2**20  # no voxel coordinate of a map is farther from 0

_Kind = tuple[Any, tuple[int, ...]]  # type of a number, shape of a row

# What each point has in the file.
_OF_POINTS: dict[str, _Kind] = {
    'coord': (np.float32, (3,)),
    'grid_coord': (np.int32, (3,)),
    'num_views': (np.int16, ()),
    'first_seen_ns': (np.int64, ()),
    'last_seen_ns': (np.int64, ()),
    'label': (np.int32, ()),  # not uint16, which older libraries do not write
}
_OF_COLORS: dict[str, _Kind] = {'color': (np.uint8, (3,)), 'normal': (np.float16, (3,))}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MapFeatures:
    """What the network knows of the points of a map.

    Attributes:
        stored: The features of M cells.
        cell: (N,) int32, row of the features of each point; -1 where the network has not looked.
        backbone: Digest of the weights that made them, see `weights_digest`.
        translator: From them to the space of texts.
        vocabulary: Names that queries compete with, beside those of the translator.
    """

    stored: StoredFeatures
    cell: NDArray[np.int32]
    backbone: str
    translator: Translator
    vocabulary: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SavedMap:
    """A map as it is searched, without the network.

    Attributes:
        points: The N surface voxels, with the names of their labels.
        color: (N, 3) uint8 RGB.
        normal: (N, 3) float16 unit vectors towards the cameras; zero where unknown.
        frame_id: Frame of the points.
        features: None: the map was made without a translator, and cannot be searched.
        settings: Those that the map was made with, by dotted name.
    """

    points: SearchPoints
    color: NDArray[np.uint8]
    normal: NDArray[np.float16]
    frame_id: str
    features: MapFeatures | None
    settings: Mapping[str, Value]

    @property
    def search_config(self) -> SearchConfig:
        """The section "search" of the settings; defaults for what they do not name.

        Raises:
            ConfigError: A value is out of range.
        """
        return search_settings(self.settings).search

    def save(self, path: str | Path) -> None:
        """Write a .safetensors file, whole or not at all; an older one is replaced.

        Raises:
            MapFileError: Another extension, a missing folder, or the disk refuses.
        """
        _check_name(Path(path))
        header: dict[str, Any] = {
            'format': FORMAT,
            'version': _VERSION,
            'frame_id': self.frame_id,
            'voxel_size': self.points.voxel_size,
            'names': list(self.points.names),
        }
        tensors = {
            name: _tensor(getattr(owner, name), dtype)
            for owner, kinds in ((self.points, _OF_POINTS), (self, _OF_COLORS))
            for name, (dtype, _) in kinds.items()
        }
        if self.features is not None:
            header |= _features_header(self.features)
            tensors |= _features_tensors(self.features)
        told = {'settings': self.settings, 'source': {'concerto_ros': __version__}}
        try:
            write_weights(path, header, tensors, told)
        except CheckpointError as err:
            raise MapFileError(str(err)) from err

    @classmethod
    def load(cls, path: str | Path) -> 'SavedMap':
        """Read a map onto the CPU; its arrays may lie in the file.

        Args:
            path: The file, or the folder that `concerto map` wrote.

        Raises:
            MapFileError: It is missing, damaged, of another version, or something else.
        """
        path = Path(path)
        path = path / FILE_NAME if path.is_dir() else path
        if not path.is_file():
            raise MapFileError(f'{path}: there is no such map; write one with "concerto map"')
        _check_name(path)
        try:
            content = read_weights_file(path)
        except CheckpointError as err:
            raise _damaged(path, err.__cause__ or err) from err
        _check_format(path, content.config)
        try:
            return _from_file(content)
        except (ConcertoError, ArithmeticError, LookupError, TypeError, ValueError) as err:
            raise _damaged(path, err) from err


def _tensor(array: NDArray[Any], dtype: Any) -> Tensor:
    return torch.from_numpy(np.asarray(array, dtype=dtype))


def _features_header(features: MapFeatures) -> dict[str, Any]:
    return {
        'backbone': features.backbone,
        'vocabulary': list(features.vocabulary),
        'scales': [level.scale for level in features.stored.levels],
        'translator': features.translator.config,
    }


def _features_tensors(features: MapFeatures) -> dict[str, Tensor]:
    levels = features.stored.levels
    tensors = {f'features.{number}': level.feat for number, level in enumerate(levels)}
    tensors |= {f'parent.{number}': level.inverse for number, level in enumerate(levels) if number}
    translator = features.translator
    tensors |= {'translator.weight': translator.weight, 'translator.bias': translator.bias}
    return {'cell': _tensor(features.cell, np.int32), **tensors}


def _check_name(path: Path) -> None:
    suffix = Path(FILE_NAME).suffix
    if path.suffix != suffix:
        raise MapFileError(
            f'a map to search is the {FILE_NAME} that "concerto map" writes, or its folder; '
            f'expected a name ending in {suffix}, got {path}'
        )


def _check_format(path: Path, header: Mapping[str, Any]) -> None:
    if header.get('format') != FORMAT:
        raise MapFileError(f'{path} holds no map; expected one that "concerto map" wrote')
    version = header.get('version')
    if isinstance(version, int) and version != _VERSION:
        raise MapFileError(
            f'{path} is a map of version {version}, and this concerto_ros reads version '
            f'{_VERSION}: {"update it, or " * (version > _VERSION)}map the recording again'
        )


def _damaged(path: Path, err: BaseException) -> MapFileError:
    reason = (str(err).strip() or type(err).__name__).splitlines()[0]
    return MapFileError(f'{path} is damaged ({reason}): copy it or map the recording again')


def _from_file(content: Weights) -> SavedMap:
    """Return the map in a file.

    Raises:
        ConcertoError: A value is out of range.
        ArithmeticError, LookupError, TypeError, ValueError: Something is missing, or is not what
            it should be.
    """
    header, tensors = content.config, content.tensors
    arrays = {
        name: _array(name, tensors, kind, len(tensors['coord']))
        for name, kind in (_OF_POINTS | _OF_COLORS).items()
    }
    if not np.isfinite(arrays['coord']).all() or (abs(arrays['grid_coord']) > _MAX_GRID).any():
        raise ValueError('points that are not finite or too far away')
    voxel_size = float(header['voxel_size'])
    if not 0 < voxel_size < math.inf:
        raise ValueError(f'a voxel size of {voxel_size}')
    colors = {name: arrays.pop(name) for name in _OF_COLORS}
    saved = SavedMap(
        points=SearchPoints(
            **{**arrays, 'label': arrays['label'].astype(np.uint16)},
            names=tuple(map(str, header['names'])),
            voxel_size=voxel_size,
        ),
        **colors,
        frame_id=str(header['frame_id']),
        features=_features(header, tensors) if 'cell' in tensors else None,
        settings=content.origin.get('settings', {}),
    )
    _ = saved.search_config  # refuses what is out of range
    return saved


def _array(name: str, tensors: Mapping[str, Tensor], kind: _Kind, length: int) -> NDArray[Any]:
    array: NDArray[Any] = tensors[name].numpy()
    if array.dtype != kind[0] or array.shape != (length, *kind[1]):
        raise ValueError(f'{name} is {array.dtype} of shape {array.shape}')
    return array


def _features(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> MapFeatures:
    levels: list[StoredLevel] = []
    for number, scale in enumerate(header['scales']):
        feat = tensors[f'features.{number}']
        parent = torch.empty(0, dtype=torch.int32)
        if number:
            parent = tensors[f'parent.{number}']
            _check_rows(f'parent.{number}', parent, (0, len(feat)), len(levels[-1].feat))
        if feat.dtype != torch.float16 or feat.ndim != 2 or not 0 < float(scale) < math.inf:
            raise ValueError(f'features.{number} is {feat.dtype} of shape {tuple(feat.shape)}')
        levels.append(StoredLevel(feat, float(scale), parent))
    _check_rows('cell', tensors['cell'], (-1, len(levels[0].feat)), len(tensors['coord']))
    return MapFeatures(
        stored=StoredFeatures.of_levels(levels),
        cell=tensors['cell'].numpy(),
        backbone=str(header['backbone']),
        translator=Translator.of_config(
            header['translator'], tensors['translator.weight'], tensors['translator.bias']
        ),
        vocabulary=tuple(map(str, header['vocabulary'])),
    )


def _check_rows(name: str, rows: Tensor, bounds: tuple[int, int], length: int) -> None:
    """Refuse what is not `length` row numbers from the first bound up to before the second."""
    is_table = rows.dtype == torch.int32 and rows.shape == (length,)
    if not is_table or (length and not (bounds[0] <= rows.min() and rows.max() < bounds[1])):
        raise ValueError(f'{name} names rows that are not there')
