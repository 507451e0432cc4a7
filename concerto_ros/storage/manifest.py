"""Manifest: what manifest.json says of a map; nothing in it is believed unchecked."""

import dataclasses
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concerto_ros import __version__
from concerto_ros.config.tree import Value
from concerto_ros.errors import MapFileError
from concerto_ros.storage.chunk_file import StoredFile, checksum, sync
from concerto_ros.storage.saved_map import FORMAT

MANIFEST, UNFINISHED, VERSION = 'manifest.json', 'manifest.json.tmp', 3
CHUNKS, WEIGHTS = 'chunks', 'weights'  # folders beside it
_NAME = '[a-z][a-z0-9_]{0,63}'
_TAIL = r'\.[0-9]{8,18}\.safetensors'
FILE = re.compile(rf'{CHUNKS}/[0-9a-f]{{16}}{_TAIL}|{WEIGHTS}/{_NAME}{_TAIL}(\.tmp)?')
_KEY = re.compile('[0-7][0-9a-f]{15}')  # of a chunk, from 0 to 2**63 - 1
_CHECKSUM = re.compile('[0-9a-f]{8}')
_MAX_INT = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MapInfo:
    """What a map says of itself.

    Attributes:
        frame_id: Frame in which the poses of the submaps are given.
        voxel_size: [m].
        settings: Those that the map was made with, by dotted name.
        backbone: Digest of the weights of the network, see `weights_digest`; empty: none.
        text_encoder: Specification of the text encoder; empty: none.
        label_tables: Names of the label ids, by the name of the table.
        vocabulary: Names that queries compete with, beside those of the translator.
        submaps: (4, 4) float64 T_world_submap of each submap, by its number.
        first_seen_ns: Stamp of the first image [ns].
        last_seen_ns: Stamp of the newest image [ns].
        header: Anything else, as JSON; who reads it has to check it.
    """

    frame_id: str
    voxel_size: float
    settings: Mapping[str, Value] = field(default_factory=dict)
    backbone: str = ''
    text_encoder: str = ''
    label_tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    vocabulary: tuple[str, ...] = ()
    submaps: Mapping[int, NDArray[np.float64]] = field(default_factory=dict)
    first_seen_ns: int = 0
    last_seen_ns: int = 0
    header: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of a map.

    Attributes:
        file: Its name below the folder of the map, as "chunks/NAME" or "weights/NAME".
        size: Bytes.
        checksum: See `StoredFile`.
    """

    file: str
    size: int
    checksum: str

    def at(self, folder: Path) -> StoredFile:
        """Return where the file is and what it must hold."""
        return StoredFile(folder / self.file, self.size, self.checksum)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkEntry(FileEntry):
    """The file of one chunk: the revision of its content, and how many voxels it holds."""

    revision: int
    num_voxels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsEntry(FileEntry):
    """A file of weights, and their digest."""

    digest: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Manifest:
    """All that a map consists of.

    Attributes:
        number: Of the save, counted up from 1 in this folder.
        info: What the map says of itself.
        chunks: By key.
        weights: By name.
    """

    number: int
    info: MapInfo
    chunks: Mapping[int, ChunkEntry]
    weights: Mapping[str, WeightsEntry]

    def files(self) -> Iterator[FileEntry]:
        """Return all files that the map consists of, beside the manifest."""
        yield from self.chunks.values()
        yield from self.weights.values()

    def text(self) -> str:
        """Return it as it stands in the file.

        Raises:
            TypeError, ValueError: The header or a setting is not JSON.
        """
        info = {name: getattr(self.info, name) for name in MapInfo.__dataclass_fields__}
        info['submaps'] = {n: np.asarray(T).tolist() for n, T in self.info.submaps.items()}
        written = {
            'concerto_ros': __version__,
            'number': self.number,
            **info,
            'weights': {name: dataclasses.asdict(e) for name, e in self.weights.items()},
            'chunks': {f'{key:016x}': dataclasses.asdict(e) for key, e in self.chunks.items()},
        }
        content = json.loads(json.dumps(written, allow_nan=False))
        told = {'format': FORMAT, 'version': VERSION, 'checksum': _checksum(content)}
        return json.dumps({**told, **content}, indent=1, ensure_ascii=False)

    def write(self, folder: Path) -> None:
        """Replace the manifest of a folder, at once and as a whole.

        Raises:
            OSError: The disk is full or refuses; the old manifest is still there.
        """
        unfinished = folder / UNFINISHED
        unfinished.write_text(self.text(), encoding='utf-8')
        sync(unfinished)
        os.replace(unfinished, folder / MANIFEST)

    @classmethod
    def read(cls, folder: Path) -> 'Manifest':
        """Read the manifest of a folder.

        Raises:
            MapFileError: It is missing, damaged, of another version, or something else.
        """
        path = folder / MANIFEST
        try:
            content = json.loads(path.read_text(encoding='utf-8'), parse_constant=_refuse)
            _check_format(path, content)
            return _of_content(content)
        except (
            OSError,
            LookupError,
            TypeError,
            ValueError,
            ArithmeticError,
            RecursionError,
        ) as err:
            reason = (str(err).strip() or type(err).__name__).splitlines()[0][:200]
            raise MapFileError(
                f'{path} is missing or damaged ({reason}): restore it from a copy of the map, or '
                'map the place again'
            ) from err


def _check_format(path: Path, content: Any) -> None:
    if not isinstance(content, dict) or content.get('format') != FORMAT:
        raise MapFileError(f'{path} is not that of a map: choose a folder that holds a map')
    version = content['version']
    if type(version) is int and version > VERSION:
        raise MapFileError(
            f'{path} is of version {version}, and this concerto_ros reads maps up to version '
            f'{VERSION}: update concerto_ros'
        )
    if type(version) is not int or version != VERSION:
        raise ValueError(f'no map has such a manifest of version {version!r}')


def _of_content(content: dict[str, Any]) -> Manifest:
    """Return the manifest that a file of our version holds.

    Raises:
        LookupError, TypeError, ValueError, ArithmeticError: Something is not what it should be.
    """
    unsummed = ('format', 'version', 'checksum')
    summed = {name: value for name, value in content.items() if name not in unsummed}
    if content['checksum'] != _checksum(summed):
        raise ValueError('wrong checksum')
    chunks = _typed(content, 'chunks', dict)
    weights = _typed(content, 'weights', dict)
    return Manifest(
        number=_integer(content, 'number', 1),
        info=_info(content),
        chunks=dict(_chunk(key, entry) for key, entry in chunks.items()),
        weights={name: _weights(name, entry) for name, entry in weights.items()},
    )


def _info(content: dict[str, Any]) -> MapInfo:
    voxel_size = content['voxel_size']
    if type(voxel_size) not in (int, float) or not 0 < voxel_size < math.inf:
        raise ValueError(f'a voxel size of {voxel_size!r:.20}')
    tables = _typed(content, 'label_tables', dict)
    submaps = _typed(content, 'submaps', dict)
    settings = _typed(content, 'settings', dict)
    if not all(isinstance(value, bool | int | float | str) for value in settings.values()):
        raise ValueError('settings that are no numbers or texts')
    return MapInfo(
        frame_id=_typed(content, 'frame_id', str),
        voxel_size=float(voxel_size),
        settings=settings,
        backbone=_typed(content, 'backbone', str),
        text_encoder=_typed(content, 'text_encoder', str),
        label_tables={name: _texts(tables, name) for name in tables},
        vocabulary=_texts(content, 'vocabulary'),
        submaps=dict(_submap(number, pose) for number, pose in submaps.items()),
        first_seen_ns=_integer(content, 'first_seen_ns', -_MAX_INT),
        last_seen_ns=_integer(content, 'last_seen_ns', -_MAX_INT),
        header=_typed(content, 'header', dict),
    )


def _submap(number: str, pose: Any) -> tuple[int, NDArray[np.float64]]:
    T = np.array(pose, dtype=np.float64)
    is_rigid = (
        T.shape == (4, 4)
        and bool(np.isfinite(T).all())
        and np.allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-3)
        and np.linalg.det(T[:3, :3]) > 0
        and T[3].tolist() == [0, 0, 0, 1]
    )
    if str(int(number)) != number or not 0 <= int(number) < 2**15 or not is_rigid:
        raise ValueError(f'the pose of submap {number[:20]} is none')
    return int(number), T


def _chunk(key: str, entry: Any) -> tuple[int, ChunkEntry]:
    if not _KEY.fullmatch(key):
        raise ValueError(f'a chunk of the key {key[:20]}')
    return int(key, 16), ChunkEntry(
        **_file(entry, f'{CHUNKS}/{key}'),
        revision=_integer(entry, 'revision', -_MAX_INT),
        num_voxels=_integer(entry, 'num_voxels', 0),
    )


def _weights(name: str, entry: Any) -> WeightsEntry:
    if not re.fullmatch(_NAME, name):
        raise ValueError(f'weights of the name {name[:20]}')
    return WeightsEntry(**_file(entry, f'{WEIGHTS}/{name}'), digest=_typed(entry, 'digest', str))


def _file(entry: Any, stem: str) -> dict[str, Any]:
    """Return the part that all entries have; a file lies where its name says, nowhere else."""
    file, found = _typed(entry, 'file', str), _typed(entry, 'checksum', str)
    if not re.fullmatch(re.escape(stem) + _TAIL, file) or not _CHECKSUM.fullmatch(found):
        raise ValueError(f'{stem} in the file {file[:80]!r}')
    return {'file': file, 'size': _integer(entry, 'size', 0), 'checksum': found}


def _typed(content: dict[str, Any], name: str, kind: type) -> Any:
    if type(content[name]) is not kind:
        raise ValueError(f'{name} is no {kind.__name__}')
    return content[name]


def _integer(content: dict[str, Any], name: str, least: int) -> int:
    value: int = _typed(content, name, int)
    if not least <= value <= _MAX_INT:
        raise ValueError(f'{name} is out of range')
    return value


def _texts(content: dict[str, Any], name: str) -> tuple[str, ...]:
    texts = _typed(content, name, list)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f'{name} are no texts')
    return tuple(texts)


def _checksum(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(',', ':'))
    return checksum(text.encode())


def _refuse(constant: str) -> None:
    raise ValueError(f'{constant} is no number')
