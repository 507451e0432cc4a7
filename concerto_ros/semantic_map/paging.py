"""Paging: chunks that are not needed now wait on the disk, so that memory obeys a number."""

import logging
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from concerto_ros.config.schema import SemanticsConfig
from concerto_ros.errors import MapFileError
from concerto_ros.mapping.voxel_keys import submap_of_chunk
from concerto_ros.semantic_map.labelled_map import LabelledMap, Record
from concerto_ros.semantic_map.window_scheduler import is_due
from concerto_ros.storage.chunk_file import StoredFile
from concerto_ros.storage.page_files import PageFiles

_log = logging.getLogger(__name__)

_FULL = 0.97  # of the budget: from here on, memory is used again
_SCARCE, _AMPLE = 0.05, 0.1  # free shares of tables: chunks go below one, up to the other
_PLENTY = 0.8  # up to here a map is taken into memory when it is loaded
_NOTHING: tuple[Record, Sequence[str]] = {'place': torch.empty(0)}, ()


@dataclass(frozen=True, slots=True)
class Page:
    """What is known of a chunk that is only on the disk.

    Attributes:
        num_voxels: In it.
        revision: When it changed last.
        is_due: The network has yet to look at it.
    """

    num_voxels: int
    revision: int
    is_due: bool = False


