"""Reads scenes from tar shards, by number, without unpacking them.

NAME-000000.tar, NAME-000001.tar, ... hold the files of scenes one after the other, in the
WebDataset format; NAME-index.json says which shard has which scene, and lists the samples. A
scene is stored once, with all its images, though several samples may show it.

Source: the WebDataset format and its indexed variant (wids), whose reader is used here.
"""

import io
import json
import os
from dataclasses import dataclass
from typing import IO, Any, Literal

from concerto_ros.errors import SourceError
from training.datasets.open_shards import Shard, fetch

SHARD_PATTERN = '-*.tar'
INDEX_SUFFIX = '-index.json'


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A file in a shard.

    Attributes:
        shard: Where it is.
        member: Name of the file in it.
    """

    shard: Shard
    member: str

    def __str__(self) -> str:
        return f'{self.shard.address}/{self.member}'

    def open(self, mode: Literal['rb']) -> IO[bytes]:
        """Return its bytes as a stream.

        Raises:
            SourceError: The shard is missing or damaged.
            FileNotFoundError: The shard has no such file.
        """
        data = self.shard.read(self.member)
        if data is None:
            raise FileNotFoundError(f'{self.shard.address} has no {self.member}')
        return io.BytesIO(data)

    def is_file(self) -> bool:
        """Tell whether the shard has it."""
        return self.shard.has(self.member)

    def stat(self) -> os.stat_result:
        """Return size and times of the shard.

        Raises:
            SourceError: The shard cannot be copied.
            FileNotFoundError: The shard is missing.
        """
        return fetch(self.shard.address, self.shard.cache).stat()


@dataclass(frozen=True, slots=True)
class ShardFolder:
    """The files in a shard whose names begin alike.

    Attributes:
        shard: Where they are.
        key: Beginning of their names, without the dot.
    """

    shard: Shard
    key: str

    def __truediv__(self, name: str) -> ShardFile:
        return ShardFile(self.shard, f'{self.key}.{name}')


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSample:
    """Files of one sample, as `SampleFiles` has them.

    Attributes:
        name: ROOT/SPLIT/SAMPLE.
        cloud: Its arrays.
        images: Its images.
        correspondences: One for each image.
    """

    name: str
    cloud: ShardFolder
    images: tuple[ShardFile, ...]
    correspondences: tuple[ShardFile, ...]


def read_shards(pattern: str, cache: str = '') -> list[ShardSample]:
    """Return the samples of a set of shards, in the order of their index.

    Args:
        pattern: FOLDER/NAME-*.tar, a path or an address (https, s3, gs); FOLDER/NAME-index.json
            lies beside them.
        cache: Folder that shards are copied to when they are first needed; empty it if they were
            packed anew. Empty: they are read where they lie, which must be a path.

    Raises:
        SourceError: The index is missing or damaged.
    """
    address = pattern.removesuffix(SHARD_PATTERN) + INDEX_SUFFIX
    folder = address.rpartition('/')[0] or '.'
    path = fetch(address, cache)
    try:
        index = json.loads(path.read_text())
        shards = [Shard(f'{folder}/{shard["url"]}', cache) for shard in index['shardlist']]
        return [_sample(shards[entry['shard']], entry) for entry in index['samples']]
    except (OSError, ValueError, LookupError, TypeError) as err:
        raise SourceError(
            f'{path} is no index of shards that can be read ({err!r}); write it again with '
            'training.datasets.shard_writer'
        ) from err


def _sample(shard: Shard, entry: dict[str, Any]) -> ShardSample:
    cloud = ShardFolder(shard, entry['key'])
    return ShardSample(
        name=entry['name'],
        cloud=cloud,
        images=tuple(cloud / name for name in entry['images']),
        correspondences=tuple(cloud / name for name in entry['correspondences']),
    )
