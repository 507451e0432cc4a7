"""PageFiles: chunks that memory has no room for, on the disk while the process runs."""

import shutil
import tempfile
import time
import weakref
from collections.abc import KeysView
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from concerto_ros.errors import MapFileError
from concerto_ros.storage.chunk_file import (
    Arrays,
    DamagedFileError,
    StoredFile,
    link,
    not_written,
    read_arrays,
    write_arrays,
)
from concerto_ros.storage.folder_lock import FolderLock

_PREFIX = 'concerto_pages_'
_IN_MEMORY = ('tmpfs', 'ramfs')
_MOUNTS = Path('/proc/self/mounts')


class PageFiles:
    """Chunks as files in a new folder, which is deleted at `close` and when the process ends.

    What a killed process left is deleted when the next one starts. Not for several threads at
    a time.

    Args:
        folder: Where to make it; None: where temporary files go, if that is on a disk, else
            /var/tmp. In a folder in memory, such as /dev/shm, pages free no memory.

    Raises:
        MapFileError: The folder cannot be written.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        parent = _on_disk() if folder is None else Path(folder)
        try:
            parent.mkdir(parents=True, exist_ok=True)
            _delete_leftovers(parent)
            self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            self._lock = FolderLock(self._folder)
        except OSError as err:
            raise not_written(parent, err) from err
        self._files: dict[int, StoredFile] = {}
        self._unverified: set[int] = set()
        self._number = 0
        self._delete = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    @property
    def keys(self) -> KeysView[int]:
        """Keys of the chunks on the disk."""
        return self._files.keys()

    @property
    def num_bytes(self) -> int:
        """Size of all pages on the disk."""
        return sum(file.size for file in self._files.values())

    def put(self, key: int, arrays: Arrays) -> None:
        """Write a chunk, in place of an earlier one of that key.

        Raises:
            MapFileError: The disk is full or refuses; the earlier page is then still there.
        """
        try:
            self._replace(key, write_arrays(self._path(key), arrays))
        except OSError as err:
            raise not_written(self._folder, err) from err

    def adopt(self, key: int, file: StoredFile) -> None:
        """Take over the file of a saved chunk by a link, which outlives the saved map.

        On another disk it is copied. Its checksum is compared when it is first read.

        Raises:
            MapFileError: The file is gone, or the disk is full or refuses.
        """
        try:
            self._replace(key, link(file, self._path(key)))
        except OSError as err:
            raise not_written(self._folder, err) from err
        self._unverified.add(key)

    def get(self, key: int) -> dict[str, Tensor]:
        """Map the arrays of a chunk into memory, as `read_arrays` does.

        Raises:
            KeyError: There is no such page.
            MapFileError: The file is missing or damaged.
        """
        try:
            arrays = read_arrays(self._files[key], verify=key in self._unverified)
        except DamagedFileError as err:
            raise MapFileError(
                f'{err.what}: its part of the map is lost; it is mapped again when it is seen'
            ) from err
        self._unverified.discard(key)
        return arrays

    def drop(self, key: int) -> None:
        """Delete a page; arrays that were read from it stay valid.

        Raises:
            KeyError: There is no such page.
        """
        self._files.pop(key).path.unlink(missing_ok=True)
        self._unverified.discard(key)

    def close(self) -> None:
        """Delete all pages."""
        self._files.clear()
        self._unverified.clear()
        self._delete()
        self._lock.close()

    def _path(self, key: int) -> Path:
        self._number += 1
        return self._folder / f'{key:016x}.{self._number:08d}.safetensors'

    def _replace(self, key: int, file: StoredFile) -> None:
        if key in self._files:
            self.drop(key)
        self._files[key] = file


def _delete_leftovers(parent: Path) -> None:
    """Delete folders of pages whose process is gone."""
    for folder in parent.glob(f'{_PREFIX}*'):
        with suppress(OSError, MapFileError):
            if time.time() - folder.stat().st_mtime < 60:  # may just be made, and not yet locked
                continue
            lock = FolderLock(folder)
            shutil.rmtree(folder, ignore_errors=True)
            lock.close()


def _on_disk() -> Path:
    """Return a folder for temporary files that is not in memory, if there is one."""
    folders = [Path(tempfile.gettempdir()), Path('/var/tmp')]
    return next((f for f in folders if f.is_dir() and not is_in_memory(f)), folders[0])


def is_in_memory(folder: Path) -> bool:
    """Tell whether the files of a folder lie in memory; False where the system does not say."""
    if not _MOUNTS.is_file():
        return False
    mounts = dict(line.split()[1:3] for line in _MOUNTS.read_text().splitlines())
    above = (str(path) for path in (folder.resolve(), *folder.resolve().parents))
    return next((mounts[path] for path in above if path in mounts), '') in _IN_MEMORY