class Paging:
    """Chunks of a map on the disk; a chunk that came back keeps its file until it changes.

    A page that is gone or damaged is told once and left out; the rest of the map goes on.

    Attributes:
        num_lost: How many there were.

    Args:
        labelled: The map in memory.
        max_bytes: Which it may need.
    """

    def __init__(self, labelled: LabelledMap, max_bytes: int) -> None:
        self._labelled = labelled
        self._max_bytes, self._full = max_bytes, _FULL * max_bytes
        self._files: PageFiles | None = None
        self._lock = threading.Lock()  # of the files, which other threads may read
        self._is_closed = False
        self._lost: set[int] = set()  # whose file cannot be read
        self.num_lost = 0
        # Vocabulary by which a file is labelled; None: what a network knew of it is no use now.
        self._names: dict[int, Sequence[str] | None] = {}
        self._pages: dict[int, Page] = {}
        self._returned: dict[int, int] = {}  # revision of the file of a chunk in memory

    @property
    def keys(self) -> frozenset[int]:
        """Keys of the chunks that are only on the disk."""
        return frozenset(self._pages)

    @property
    def due(self) -> list[int]:
        """Sorted, those of `keys` at which the network has yet to look."""
        return sorted(key for key, page in self._pages.items() if page.is_due)

    @property
    def num_bytes(self) -> int:
        """Size of all files of chunks."""
        return self._files.num_bytes if self._files else 0

    @property
    def num_voxels(self) -> int:
        """Voxels that are only on the disk."""
        return sum(page.num_voxels for page in self._pages.values())

    def changed_since(self, revision: int) -> frozenset[int]:
        """Return those of `keys` that changed after a revision before they went to the disk."""
        return frozenset(key for key, page in self._pages.items() if page.revision > revision)

    @property
    def revisions(self) -> dict[int, int]:
        """When each of `keys` changed last."""
        return {key: page.revision for key, page in self._pages.items()}

    @property
    def names(self) -> dict[int, tuple[str, ...]]:
        """The vocabulary by which each of `keys` is labelled."""
        return {key: tuple(self._names[key] or ()) for key in self._pages}

    def holds_of(self, submap: int) -> bool:
        """Tell whether a chunk of a submap is only on the disk."""
        keys = torch.tensor(list(self._pages), dtype=torch.int64)
        return bool((submap_of_chunk(keys) == submap).any())

    def bring(self, keys: Iterable[int], config: SemanticsConfig) -> None:
        """Take chunks into memory, as far as they are on the disk only.

        Raises:
            MapFileError: There is no room, and the disk is full.
        """
        wanted = frozenset(keys)
        for key in sorted(self._pages.keys() & wanted):
            self.make_room(keep=wanted)
            record, names = self._read(key) or _NOTHING
            self._labelled.insert(key, record, names, config)
            del self._pages[key]
            if key not in self._lost and self._names[key] is not None:
                self._returned[key] = int(record['revision'])

    def bring_newest(self, config: SemanticsConfig) -> None:
        """Take chunks into memory while there is plenty of room, those that changed last first.

        Raises:
            MapFileError: As for `bring`.
        """
        revisions = self.revisions
        for key in sorted(revisions, key=revisions.__getitem__, reverse=True):
            if self._labelled.num_bytes_used > _PLENTY * self._max_bytes:
                return
            self.bring([key], config)

    def make_room(self, keep: Collection[int] = ()) -> None:
        """Write the chunks that were not seen for the longest time, while memory is short.

        Memory that was once used stays with the process and is used again. So, once the budget
        is used, chunks go until a share of every table is free for what comes.

        Args:
            keep: Keys of chunks that stay.

        Raises:
            MapFileError: The disk is full; the chunks stay in memory.
        """
        voxels = self._labelled.voxels
        if voxels.free_share >= _SCARCE or sum(self._labelled.num_bytes.values()) < self._full:
            return
        chunks = voxels.chunks()
        for key in chunks.key[chunks.last_seen.argsort(stable=True)].tolist()[:-1]:
            if voxels.free_share >= _AMPLE:
                return
            if key not in keep:
                self.put(key)

    def put(self, key: int) -> None:
        """Write a chunk and forget it in memory.

        Raises:
            KeyError: It is not in memory.
            MapFileError: The disk is full; the chunk stays in memory.
        """
        labelled = self._labelled
        record = labelled.record(key)
        due = is_due(*labelled.voxels.dirt(key))
        revision = int(record['revision'])
        with self._lock:
            if self._returned.get(key) != revision:
                self._storage().put(key, record)
                self._lost.discard(key)
            self._names[key] = labelled.labeler.vocabulary
        self._returned.pop(key, None)
        self._pages[key] = Page(len(record['place']), revision, bool(due))
        labelled.evict(key)

    def adopt(
        self,
        key: int,
        file: StoredFile,
        page: Page,
        names: Sequence[str] | None,
    ) -> None:
        """Take over a chunk of a saved map; it stays on the disk until it is needed.

        Args:
            key: Of the chunk.
            file: That holds it.
            page: What is known of it.
            names: The vocabulary by which it is labelled; None: what a network knew of it is
                no use now.

        Raises:
            MapFileError: The file is gone, or the disk is full.
        """
        self._storage().adopt(key, file)
        self._names[key], self._pages[key] = names, page

    def read(self, key: int) -> Record:
        """Return the record of a chunk on the disk.

        Raises:
            KeyError: It is gone or damaged.
            MapFileError: The map was reset meanwhile.
        """
        found = self._read(key)
        if found is None:
            raise KeyError(key)
        return found[0]

    def parts(self, keys: Iterable[int], config: SemanticsConfig) -> Iterator[LabelledMap]:
        """Read chunks on the disk, as `LabelledMap.parts` does; also those that came back.

        Raises:
            MapFileError: The map was reset meanwhile.
        """
        return self._labelled.parts(keys, lambda key: self._read(key) or _NOTHING, config)

    def close(self) -> None:
        """Delete all pages; who still reads them is told."""
        with self._lock:
            self._is_closed = True
            if self._files:
                self._files.close()

    def _read(self, key: int) -> tuple[Record, Sequence[str]] | None:
        """Return the record of a chunk, and the vocabulary by which it is labelled.

        None: its file cannot be read. Any thread may ask, so the page itself stays until the
        chunk is brought.
        """
        with self._lock:
            if self._is_closed:
                raise MapFileError('the map was reset meanwhile: ask again')
            if key in self._lost:
                return None
            try:
                record, names = self._storage().get(key), self._names[key]
            except MapFileError as err:
                self._lose(key, err)
                return None
        return (self._labelled.unseen(record), ()) if names is None else (record, names)

    def _lose(self, key: int, reason: MapFileError) -> None:
        """Note that a file cannot be read, and tell it unless its chunk is in memory."""
        self._lost.add(key)
        self._returned.pop(key, None)  # or it would be taken for written
        if key in self._pages:
            self.num_lost += 1
            _log.warning('%s', reason)

    def _storage(self) -> PageFiles:
        if self._files is None:
            self._files = PageFiles()
        return self._files
