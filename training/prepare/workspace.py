"""The folder in which scenes lie until they are complete."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from concerto_ros.errors import ConfigError


@contextmanager
def workspace(root: Path, split: str) -> Iterator[None]:
    """Make ROOT/.unfinished/SPLIT, where `SceneWriter` writes, and leave no empty folder.

    Raises:
        ConfigError: The root cannot be written.
    """
    folder = root / '.unfinished' / split
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as err:
        raise ConfigError(
            f'{root} cannot be written ({err.strerror}); choose another --output'
        ) from err
    try:
        yield
    finally:
        for empty in (folder, folder.parent):
            with suppress(OSError):  # another run is at work in it
                empty.rmdir()
