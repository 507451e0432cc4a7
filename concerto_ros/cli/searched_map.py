"""Maps of both kinds as a search needs them: folders, and the single files of before."""

from pathlib import Path

from concerto_ros.errors import MapFileError
from concerto_ros.semantic_map.reader import MapReader
from concerto_ros.storage import FILE_NAME, MapSearch, SavedMap, find_map, is_single_file


def open_map(path: Path, translator: str, text_encoder: str) -> tuple[Path, MapReader | MapSearch]:
    """Open a map to be searched; return also where it is.

    Raises:
        ConcertoError: There is no map, it cannot be searched, or not with these.
    """
    try:
        found = find_map(path)
        is_file = is_single_file(found)
    except OSError as err:
        raise MapFileError(
            f'{path}: cannot be read ({err.strerror}), so check its permissions and its disk'
        ) from err
    if is_file:
        file = found / FILE_NAME if found.is_dir() else found
        return file, MapSearch(SavedMap.load(file), translator, text_encoder)
    return found, MapReader.open(found, translator, text_encoder)
