"""MapWriter: saves a map into a folder again and again, writing only what changed."""

from collections.abc import Callable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple

from concerto_ros.errors import ConcertoError, MapFileError
from concerto_ros.storage.chunk_file import (
    Arrays,
    StoredFile,
    not_written,
    sync,
    write_arrays,
)
from concerto_ros.storage.folder_lock import FolderLock
from concerto_ros.storage.manifest import (
    CHUNKS,
    FILE,
    MANIFEST,
    UNFINISHED,
    WEIGHTS,
    ChunkEntry,
    Manifest,
    MapInfo,
    WeightsEntry,
)
from concerto_ros.storage.map_folder import MapFolder


class Content(NamedTuple):
    """What a chunk holds.

    Attributes:
        num_voxels: How many.
        arrays: On the CPU.
    """

    num_voxels: int
    arrays: Arrays


class Chunk(NamedTuple):
    """A chunk that is to be saved.

    Attributes:
        revision: Another one whenever the content is another. Take it before the content: what
            changes in between is then saved again the next time.
        content: Called only if the revision is not saved yet; None: the chunk is gone meanwhile,
            and is left out.
    """

    revision: int
    content: Callable[[], Content | None]


class WeightsFile(NamedTuple):
    """Weights that are to be saved.

    Attributes:
        digest: Of the weights.
        write: Writes a .safetensors file, for example `Translator.save`; called only if no
            weights of that digest are saved yet.
    """

    digest: str
    write: Callable[[Path], None]


class Written(NamedTuple):
    """What a save wrote: chunks and bytes."""

    num_chunks: int
    num_bytes: int


