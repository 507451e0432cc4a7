"""FolderLock: one writer at a time in a folder, also among processes."""

import fcntl
from pathlib import Path

from concerto_ros.errors import MapFileError

LOCK = 'lock'


class FolderLock:
    """Holds a folder until it is closed; the system releases it when the process dies.

    Args:
        folder: Gets a file "lock", which stays.

    Raises:
        MapFileError: Another process, or another part of this one, holds it.
        OSError: The folder is missing or cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._file = (folder / LOCK).open('a')
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            self._file.close()
            raise MapFileError(
                f'{folder} is being written by another process: stop that, or choose another '
                'folder'
            ) from err
        except OSError:
            self._file.close()
            raise

    def close(self) -> None:
        """Release the folder."""
        fcntl.flock(self._file, fcntl.LOCK_UN)  # closing would not do where a fork has it open
        self._file.close()
