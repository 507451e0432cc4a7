"""Writes one tar shard, and tells what it was made of."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from webdataset import TarWriter

from training.datasets.file_state import state_of
from training.datasets.split_files import SampleFiles
from training.datasets.whole_file import written_whole


class PackedScene(NamedTuple):
    """Where a scene is in the shards.

    Attributes:
        shard: Number of the shard.
        key: Beginning of the names of its files there, without the dot.
        names: What follows in the name of each of its files.
    """

    shard: int
    key: str
    names: dict[Path, str]


def packed_scenes(scenes: Sequence[SampleFiles], scenes_per_shard: int) -> list[PackedScene]:
    """Divide scenes among shards, in their order."""
    return [
        PackedScene(i // scenes_per_shard, f'{i % scenes_per_shard:06d}', _names(scene))
        for i, scene in enumerate(scenes)
    ]


def _names(scene: SampleFiles) -> dict[Path, str]:
    """Return the names of all files of a scene in a shard; they are not those on disk.

    WebDataset cuts names at their first dot, and images of one scene may lie in many folders.
    """
    names = {path: path.name for path in sorted(scene.cloud.glob('*.npy'))}
    names |= {p: f'image{i:06d}{p.suffix}' for i, p in enumerate(scene.images)}
    return names | {p: f'correspondence{i:06d}.npy' for i, p in enumerate(scene.correspondences)}


def sources_of(scenes: Sequence[PackedScene]) -> str:
    """Return 32 hexadecimal digits that differ if a file of the scenes does, or their order.

    Raises:
        OSError: A file is missing.
    """
    files = [
        (scene.key, name, *state_of(file))
        for scene in scenes
        for file, name in scene.names.items()
    ]
    return hashlib.blake2b(repr(files).encode(), digest_size=16).hexdigest()


def write_shard(path: Path, scenes: Sequence[PackedScene]) -> None:
    """Write a shard, whole or not at all.

    Raises:
        OSError: A file cannot be read or written.
    """
    with (
        written_whole(path) as unfinished,
        unfinished.open('wb') as stream,
        TarWriter(stream, encoder=False, mtime=0.0) as tar,
    ):
        for scene in scenes:
            contents = {name: file.read_bytes() for file, name in scene.names.items()}
            tar.write({'__key__': scene.key, **contents})


def describe(path: Path, scenes: Sequence[PackedScene], sources: str) -> dict[str, Any] | None:
    """Return what an index says of a shard; None if it is not there.

    Args:
        path: Of the shard.
        scenes: In it.
        sources: Of the scenes, before they were read.
    """
    if not path.is_file():
        return None
    state = state_of(path)
    return {
        'url': path.name,
        'nsamples': len(scenes),
        'filesize': state.size,
        'modified': state.modified,
        'sources': sources,
    }
