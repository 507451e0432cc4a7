"""Packs a split into tar shards.

python -m training.datasets.shard_writer data/rooms/splits/train.json shards/rooms-train
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm import tqdm

from concerto_ros.errors import ConcertoError
from training.datasets.labelled import join_samples
from training.datasets.packed_scene import (
    PackedScene,
    describe,
    packed_scenes,
    sources_of,
    write_shard,
)
from training.datasets.shards import INDEX_SUFFIX
from training.datasets.split_files import SampleFiles, read_split
from training.datasets.whole_file import UNFINISHED, written_whole


def write_shards(split: Path, out: Path, scenes_per_shard: int) -> Path:
    """Pack the scenes of a split, each once with all its files, and tell how far it is.

    What was begun goes on: shards stay as they are while their scenes are as they were. Those of
    an earlier split that are too many are removed.

    Args:
        split: ROOT/splits/NAME.json.
        out: FOLDER/NAME; shards are FOLDER/NAME-000000.tar and so on.
        scenes_per_shard: Clouds in a shard; with 32 rooms it has some hundred MB.

    Returns:
        The index, FOLDER/NAME-index.json; it is there only while the shards are complete.

    Raises:
        SourceError: The split cannot be read.
        OSError: A file cannot be read or written.
    """
    samples = read_split(split)
    scenes = join_samples(samples)
    packed = packed_scenes(scenes, scenes_per_shard)
    parts = [list(part) for _, part in groupby(packed, lambda scene: scene.shard)]
    index = out.with_name(out.name + INDEX_SUFFIX)
    begun = index.with_name(index.name + UNFINISHED)
    if index.is_file():
        os.replace(index, begun)
    _remove_stale(out, len(parts))
    shards = _write_parts(out, parts, begun)
    place = dict(zip((scene.cloud for scene in scenes), packed, strict=True))
    _write_index(index, shards, [_entry(sample, place[sample.cloud]) for sample in samples])
    begun.unlink(missing_ok=True)
    return index


def _write_parts(out: Path, parts: list[list[PackedScene]], begun: Path) -> list[dict[str, Any]]:
    """Write the shards that are not there, and return what the index says of all.

    Args:
        out: See `write_shards`.
        parts: Scenes of each shard.
        begun: Index of the shards that are there; it grows with them.
    """
    there = _indexed(begun)
    for number, part in enumerate(tqdm(parts, unit='shard', disable=None)):
        path = out.with_name(f'{out.name}-{number:06d}.tar')
        sources = sources_of(part)
        if number >= len(there) or there[number] != describe(path, part, sources):
            write_shard(path, part)
            there[number : number + 1] = [describe(path, part, sources)]
            _write_index(begun, there, [])
    return there[: len(parts)]


def _indexed(index: Path) -> list[Any]:
    """Return what an index says of its shards; nothing if it cannot be read."""
    try:
        return list(json.loads(index.read_text())['shardlist'])
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _write_index(path: Path, shards: list[Any], entries: list[dict[str, Any]]) -> None:
    with written_whole(path) as unfinished:
        unfinished.write_text(
            json.dumps({'wids_version': 1, 'shardlist': shards, 'samples': entries})
        )


def _entry(sample: SampleFiles, packed: PackedScene) -> dict[str, Any]:
    return {
        'name': sample.name,
        'shard': packed.shard,
        'key': packed.key,
        'images': [packed.names[path] for path in sample.images],
        'correspondences': [packed.names[path] for path in sample.correspondences],
    }


def _remove_stale(out: Path, num_shards: int) -> None:
    """Remove shards beyond a number, and what a process that was killed left behind."""
    pattern = re.compile(rf'{re.escape(out.name)}-(\d{{6}})\.tar(\..*{UNFINISHED})?')
    for path in out.parent.glob('*'):
        found = pattern.fullmatch(path.name)
        if found and (found[2] or int(found[1]) >= num_shards):
            path.unlink()


def main(argv: Sequence[str]) -> int:
    """Pack a split and return the exit status; 2: an error, told in one sentence."""
    parser = argparse.ArgumentParser(prog='python -m training.datasets.shard_writer')
    parser.add_argument('split', type=Path, help='ROOT/splits/NAME.json')
    parser.add_argument('out', type=Path, help='FOLDER/NAME of the shards')
    parser.add_argument('--scenes-per-shard', type=_positive, default=32)
    args = parser.parse_args(argv)
    try:
        index = write_shards(args.split, args.out, args.scenes_per_shard)
    except (ConcertoError, OSError) as err:
        parser.exit(2, f'{parser.prog}: {" ".join(str(err).split())}\n')
    shards = _indexed(index)
    num_scenes = sum(shard['nsamples'] for shard in shards)
    sys.stdout.write(
        f"{len(shards)} shards of {num_scenes} scenes; name them 'data.splits={args.out}-*.tar'\n"
    )
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a number of at least 1, got {text}')
    return int(text)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
