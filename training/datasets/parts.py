"""What a sample is read from, be it files in folders or members of a shard."""

import os
import tokenize
import zipfile
from collections.abc import Sequence
from typing import IO, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import SourceError

REPAIR = 'prepare this scene again, or unpack its published archive again'
# What numpy raises on a damaged .npy file: it reads headers as Python, and PK begins an archive.
NO_ARRAY = (
    EOFError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
)


class DataFile(Protocol):
    """A file, or what stands for one; its text names it in messages and in caches."""

    def open(self, mode: Literal['rb']) -> IO[bytes]:
        """Return its bytes as a stream."""
        ...

    def is_file(self) -> bool:
        """Tell whether it is there."""
        ...

    def stat(self) -> os.stat_result:
        """Return size and times, of itself or of what holds it: others mean other bytes."""
        ...


class DataFolder(Protocol):
    """The folder of a cloud."""

    def __truediv__(self, name: str) -> DataFile:
        """Return one of its files, there or not."""
        ...


class SampleParts(Protocol):
    """The parts of a sample, as `SampleFiles` has them."""

    @property
    def name(self) -> str:
        """Name of the sample."""
        ...

    @property
    def cloud(self) -> DataFolder:
        """Where the arrays of the cloud are."""
        ...

    @property
    def images(self) -> Sequence[DataFile]:
        """The images."""
        ...

    @property
    def correspondences(self) -> Sequence[DataFile]:
        """Which points each of the images sees."""
        ...


class TokenSource(Protocol):
    """Keeps the tokens of images."""

    def get(self, file: DataFile) -> NDArray[np.float16] | None:
        """Return (T, D) of an image, if they are known."""
        ...


def read_array(file: DataFile) -> NDArray:
    """Read a .npy file.

    Raises:
        SourceError: It is missing, damaged, or holds something else.
    """
    try:
        with file.open('rb') as stream:
            array = np.load(stream, allow_pickle=False)
    except NO_ARRAY as err:
        # What numpy advises there would run code that is in the file.
        reason = 'it holds no numbers' if 'pickle' in str(err) else err
        raise SourceError(f'{file} is no array that can be read ({reason}); {REPAIR}') from err
    if not isinstance(array, np.ndarray):
        raise SourceError(f'{file} is an archive, expected one array; {REPAIR}')
    return array
