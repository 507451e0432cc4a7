"""Packs a split into tar shards.

python -m training.datasets.shard_writer data/rooms/splits/train.json shards/rooms-train
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from webdataset import TarWriter

from concerto_ros.errors import ConcertoError
from training.datasets.labelled import join_samples
from training.datasets.shards import INDEX_SUFFIX
from training.datasets.split_files import SampleFiles, read_split


def write_shards(split: Path, out: Path, scenes_per_shard: int) -> Path:
    """Pack the scenes of a split, each once with all its files.

    Args:
        split: ROOT/splits/NAME.json.
        out: FOLDER/NAME; shards are FOLDER/NAME-000000.tar and so on.
        scenes_per_shard: Clouds in a shard; with 32 rooms it has some hundred MB.

    Returns:
        The index, FOLDER/NAME-index.json; it is written last.

    Raises:
        SourceError: The split cannot be read.
        OSError: A file cannot be read or written.
    """
    samples = read_split(split)
    scenes = join_samples(samples)
    out.parent.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, Any]] = []
    places: dict[Path, dict[str, Any]] = {}  # of clouds
    members: dict[Path, str] = {}
    for start in range(0, len(scenes), scenes_per_shard):
        path = out.with_name(f'{out.name}-{len(shards):06d}.tar')
        part = scenes[start : start + scenes_per_shard]
        for key, scene in enumerate(part):
            places[scene.cloud] = {'shard': len(shards), 'key': f'{key:06d}'}
            members |= _member_names(scene)
        _write_shard(path, part, members)
        shards.append({'url': path.name, 'nsamples': len(part), 'filesize': path.stat().st_size})
    entries = [_entry(sample, places[sample.cloud], members) for sample in samples]
    index = out.with_name(out.name + INDEX_SUFFIX)
    unfinished = index.with_name(f'{index.name}.tmp')
    unfinished.write_text(json.dumps({'wids_version': 1, 'shardlist': shards, 'samples': entries}))
    os.replace(unfinished, index)
    return index


def _entry(sample: SampleFiles, place: dict[str, Any], members: dict[Path, str]) -> dict[str, Any]:
    return {
        'name': sample.name,
        **place,
        'images': [members[path] for path in sample.images],
        'correspondences': [members[path] for path in sample.correspondences],
    }


def _member_names(scene: SampleFiles) -> dict[Path, str]:
    """Return the names of all files of a scene in a shard; they are not those on disk.

    WebDataset cuts names at their first dot, and images of one scene may lie in many folders.
    """
    names = {path: path.name for path in scene.cloud.glob('*.npy')}
    names |= {p: f'image{i:06d}{p.suffix}' for i, p in enumerate(scene.images)}
    return names | {p: f'correspondence{i:06d}.npy' for i, p in enumerate(scene.correspondences)}


def _write_shard(path: Path, scenes: Sequence[SampleFiles], members: dict[Path, str]) -> None:
    unfinished = path.with_name(f'{path.name}.tmp')
    with unfinished.open('wb') as stream, TarWriter(stream, encoder=False, mtime=0.0) as tar:
        for key, scene in enumerate(scenes):
            contents = {members[file]: file.read_bytes() for file in _member_names(scene)}
            tar.write({'__key__': f'{key:06d}', **contents})
    os.replace(unfinished, path)


def main(argv: Sequence[str]) -> int:
    """Pack a split and return the exit status; 2: an error, told in one sentence."""
    parser = argparse.ArgumentParser(prog='python -m training.datasets.shard_writer')
    parser.add_argument('split', type=Path, help='ROOT/splits/NAME.json')
    parser.add_argument('out', type=Path, help='FOLDER/NAME of the shards')
    parser.add_argument('--scenes-per-shard', type=_positive, default=32)
    args = parser.parse_args(argv)
    try:
        write_shards(args.split, args.out, args.scenes_per_shard)
    except (ConcertoError, OSError) as err:
        parser.exit(2, f'{parser.prog}: {" ".join(str(err).split())}\n')
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a number of at least 1, got {text}')
    return int(text)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
