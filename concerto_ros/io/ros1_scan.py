"""Read a ROS 1 bag from front to back, without its index, as far as it is intact.

Source: the ROS bag format 2.0, http://wiki.ros.org/Bags/Format/2.0.
"""

import io
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from concerto_ros.io.mcap_scan import RawMessage

_MAGIC = b'#ROSBAG V2.0\n'
_MESSAGE, _BAG_HEADER, _CHUNK, _CONNECTION = 2, 3, 5, 7

# decompressors[compression](data) -> raw bytes
Decompressors = Mapping[str, Callable[[bytes], bytes]]


def scan_ros1(path: Path, decompressors: Decompressors) -> Iterator[RawMessage]:
    """Yield the messages in the order of the file, with the type names of ROS 2.

    Raises:
        ValueError: At the first damage, after all messages before it.
    """
    connections: dict[bytes, tuple[str, str]] = {}
    is_finished = False
    with path.open('rb') as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError('it does not begin like a ROS 1 bag')
        for fields, data in _flatten(file, decompressors):
            kind = fields['op'][0]
            if kind == _BAG_HEADER:
                is_finished = any(fields['index_pos'])
            elif kind == _CONNECTION:
                package, _, name = _fields(data)['type'].decode().partition('/')
                connections[fields['conn']] = (fields['topic'].decode(), f'{package}/msg/{name}')
            elif kind == _MESSAGE:
                topic, msgtype = connections[fields['conn']]
                seconds, nanoseconds = struct.unpack('<II', fields['time'])
                time_ns = seconds * 1_000_000_000 + nanoseconds
                yield RawMessage(topic=topic, msgtype=msgtype, time_ns=time_ns, data=data)
    if not is_finished:
        raise ValueError('the file ends without its index')


def _flatten(
    file: BinaryIO, decompressors: Decompressors
) -> Iterator[tuple[dict[str, bytes], bytes]]:
    """Yield fields and data of each record, those within chunks too."""
    for fields, data in _records(file):
        if fields['op'][0] == _CHUNK:
            raw = decompressors[fields['compression'].decode()](data)
            yield from _records(io.BytesIO(raw))
        else:
            yield fields, data


def _records(file: BinaryIO) -> Iterator[tuple[dict[str, bytes], bytes]]:
    """Yield fields and data of each record; of a plain chunk that is cut off, what there is."""
    while length := file.read(4):
        fields = _fields(_read(file, _size(length)))
        size = _size(file.read(4))
        if fields.get('compression') == b'none':
            data = file.read(size)
            yield fields, data
            _read(file, size - len(data))
        else:
            yield fields, _read(file, size)


def _size(encoded: bytes) -> int:
    if len(encoded) != 4:
        raise ValueError('the file ends within a record')
    return int.from_bytes(encoded, 'little')


def _read(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise ValueError('the file ends within a record')
    return content


def _fields(content: bytes) -> dict[str, bytes]:
    """Return the name=value fields of a record's header."""
    fields = {}
    file = io.BytesIO(content)
    while length := file.read(4):
        name, _, value = _read(file, _size(length)).partition(b'=')
        fields[name.decode()] = value
    return fields
