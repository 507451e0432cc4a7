"""Maps as binary PLY files, which CloudCompare, MeshLab, Blender and Open3D open as they are."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement, PlyParseError

from concerto_ros.errors import MapFileError
from concerto_ros.structures import MapCloud
from concerto_ros.visualization.files import replacing

# Field of MapCloud -> its properties in the file, all of one type.
_LAYOUT: dict[str, tuple[tuple[str, ...], str]] = {
    'coord': (('x', 'y', 'z'), '<f4'),
    'color': (('red', 'green', 'blue'), 'u1'),
    'label': (('label',), '<u2'),
    'confidence': (('confidence',), '<f4'),
    'language_label': (('language_label',), '<u2'),
    'language_confidence': (('language_confidence',), '<f4'),
    'normal': (('nx', 'ny', 'nz'), '<f4'),
}


def write_ply(path: str | Path, cloud: MapCloud) -> int:
    """Write the points of a map as a little-endian binary PLY file, whole or not at all.

    Args:
        path: File to write, ending in .ply; an older one is replaced.
        cloud: Points in the frame the file shall be in [m].

    Returns:
        Number of points written.

    Raises:
        MapFileError: Another extension, a missing folder, or the disk refuses.
    """
    vertex = np.empty(len(cloud), [(p, kind) for names, kind in _LAYOUT.values() for p in names])
    for attribute, (names, _) in _LAYOUT.items():
        columns = getattr(cloud, attribute).reshape(len(cloud), len(names))
        for i, name in enumerate(names):
            vertex[name] = columns[:, i]
    ply = PlyData([PlyElement.describe(vertex, 'vertex')], byte_order='<')
    with replacing(path, '.ply') as temporary:
        ply.write(str(temporary))
    return len(cloud)


def read_ply(path: str | Path) -> MapCloud:
    """Return the points of a file that `write_ply` wrote.

    Raises:
        MapFileError: The file is missing, no PLY, or lacks a property.
    """
    try:
        vertex = PlyData.read(str(path), mmap=False)['vertex'].data
    except OSError as err:
        raise MapFileError(f'cannot read {str(path)!r}: {err.strerror or err}') from err
    except (PlyParseError, KeyError, UnicodeDecodeError) as err:
        raise MapFileError(f'{str(path)!r} is no PLY file with vertices: {err}') from err
    missing = [p for names, _ in _LAYOUT.values() for p in names if p not in vertex.dtype.names]
    if missing:
        raise MapFileError(
            f'{str(path)!r} lacks the properties {missing}; write it with write_ply'
        )
    return MapCloud(**{field: _column(vertex, *layout) for field, layout in _LAYOUT.items()})


def _column(vertex: NDArray[Any], names: tuple[str, ...], kind: str) -> NDArray[Any]:
    """Return (N,) or (N, 3) of the native byte order."""
    columns = [vertex[name].astype(np.dtype(kind).newbyteorder('=')) for name in names]
    return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
