"""Files of named arrays with a checksum, read by mapping them into memory."""

import errno
import mmap
import os
import shutil
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray
from torch import Tensor

from concerto_ros.errors import CheckpointError, MapFileError
from concerto_ros.weights_file import pack_arrays, read_weights_file

Arrays = Mapping[str, Tensor | NDArray[Any]]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BARRED = (errno.EACCES, errno.EPERM, errno.EROFS)


class DamagedFileError(MapFileError):
    """A file that is gone or is not what was written.

    Attributes:
        what: The first half of the sentence, which names the file.
    """

    def __init__(self, path: Path, reason: str | None) -> None:
        self.what = f'{path} is missing or damaged ({reason})'
        super().__init__(f'{self.what}: restore it from a copy of the map, or map the place again')


class StoredFile(NamedTuple):
    """A file and what it must hold.

    Attributes:
        path: Where it is.
        size: Its bytes.
        checksum: CRC-32 of them (ISO 3309, as in zip and gzip), as 8 hexadecimal digits.
    """

    path: Path
    size: int
    checksum: str

    @classmethod
    def of(cls, path: Path) -> 'StoredFile':
        """Describe a file as it is now.

        Raises:
            OSError: It cannot be read.
        """
        size, found = _size_and_checksum(path)
        return cls(path, size, found)

    def verify(self) -> None:
        """Compare the file with what it must hold.

        Raises:
            MapFileError: It is missing, truncated or changed.
        """
        try:
            size, found = _size_and_checksum(self.path)
        except OSError as err:
            raise DamagedFileError(self.path, err.strerror) from err
        if size != self.size:
            raise DamagedFileError(self.path, f'{size} bytes instead of {self.size}')
        if found != self.checksum:
            raise DamagedFileError(self.path, 'wrong checksum')


def checksum(data: bytes | mmap.mmap) -> str:
    """Return the CRC-32 of bytes as 8 hexadecimal digits."""
    return f'{zlib.crc32(data):08x}'


def write_arrays(path: Path, arrays: Arrays) -> StoredFile:
    """Write arrays to a new .safetensors file; it is on the disk for sure only after `sync`.

    Args:
        path: Must not exist; nothing is left there if writing fails.
        arrays: By name, on the CPU; at least one.

    Raises:
        OSError: The disk is full or refuses.
    """
    data = pack_arrays(arrays)
    with path.open('xb') as file:
        try:
            file.write(data)
            file.flush()
        except BaseException:
            with suppress(OSError):
                path.unlink()
            raise
    return StoredFile(path, len(data), checksum(data))


def read_arrays(file: StoredFile, *, verify: bool = True) -> dict[str, Tensor]:
    """Map the arrays of a file into memory.

    They lie in the file: the system reads a page when it is touched and may drop it again.
    Writing into an array changes a private copy of that page, never the file. The arrays stay
    valid when the file is deleted.

    Args:
        file: What `write_arrays` returned, then or in another process.
        verify: Whether to read the whole file first, to compare its checksum.

    Raises:
        MapFileError: The file is missing or damaged.
    """
    if verify:
        file.verify()
    try:
        return read_weights_file(file.path).tensors
    except CheckpointError as err:
        reason = str(err.__cause__ or err) if file.path.exists() else 'there is no such file'
        raise DamagedFileError(file.path, reason) from err


def link(file: StoredFile, path: Path) -> StoredFile:
    """Give a file a second name, or copy it where the disk has no second names.

    Raises:
        OSError: The file is gone, or the disk is full or refuses.
    """
    try:
        os.link(file.path, path)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, or one that cannot
        try:
            shutil.copyfile(file.path, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return file._replace(path=path)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, would survive a loss of power.

    Raises:
        OSError: The disk is full or refuses.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def not_written(folder: Path, err: OSError) -> MapFileError:
    """Return the sentence for a folder in which the disk refuses to write."""
    if err.errno in _FULL:
        return MapFileError(f'{folder}: the disk is full, so free space or choose another disk')
    if err.errno in _BARRED:
        return MapFileError(
            f'{folder}: writing is not permitted, so change the permissions or choose another '
            'folder'
        )
    return MapFileError(f'{folder}: cannot be written ({err.strerror}), so choose another folder')


def _size_and_checksum(path: Path) -> tuple[int, str]:
    with path.open('rb') as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:  # cannot be mapped
            return 0, checksum(b'')
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return size, checksum(content)
