"""Read an MCAP file from front to back, without its index, as far as it is intact.

For files that a recorder could not finish: they lack the index at the end.

Source: the MCAP format specification, https://mcap.dev/spec.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MAGIC = b'\x89MCAP0\r\n'
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F
_RECORD = struct.Struct('<BQ')
_MESSAGE_HEADER = struct.Struct('<HIQQ')  # channel, sequence, log time, publish time
_CHUNK_HEADER = struct.Struct('<QQQI')  # first and last time, size, checksum

# decompress(data, compression, size, checksum) -> raw bytes
Decompress = Callable[[bytes, str, int, int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawMessage:
    """One message as it was recorded.

    Attributes:
        topic: Name of the topic.
        msgtype: Such as sensor_msgs/msg/Image.
        time_ns: When it was recorded [ns].
        data: The serialised message.
    """

    topic: str
    msgtype: str
    time_ns: int
    data: bytes


def scan_mcap(path: Path, decompress: Decompress) -> Iterator[RawMessage]:
    """Yield the messages in the order of the file.

    Raises:
        ValueError: At the first damage, after all messages before it.
    """
    schemas: dict[int, str] = {}
    channels: dict[int, tuple[str, str]] = {}
    with path.open('rb') as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError('it does not begin like an MCAP file')
        for kind, content in _flatten(file, decompress):
            if kind == _SCHEMA:
                schemas[_u16(content, 0)] = _string(content, 2)[0]
            elif kind == _CHANNEL:
                topic, _ = _string(content, 4)
                channels[_u16(content, 0)] = (topic, schemas.get(_u16(content, 2), ''))
            elif kind == _MESSAGE:
                channel, _, time_ns, _ = _MESSAGE_HEADER.unpack_from(content)
                topic, msgtype = channels.get(channel, ('', ''))
                data = content[_MESSAGE_HEADER.size :]
                yield RawMessage(topic=topic, msgtype=msgtype, time_ns=time_ns, data=data)


def _flatten(file: BinaryIO, decompress: Decompress) -> Iterator[tuple[int, bytes]]:
    """Yield kind and content of each record, those within chunks too."""
    while header := file.read(_RECORD.size):
        if len(header) < _RECORD.size:
            raise ValueError('the file ends within a record')
        kind, size = _RECORD.unpack(header)
        if kind == _DATA_END:
            return
        content = file.read(size)
        if kind == _CHUNK:
            yield from _chunk_records(content, size, decompress)
        if len(content) < size:
            raise ValueError('the file ends within a record')
        if kind != _CHUNK:
            yield kind, content
    raise ValueError('the file ends without its index')


def _chunk_records(
    content: bytes, full_size: int, decompress: Decompress
) -> Iterator[tuple[int, bytes]]:
    """Yield the records of a chunk; of one that is cut off, those that are whole."""
    try:
        _, _, raw_size, checksum = _CHUNK_HEADER.unpack_from(content)
        compression, start = _string(content, _CHUNK_HEADER.size)
    except struct.error as err:
        raise ValueError('the file ends within a chunk') from err
    records = content[start + 8 :]
    is_whole = len(content) == full_size
    if is_whole:
        records = decompress(records, compression, raw_size, checksum)
    elif compression:
        return
    offset = 0
    while offset + _RECORD.size <= len(records):
        kind, size = _RECORD.unpack_from(records, offset)
        offset += _RECORD.size
        if offset + size > len(records):
            return
        yield kind, records[offset : offset + size]
        offset += size


def _u16(content: bytes, offset: int) -> int:
    return int.from_bytes(content[offset : offset + 2], 'little')


def _string(content: bytes, offset: int) -> tuple[str, int]:
    """Return a string with its length before it, and where it ends."""
    (length,) = struct.unpack_from('<I', content, offset)
    end = offset + 4 + length
    return content[offset + 4 : end].decode(errors='replace'), end
