"""MapFolder: a map on the disk, read chunk by chunk; its layout is in the README."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from concerto_ros.errors import MapFileError
from concerto_ros.storage.chunk_file import StoredFile, read_arrays
from concerto_ros.storage.manifest import MANIFEST, ChunkEntry, FileEntry, Manifest, MapInfo
from concerto_ros.storage.saved_map import FILE_NAME

FOLDER_NAME = 'map'  # in a folder of `concerto map`


class MapFolder:
    """A map on the disk as it was when it was opened; nothing is locked.

    Attributes:
        path: The folder.
        manifest: All that the map consists of.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._verified: set[FileEntry] = set()

    @classmethod
    def open(cls, path: str | Path) -> 'MapFolder':
        """Open a map; its chunks are read when they are asked for.

        Raises:
            MapFileError: There is none, it may not be read, or its manifest is damaged or of
                another version.
        """
        path = Path(path)
        try:
            _check_place(path)
        except OSError as err:
            raise MapFileError(
                f'{path}: cannot be read ({err.strerror}), so check its permissions and its disk'
            ) from err
        return cls(path, Manifest.read(path))

    @property
    def info(self) -> MapInfo:
        """What the map says of itself."""
        return self.manifest.info

    @property
    def chunks(self) -> Mapping[int, ChunkEntry]:
        """The chunks by key."""
        return self.manifest.chunks

    def read(self, key: int) -> dict[str, Tensor]:
        """Map the arrays of a chunk into memory, as `read_arrays` does.

        The checksum is compared the first time.

        Raises:
            KeyError: The map has no such chunk.
            MapFileError: The file is missing or damaged, or the map was saved anew.
        """
        return read_arrays(self._whole(self.chunks[key]), verify=False)

    def weights(self, name: str) -> Path:
        """Return a file of weights; the checksum is compared the first time.

        Raises:
            KeyError: The map has no such weights.
            MapFileError: The file is missing or damaged, or the map was saved anew.
        """
        return self._whole(self.manifest.weights[name]).path

    def verify(self) -> None:
        """Read every file once, to compare its checksum.

        Raises:
            MapFileError: A file is missing or damaged, or the map was saved anew.
        """
        for entry in self.manifest.files():
            self._whole(entry)

    def _whole(self, entry: FileEntry) -> StoredFile:
        """Return a file whose checksum is right."""
        file = entry.at(self.path)
        if entry in self._verified:
            return file
        try:
            file.verify()
        except MapFileError:
            if not file.path.exists() and Manifest.read(self.path).number != self.manifest.number:
                raise MapFileError(
                    f'{self.path} was saved anew while it was read: open it again'
                ) from None
            raise
        self._verified.add(entry)
        return file


def find_map(path: str | Path) -> Path:
    """Return a path, or the map in it if it is a folder that `concerto map` wrote.

    Raises:
        OSError: The path may not be looked at.
    """
    path = Path(path)
    is_outer = not (path / MANIFEST).is_file() and (path / FOLDER_NAME / MANIFEST).is_file()
    return path / FOLDER_NAME if is_outer else path


def is_single_file(path: str | Path) -> bool:
    """Tell whether a path names a map of version 2, which `SavedMap.load` reads.

    Raises:
        OSError: The path may not be looked at.
    """
    path = Path(path)
    is_file = path.is_file() and path.suffix == Path(FILE_NAME).suffix
    return is_file or ((path / FILE_NAME).is_file() and not (path / MANIFEST).is_file())


def _check_place(path: Path) -> None:
    if is_single_file(path):
        raise MapFileError(
            f'{path} is a map of version 2, one file, which can be searched but not continued: '
            'map the place again'
        )
    if not path.exists():
        raise MapFileError(f'{path}: there is no such map; write one with "concerto map"')
    if not (path / MANIFEST).is_file():
        raise MapFileError(f'{path} is no map: choose a folder that holds a {MANIFEST}')
