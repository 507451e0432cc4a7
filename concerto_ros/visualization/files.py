"""Files that are either written whole or not at all."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from concerto_ros.errors import MapFileError


def check_target(path: Path, extension: str) -> None:
    """Refuse a file before the work that would fill it.

    Raises:
        MapFileError: Its extension is another one, its folder is missing, or no file can have
            that name.
    """
    if path.suffix.lower() != extension:
        raise MapFileError(f'expected a file name ending in {extension}, got {str(path)!r}')
    try:
        has_folder = stat.S_ISDIR(path.parent.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        has_folder = False
    except OSError as err:
        raise MapFileError(f'cannot write {str(path)!r}: {err.strerror or err}') from err
    if not has_folder:
        raise MapFileError(f'no folder {str(path.parent)!r} to write {path.name!r} to: create it')


@contextmanager
def replacing(path: str | Path, extension: str) -> Iterator[Path]:
    """Give a path beside `path` to write to; on success it replaces `path`, else it is removed.

    Args:
        path: File to write; an older one is replaced.
        extension: What its name must end in, with the dot.

    Raises:
        MapFileError: The extension is another one, the folder is missing, or the disk refuses.
    """
    path = Path(path)
    check_target(path, extension)
    temporary = path.with_name(path.name + '.tmp')
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as err:
        raise MapFileError(f'cannot write {str(path)!r}: {err.strerror or err}') from err
    finally:
        with suppress(OSError):  # a name that was too long to write is too long here, too
            temporary.unlink(missing_ok=True)
