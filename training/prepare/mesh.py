"""Reads meshes of PLY files as clouds of their vertices."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyParseError

from concerto_ros.errors import SourceError
from training.prepare.scene import SceneCloud

_TRIANGLES = {'face': {'vertex_indices': 3}}  # known lengths spare a loop over all faces


def read_mesh(path: Path) -> SceneCloud:
    """Return the vertices of a mesh with colours and normals.

    Raises:
        SourceError: The file is missing, no PLY of triangles, or lacks a property.
    """
    ply = _read(path)
    vertex = ply['vertex'].data
    try:
        coord = _columns(vertex, ('x', 'y', 'z')).astype(np.float32)
        color = _columns(vertex, ('red', 'green', 'blue')).astype(np.uint8)
        faces = np.asarray(ply['face'].data['vertex_indices']).reshape(-1, 3)
    except (KeyError, ValueError) as err:
        raise SourceError(
            f'{path} must have vertices with x, y, z, red, green, blue and faces with '
            f'vertex_indices; {err} is missing'
        ) from err
    if faces.size and not (faces.min() >= 0 and faces.max() < len(coord)):
        raise SourceError(f'{path} has faces of vertices that are not there; download it again')
    return SceneCloud(coord=coord, color=color, normal=vertex_normals(coord, faces))


def read_vertex_labels(path: Path) -> NDArray[np.int64]:
    """Return the property `label` (N,) of the vertices of a file.

    Raises:
        SourceError: The file is missing, no PLY of triangles, or has no such property.
    """
    vertex = _read(path)['vertex'].data
    try:
        return np.asarray(vertex['label'], dtype=np.int64)
    except ValueError as err:
        raise SourceError(f'{path} must have vertices with a property label') from err


def vertex_normals(coord: NDArray[np.float32], faces: NDArray) -> NDArray[np.float32]:
    """Return the mean normals of the faces around each vertex, weighted by their area.

    Args:
        coord: (N, 3) float32.
        faces: (F, 3) int, counter-clockwise as seen from outside.

    Returns:
        (N, 3) float32 unit vectors; zero where a vertex has no face with an area.
    """
    a, b, c = (coord[faces[:, k]].astype(np.float64) for k in range(3))
    face_normal = np.cross(b - a, c - a)  # as long as twice the area
    corner = faces.reshape(-1)
    total = np.stack(
        [np.bincount(corner, face_normal[:, k].repeat(3), len(coord)) for k in range(3)], axis=1
    )
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return (total / np.where(length > 0, length, 1.0)).astype(np.float32)


def _read(path: Path) -> Any:
    try:
        return PlyData.read(str(path), known_list_len=_TRIANGLES)
    except OSError as err:
        raise SourceError(f'{path} cannot be read: {err.strerror or err}') from err
    except (PlyParseError, ValueError) as err:
        raise SourceError(f'{path} is no PLY file of triangles: {err}') from err


def _columns(vertex: NDArray, names: tuple[str, ...]) -> NDArray:
    return np.stack([vertex[name] for name in names], axis=1)
