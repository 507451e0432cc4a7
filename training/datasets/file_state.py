"""What tells that a file has changed, without reading it."""

from typing import NamedTuple

from training.datasets.parts import DataFile


class FileState(NamedTuple):
    """If a file has other bytes, one of these is another.

    Attributes:
        inode: Number on its disk.
        size: Bytes.
        modified: Time of its bytes [ns], which tools that copy may set back.
        changed: Time of its bytes or of anything said of them [ns], which no tool sets.
    """

    inode: int
    size: int
    modified: int
    changed: int


def state_of(file: DataFile) -> FileState:
    """Return the state of a file.

    Raises:
        OSError: It is missing.
    """
    found = file.stat()
    return FileState(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
