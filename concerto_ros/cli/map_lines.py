"""What `concerto inspect` prints of a map that is a folder."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from concerto_ros.storage import MapFolder
from concerto_ros.storage.manifest import VERSION

_OF_CELLS = re.compile(r'cell_\d+|label|confidence')
_OF_LEVEL = re.compile(r'feature_(?:known_)?(\d+)')


def map_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield name and value of all there is to say, after every file was read once.

    Raises:
        MapFileError: The map is damaged; the message names the file.
    """
    folder = MapFolder.open(path)
    folder.verify()
    info, manifest, chunks = folder.info, folder.manifest, folder.chunks
    yield 'file', str(path)
    yield 'kind', f'map of version {VERSION} in frame {info.frame_id}, save {manifest.number}'
    num_voxels = sum(chunk.num_voxels for chunk in chunks.values())
    yield (
        'voxels',
        f'{num_voxels:,} voxels of {info.voxel_size:g} m in {len(chunks)} chunks of '
        f'{len(info.submaps)} submaps',
    )
    yield 'seen', f'{_time(info.first_seen_ns)} to {_time(info.last_seen_ns)}'
    for layer, size in _sizes(folder).items():
        yield layer, f'{size / 1e6:.2f} MB, {size / max(1, num_voxels):.1f} bytes per voxel'
    yield 'checksums', 'right'
    yield 'classes', ', '.join(info.label_tables.get('label', ()))
    yield 'labels', ', '.join(info.label_tables.get('language_label', ()))
    yield 'backbone', info.backbone or 'none, so it cannot be searched by text'
    yield 'encoder', info.text_encoder or 'none'


def _sizes(folder: MapFolder) -> dict[str, int]:
    """Return the bytes of each layer in the files; "headers" are what surrounds the arrays."""
    sizes: Counter[str] = Counter()
    for key, chunk in folder.chunks.items():
        arrays = folder.read(key)
        for name, array in arrays.items():
            sizes[_layer(name)] += array.nbytes
        sizes['headers'] += chunk.size - sum(array.nbytes for array in arrays.values())
    for name, entry in folder.manifest.weights.items():
        sizes[name] += entry.size
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _layer(name: str) -> str:
    """Return the layer of the map that an array of a chunk belongs to."""
    if _OF_CELLS.fullmatch(name):
        return 'cells'
    if level := _OF_LEVEL.fullmatch(name):
        return f'features_{level[1]}'
    return 'features_0' if name.startswith('feature_') else 'voxels'


def _time(stamp_ns: int) -> str:
    return f'{datetime.fromtimestamp(stamp_ns // 10**9, tz=timezone.utc):%Y-%m-%d %H:%M:%S}Z'