class MapWriter:
    """Saves a map into a folder, which no other writer may use until this one is closed.

    A save writes new files under new names, then replaces the manifest, and only then deletes
    the files that no manifest names any more. Whatever interrupts it, the folder holds the last
    whole map. Not for several threads at a time.

    Args:
        path: The folder; it is made if it is missing. A map in it is replaced at the first save.
        continues: The map of this folder, if the one to be saved began as it and counts its
            revisions on; its chunks are then not written again. Otherwise a revision means
            nothing before the first save.

    Raises:
        MapFileError: The path is a file, another writer uses the folder, the map in it cannot
            be read, or the disk refuses.
    """

    def __init__(self, path: str | Path, continues: MapFolder | None = None) -> None:
        self.path = Path(path)
        with self._disk_errors_told():
            if self.path.exists() and not self.path.is_dir():
                raise MapFileError(f'{path} is a file, and a map is a folder: choose another name')
            for folder in (CHUNKS, WEIGHTS):
                (self.path / folder).mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self.path)
        try:
            self._last = self._map_there()
            with self._disk_errors_told():
                self._delete_unnamed()
        except BaseException:
            self._lock.close()
            raise
        self.restart(continues)

    def restart(self, continues: MapFolder | None) -> None:
        """Take the map that is saved next for another one; `continues` as for the class."""
        self._is_known = (
            self._last is not None
            and continues is not None
            and self._last.text() == continues.manifest.text()
        )

    def __enter__(self) -> 'MapWriter':
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others write into the folder."""
        self._lock.close()

    def save(
        self,
        info: MapInfo,
        chunks: Mapping[int, Chunk],
        weights: Mapping[str, WeightsFile] = MappingProxyType({}),
    ) -> Written:
        """Save a map; returns when it would survive a loss of power.

        Args:
            info: What the map says of itself.
            chunks: All of the map, by key in 0..2**63-1.
            weights: All that belong to the map, by a name of small letters.

        Raises:
            MapFileError: The disk is full or refuses, or `write` failed; the folder then holds
                the map that was saved before.
            TypeError, ValueError: A setting or the header is not JSON.
        """
        new = _NewFiles(self.path, self._next_number())
        known = self._last if self._is_known else None
        with self._disk_errors_told():
            try:
                entries = {
                    key: new.chunk(key, chunk, known.chunks.get(key) if known else None)
                    for key, chunk in chunks.items()
                }
                manifest = Manifest(
                    number=new.number,
                    info=info,
                    chunks={key: entry for key, entry in entries.items() if entry},
                    weights={
                        name: new.weights(name, one, known.weights.get(name) if known else None)
                        for name, one in weights.items()
                    },
                )
                new.sync()
                manifest.write(self.path)
                self._last, self._is_known = manifest, True
            except BaseException:
                self._last = self._map_there()  # the new one, if it was just replaced
                new.delete(kept=self._named())
                raise
            sync(self.path)
            self._delete_unnamed()
        return Written(new.num_chunks, new.num_bytes)

    def _map_there(self) -> Manifest | None:
        if not (self.path / MANIFEST).exists():
            return None
        try:
            return Manifest.read(self.path)
        except MapFileError as err:  # not ours to delete
            raise MapFileError(
                f'nothing is saved over a map that cannot be read, so choose another folder: {err}'
            ) from err

    def _next_number(self) -> int:
        if self._last:
            return self._last.number + 1
        return 1 + max((int(name.split('.')[1]) for name in self._ours()), default=0)

    def _ours(self) -> set[str]:
        """Return the names of the files in the folder that a save wrote."""
        paths = [path for folder in (CHUNKS, WEIGHTS) for path in (self.path / folder).iterdir()]
        names = (f'{path.parent.name}/{path.name}' for path in paths)
        return {name for name in names if FILE.fullmatch(name)}

    def _named(self) -> set[str]:
        return {entry.file for entry in self._last.files()} if self._last else set()

    def _delete_unnamed(self) -> None:
        """Delete our files that the manifest does not name: old ones, and what a kill left.

        Without a manifest they may be all that is left of a map, and stay until one is saved.
        """
        if self._last is None:
            return
        for name in self._ours() - self._named():
            (self.path / name).unlink()
        (self.path / UNFINISHED).unlink(missing_ok=True)

    @contextmanager
    def _disk_errors_told(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            raise not_written(self.path, err) from err


class _NewFiles:
    """The files that one save adds to a folder."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder, self.number = folder, number
        self._paths: list[Path] = []
        self.num_chunks = self.num_bytes = 0

    def chunk(self, key: int, chunk: Chunk, saved: ChunkEntry | None) -> ChunkEntry | None:
        if saved is not None and saved.revision == chunk.revision:
            return saved
        content = chunk.content()
        if content is None:
            return None
        path = self._path(f'{CHUNKS}/{key:016x}')
        num_voxels, arrays = content
        file = write_arrays(path, arrays)
        self.num_chunks += 1
        return ChunkEntry(**self._described(file), revision=chunk.revision, num_voxels=num_voxels)

    def weights(self, name: str, one: WeightsFile, saved: WeightsEntry | None) -> WeightsEntry:
        if saved is not None and saved.digest == one.digest:
            return saved
        path = self._path(f'{WEIGHTS}/{name}')
        try:
            one.write(path)
        except ConcertoError as err:
            raise MapFileError(str(err)) from err
        return WeightsEntry(**self._described(StoredFile.of(path)), digest=one.digest)

    def sync(self) -> None:
        """Wait until the files and their names are on the disk."""
        with ThreadPoolExecutor(8) as pool:  # one after the other takes five times as long
            list(pool.map(sync, self._paths))
        for folder in (CHUNKS, WEIGHTS, '.'):
            sync(self._folder / folder)

    def delete(self, kept: Set[str]) -> None:
        for path in self._paths:
            if str(path.relative_to(self._folder)) not in kept:
                path.unlink(missing_ok=True)

    def _path(self, stem: str) -> Path:
        path = self._folder / f'{stem}.{self.number:08d}.safetensors'
        if not FILE.fullmatch(str(path.relative_to(self._folder))):
            raise ValueError(f'{stem} is no name of a chunk or of weights')
        self._paths.append(path)
        return path

    def _described(self, file: StoredFile) -> dict[str, Any]:
        self.num_bytes += file.size
        name = str(file.path.relative_to(self._folder))
        return {'file': name, 'size': file.size, 'checksum': file.checksum}
