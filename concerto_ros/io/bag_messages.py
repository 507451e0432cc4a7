"""The messages of a bag, whatever its format, up to where it is damaged."""

import logging
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Protocol, cast

from rosbags.rosbag1 import Reader as Rosbag1Reader
from rosbags.rosbag1.reader import decompressors
from rosbags.rosbag2 import Reader as Rosbag2Reader
from rosbags.rosbag2.storage_mcap import decompress
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from concerto_ros.errors import SourceError
from concerto_ros.io.bag_topics import TF_TYPES
from concerto_ros.io.mcap_scan import RawMessage, scan_mcap
from concerto_ros.io.ros1_scan import scan_ros1

_LOG = logging.getLogger(__name__)


class _Storage(Protocol):
    """One file or one finished bag."""

    topics: dict[str, str]
    counts: Counter[str]

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]: ...

    def close(self) -> None: ...


class BagMessages:
    """All messages of a bag: rosbag2 folder, single .mcap or .db3 file, or ROS 1 .bag.

    Message types are those of the ROS release, not the definitions in the bag: the few that are
    read have not changed, older bags have none, and one broken definition must not spoil a bag.
    """

    def __init__(self, path: Path) -> None:
        """Open the bag.

        Raises:
            SourceError: Nothing in it can be read.
        """
        self.damage = ''
        self._path = path
        self._storages = self._open(path)
        self.topics = {name: t for storage in self._storages for name, t in storage.topics.items()}
        self.counts = sum((storage.counts for storage in self._storages), Counter[str]())
        if not self.counts.total():
            self.close()
            reason = f': {self.damage}' if self.damage else ''
            raise SourceError(f'{path} holds no messages{reason}; record it again')
        self._deserialize = _deserializer(is_ros1=path.suffix == '.bag')

    def read(self, topics: Collection[str]) -> Iterator[tuple[str, Any]]:
        """Yield topic and message in recorded order; a message that cannot be read is None.

        What is behind a damage is left out, and `damage` says so in a sentence.
        """
        num_read = 0
        first_ns = last_ns = 0
        try:
            for storage in self._storages:
                for raw in storage.messages(topics):
                    first_ns, last_ns = first_ns or raw.time_ns, raw.time_ns
                    num_read += 1
                    yield raw.topic, self._decode(raw)
        except Exception as err:  # a parser on damaged bytes can fail in any way
            self.damage = (
                f'recording is damaged after {(last_ns - first_ns) / 1e9:.1f} s: '
                f'{num_read} messages read ({_sentence(err)})'
            )
            _LOG.warning('%s: %s', self._path, self.damage)

    def close(self) -> None:
        """Close all files."""
        for storage in self._storages:
            storage.close()

    def _decode(self, raw: RawMessage) -> Any:
        try:
            return self._deserialize(raw.data, raw.msgtype)
        except Exception as err:  # see read()
            _LOG.debug('message on %s cannot be read: %s', raw.topic, err)
            return None

    def _open(self, path: Path) -> list[_Storage]:
        if not path.exists():
            raise SourceError(f'{path} does not exist')
        try:
            return [_Rosbags(path)]
        except Exception as err:  # see read()
            return self._open_damaged(path, err)

    def _open_damaged(self, path: Path, reason: Exception) -> list[_Storage]:
        """Open the files of a bag one by one, without metadata and without indices."""
        storages: list[_Storage] = []
        for file in _storage_files(path):
            try:
                storages.append(_Rosbags(file))
            except Exception as err:  # see read()
                self.damage = f'recording is damaged ({_sentence(err)})'
                storages.append(_Scan(file))
        if not storages:
            raise SourceError(f'{path} cannot be read: {_sentence(reason)}{_contents(path)}')
        return storages


class _Rosbags:
    """A bag or file that rosbags can open."""

    def __init__(self, path: Path) -> None:
        reader = Rosbag1Reader(path) if path.suffix == '.bag' else Rosbag2Reader(path)
        reader.open()
        self._reader: Any = reader
        self.topics = {c.topic: c.msgtype for c in reader.connections}
        self.counts: Counter[str] = Counter()
        for connection in reader.connections:
            self.counts[connection.topic] += connection.msgcount

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        connections = [c for c in self._reader.connections if c.topic in topics]
        if not connections:  # rosbags would take none for all
            return
        for connection, time_ns, data in self._reader.messages(connections):
            yield RawMessage(
                topic=connection.topic, msgtype=connection.msgtype, time_ns=time_ns, data=data
            )

    def close(self) -> None:
        self._reader.close()


class _Scan:
    """A damaged file, read from front to back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.topics: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        try:
            for raw in self._scan():
                self.topics[raw.topic] = raw.msgtype
                self.counts[raw.topic] += 1
        except Exception as err:  # expected: this is how the scan ends
            _LOG.debug('%s: %s', path, err)

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        return (raw for raw in self._scan() if raw.topic in topics)

    def close(self) -> None:
        pass

    def _scan(self) -> Iterator[RawMessage]:
        return _SCANS[self._path.suffix](self._path)


def _scan_db3(path: Path) -> Iterator[RawMessage]:
    """Yield the messages of an SQLite file in the order in which they were written."""
    connection = sqlite3.connect(f'{path.resolve().as_uri()}?immutable=1', uri=True)
    try:
        # Without this, SQLite refuses a file that is shorter than its header says.
        connection.execute('PRAGMA writable_schema = ON')
        topics = {i: (n, t) for i, n, t in connection.execute('SELECT id, name, type FROM topics')}
        rows = connection.execute('SELECT topic_id, timestamp, data FROM messages NOT INDEXED')
        for topic_id, time_ns, data in rows:
            topic, msgtype = topics[topic_id]
            yield RawMessage(topic=topic, msgtype=msgtype, time_ns=time_ns, data=data)
    finally:
        connection.close()


_SCANS: dict[str, Callable[[Path], Iterator[RawMessage]]] = {
    '.mcap': lambda path: scan_mcap(path, decompress),
    '.db3': _scan_db3,
    '.bag': lambda path: scan_ros1(path, decompressors),
}


def _deserializer(is_ros1: bool) -> Callable[[bytes, str], Any]:
    store = get_typestore(Stores.ROS1_NOETIC if is_ros1 else Stores.ROS2_JAZZY)
    if not is_ros1:
        return cast('Callable[[bytes, str], Any]', store.deserialize_cdr)
    for msgtype in TF_TYPES:
        store.register(get_types_from_msg('geometry_msgs/TransformStamped[] transforms', msgtype))
    return cast('Callable[[bytes, str], Any]', store.deserialize_ros1)


def _storage_files(path: Path) -> list[Path]:
    """Return the files of a bag in the order of the numbers in their names."""
    files = [f for f in (path.iterdir() if path.is_dir() else [path]) if f.suffix in _SCANS]
    return sorted(files, key=lambda f: [int(n) for n in re.findall(r'\d+', f.stem)])


def _contents(path: Path) -> str:
    if not path.is_dir():
        return ''
    found = sorted(file.name for file in path.iterdir())[:10]
    return f'; the folder holds {", ".join(found) or "nothing"}'


def _sentence(err: Exception) -> str:
    return str(err).rstrip('.') or type(err).__name__
