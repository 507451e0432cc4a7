"""MapHeader: what a saved map says of itself so that mapping can go on; nothing is believed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from concerto_ros.errors import ConcertoError, MapFileError
from concerto_ros.mapping import CellLayout
from concerto_ros.mapping.submap import Submap
from concerto_ros.semantics import Translator
from concerto_ros.storage import MapInfo

Names = tuple[str, ...]
TRANSLATOR = 'translator'  # its name among the weights of a map


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MapHeader:
    """The part of `MapInfo.header` that this program writes.

    Attributes:
        start_ns: Stamp from which those in the chunks are counted [ns]; None: no frame yet.
        revision: Of the map when the save began.
        cells: How the network sees the map; None: there was none.
        widths: Channels of its features, level by level.
        translator: Digest, see `translator_digest`; empty: none.
        submaps: What `Submaps.saved` returned.
        leveled: Submaps whose floor lies where the network expects it.
        due: Chunks at which the network has yet to look.
        names: Vocabulary by which a chunk is labelled, if that is not the one of the map.
    """

    start_ns: int | None
    revision: int
    cells: CellLayout | None
    widths: tuple[int, ...]
    translator: str
    submaps: Sequence[Mapping[str, Any]]
    leveled: frozenset[int]
    due: frozenset[int]
    names: Mapping[int, Names]

    def saved(self) -> dict[str, Any]:
        """Return what `read` needs, fit for JSON."""
        chunks: dict[Names, list[str]] = {}
        for key, names in self.names.items():
            chunks.setdefault(names, []).append(_hex(key))
        return {
            'start_ns': self.start_ns,
            'revision': self.revision,
            'voxels_per_cell': self.cells.voxels_per_cell if self.cells else 0,
            'stride': list(self.cells.stride) if self.cells else [],
            'widths': list(self.widths),
            'translator': self.translator,
            'submaps': list(self.submaps),
            'leveled': sorted(self.leveled),
            'due': [_hex(key) for key in sorted(self.due)],
            'labelled_otherwise': [
                {'vocabulary': list(names), 'chunks': keys} for names, keys in chunks.items()
            ],
        }

    @classmethod
    def read(cls, info: MapInfo) -> 'MapHeader':
        """Return what was saved.

        Raises:
            MapFileError: Something is missing, or is not what it should be.
        """
        try:
            return _read(info.header)
        except (ConcertoError, LookupError, TypeError, ValueError, AttributeError) as err:
            raise MapFileError(
                f'the header of the map is damaged ({err}): restore the map from a copy, or map '
                'the place again'
            ) from err


def translator_digest(translator: Translator | None) -> str:
    """Return 16 hexadecimal digits that differ for another translator; empty for none."""
    if translator is None:
        return ''
    digest = blake2b(repr(sorted(translator.config.items())).encode(), digest_size=8)
    for tensor in (translator.weight, translator.bias):
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def _read(header: Mapping[str, Any]) -> MapHeader:
    number = header['voxels_per_cell']
    stride = tuple(int(step) for step in header['stride'])
    if number not in (0, 1, 2, 4) or not set(stride) <= {1, 2, 4, 8, 16}:
        raise ValueError('the cells of the network are none')
    start_ns, revision = header['start_ns'], header['revision']
    if type(start_ns) not in (int, type(None)) or type(revision) is not int or revision < 0:
        raise ValueError('stamp or revision is none')
    if type(header['submaps']) is not list or type(header['translator']) is not str:
        raise ValueError('submaps or translator is none')
    for number_of_submap, entry in enumerate(header['submaps']):
        Submap.read(number_of_submap, entry)
    return MapHeader(
        start_ns=start_ns,
        revision=revision,
        cells=CellLayout(voxels_per_cell=number, stride=stride) if number else None,
        widths=tuple(int(width) for width in header['widths']),
        translator=header['translator'],
        submaps=header['submaps'],
        leveled=frozenset(int(submap) for submap in header['leveled']),
        due=frozenset(int(key, 16) for key in header['due']),
        names={
            int(key, 16): tuple(map(str, entry['vocabulary']))
            for entry in header['labelled_otherwise']
            for key in entry['chunks']
        },
    )


def _hex(key: int) -> str:
    return f'{key:016x}'
