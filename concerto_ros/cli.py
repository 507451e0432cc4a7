"""The command line: `concerto map SOURCE -o DIR` maps a recording without ROS."""

import argparse
import dataclasses
import json
import logging
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from concerto_ros import __version__
from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import Value, build, flatten, parse_value, read_yaml
from concerto_ros.errors import ConcertoError, ConfigError, FrameError, MapFileError, SourceError
from concerto_ros.io.frame_folder import is_numbered_folder, is_tum_folder
from concerto_ros.io.frame_source import FrameSource, open_source
from concerto_ros.structures import Labels, MapCloud
from concerto_ros.visualization.files import replacing
from concerto_ros.visualization.picture import map_picture
from concerto_ros.visualization.ply import write_ply

if TYPE_CHECKING:
    from concerto_ros.pipeline import PerceptionPipeline

T = TypeVar('T')

_OK, _FAILED, _INTERRUPTED = 0, 2, 130
_OF_ROS = ('use_sim_time', 'qos_overrides.')  # stand in a robot's parameter file, not for us


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for a told error, 130 for Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format='%(levelname)s: %(message)s')
    args = _parse(argv)
    try:
        args.run(args)
    except ConcertoError as err:
        print(f'concerto: {" ".join(str(err).split())}', file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print('concerto: interrupted; what was mapped is not written', file=sys.stderr)
        return _INTERRUPTED
    return _OK


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='concerto', description='Open-vocabulary 3D maps of RGB-D recordings, without ROS.'
    )
    parser.add_argument('--version', action='version', version=f'concerto {__version__}')
    commands = parser.add_subparsers(required=True, metavar='COMMAND', title='commands')
    map_parser = _add_map(commands)
    # A list of positionals ends at the first option for argparse; what follows it is left over.
    args, rest = parser.parse_known_args(argv)
    if options := [text for text in rest if text.startswith('-')]:
        map_parser.error(f'unknown option {" ".join(options)}')
    args.settings += rest
    return args


def _add_map(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        'map',
        help='map a recording',
        allow_abbrev=False,
        description='Map a recording and write DIR/map.ply, DIR/map.png and DIR/summary.json.',
        epilog='Parameters and their defaults: python -m concerto_ros.config. '
        'Example: concerto map kitchen.mcap -o out/kitchen map.voxel_size=0.03',
    )
    parser.set_defaults(run=_run_map)
    parser.add_argument(
        'source',
        metavar='SOURCE',
        type=Path,
        help='rosbag2 folder, .mcap, .db3 or ROS 1 .bag file; folder of frames (TUM, 7-Scenes)',
    )
    parser.add_argument(
        'settings', metavar='NAME=VALUE', nargs='*', help='parameters; they win over --params'
    )
    parser.add_argument(
        '-o', '--output', metavar='DIR', type=Path, required=True, help='made if it is missing'
    )
    parser.add_argument(
        '--params', metavar='FILE', type=Path, help='ROS parameter file, as for the node'
    )
    parser.add_argument(
        '--up',
        default='auto',
        help='what becomes +z: auto (as the recording says), none, x,y,z or FILE.json:KEY; '
        'write --up=-1,0,0 where it begins with a minus',
    )
    parser.add_argument(
        '--every', metavar='N', type=int, default=1, help='take only every N-th frame'
    )
    bags = parser.add_argument_group('bags', 'found by name and type where not given')
    for name in ('color', 'depth', 'camera_info', 'depth_camera_info'):
        bags.add_argument(f'--{name.replace("_", "-")}', metavar='TOPIC', default='')
    bags.add_argument('--map-frame', metavar='FRAME', default='', help='in which to fuse')
    folders = parser.add_argument_group('TUM folders')
    folders.add_argument(
        '--intrinsics', default='', help='fx,fy,cx,cy or a JSON file; else camera.json'
    )
    return parser


def _run_map(args: argparse.Namespace) -> None:
    config = _read_config(args.params, args.settings)
    with open_source(args.source, **_source_options(args, config)) as source:
        # Read when torch is loaded: its threads must not spin for cores that others keep busy.
        os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
        from concerto_ros.pipeline import PerceptionPipeline  # torch takes seconds to import

        pipeline = PerceptionPipeline(config)
        _make_folder(args.output)
        run = _Run(notices=list(pipeline.notices))
        _map_all(source, pipeline, run)
        _write(args.output, source, pipeline, run)


def _read_config(file: Path | None, settings: Iterable[str]) -> ConcertoConfig:
    """Return the defaults, changed by a parameter file, changed by NAME=VALUE texts."""
    values: dict[str, Value] = {}
    if file is not None:
        values = {k: v for k, v in read_yaml(file).items() if not k.startswith(_OF_ROS)}
    params = {p.name: p for p in flatten(ConcertoConfig())}
    for setting in settings:
        name, equals, text = setting.partition('=')
        if not equals:
            raise ConfigError(
                f'expected a parameter as NAME=VALUE, got "{setting}"; map takes one SOURCE'
            )
        values[name] = parse_value(text, params[name]) if name in params else text
    return build(ConcertoConfig, values)


def _source_options(args: argparse.Namespace, config: ConcertoConfig) -> dict[str, Any]:
    """Return what was asked for, as options of `open_source`, which refuses what does not fit."""
    if args.every < 1:
        raise ConfigError(f'--every must be at least 1, got {args.every}')
    options: dict[str, Any] = {'up': args.up}
    if args.every > 1:
        options['keep'] = lambda index: index % args.every == 0
    options |= {k: v for k in ('map_frame', 'intrinsics') if (v := getattr(args, k))}
    names = ('color', 'depth', 'camera_info', 'depth_camera_info')
    topics = {name: getattr(args, name) for name in names if getattr(args, name)}
    if topics or _is_bag(args.source):  # topics for anything else: open_source tells
        from concerto_ros.io.bag_topics import TopicNames

        options['topics'] = TopicNames(**topics)
    if _is_bag(args.source):
        from concerto_ros.io.bag_reader import PairingOptions  # only bags need rosbags

        options['pairing'] = PairingOptions(
            queue_size=config.input.queue_size, slop=config.input.slop
        )
    return options


def _is_bag(path: Path) -> bool:
    return path.exists() and not is_tum_folder(path) and not is_numbered_folder(path)


@dataclasses.dataclass(kw_only=True)
class _Run:
    """What is to be told of one run.

    Attributes:
        notices: Sentences of the pipeline, in order.
        num_frames: Frames that are in the map.
        num_labelled: Points that the network looked at.
        dropped: How often a reason left out a frame.
        stamps_ns: Of the first and the last frame in the map.
        seconds: By stage.
    """

    notices: list[str]
    num_frames: int = 0
    num_labelled: int = 0
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)
    stamps_ns: tuple[int, int] = (0, 0)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    def add_seconds(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.add_seconds(stage, time.perf_counter() - start)

    def timed_items(self, stage: str, items: Iterable[T]) -> Iterator[T]:
        """Yield the items; the time to get each of them counts as the stage."""
        iterator = iter(items)
        while True:
            with self.timed(stage):
                item = next(iterator, None)
            if item is None:
                return
            yield item


def _map_all(source: FrameSource, pipeline: 'PerceptionPipeline', run: _Run) -> None:
    """Integrate all frames, then label them.

    Raises:
        SourceError: No frame is usable; the message says why.
    """
    bar = tqdm(total=source.num_frames_hint, unit='frame', disable=None)  # None: only on terminals
    with bar, logging_redirect_tqdm():
        for frame in run.timed_items('reading', source):
            try:
                report = pipeline.integrate(frame)
            except FrameError as err:
                run.dropped[str(err)] += 1
            else:
                run.num_frames += 1
                run.stamps_ns = (run.stamps_ns[0] or frame.stamp_ns, frame.stamp_ns)
                run.notices += [report.warning] if report.warning else []
                for stage, seconds in report.seconds.items():
                    run.add_seconds(stage, seconds)
            bar.update()
    run.dropped.update(source.dropped)
    if not pipeline.num_voxels:
        reasons = '; '.join(f'{count} x {reason}' for reason, count in run.dropped.most_common())
        raise SourceError(
            f'{source.description} has no usable frame: {reasons or "it holds no images"}'
        )
    with run.timed('semantics'):
        run.num_labelled = pipeline.update_semantics()


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise MapFileError(f'cannot make the folder {str(path)!r}: {err.strerror}') from err


def _write(folder: Path, source: FrameSource, pipeline: 'PerceptionPipeline', run: _Run) -> None:
    """Write all files, each whole or not at all, and print the summary."""
    with run.timed('writing'):
        cloud = pipeline.cloud(source.T_map_fusion)
        write_ply(folder / 'map.ply', cloud)
        map_picture(
            folder / 'map.png',
            cloud,
            pipeline.labels,
            voxel_size=pipeline.config.map.voxel_size,
        )
    if 0 < run.num_labelled < len(cloud):
        run.notices.append(
            f'only the {run.num_labelled:,} of {len(cloud):,} points nearest to the last camera '
            'are labelled: raise semantics.max_points'
        )
    summary = _summary(source, pipeline, run, cloud)
    with replacing(folder / 'summary.json', '.json') as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + '\n', encoding='utf-8')
    _print_summary(summary, folder)


def _summary(
    source: FrameSource, pipeline: 'PerceptionPipeline', run: _Run, cloud: MapCloud
) -> dict[str, Any]:
    """Return the content of summary.json; lengths in metres, times in seconds."""
    first_ns, last_ns = run.stamps_ns
    coord = cloud.coord.astype(np.float64)
    low, high = (np.round(corner, 3).tolist() for corner in (coord.min(axis=0), coord.max(axis=0)))
    return {
        'source': {
            'description': source.description,
            'frame_id': source.frame_id,
            'first_stamp_ns': first_ns,
            'last_stamp_ns': last_ns,
            'T_map_fusion': source.T_map_fusion.tolist(),
        },
        'frames': {'used': run.num_frames, 'dropped': dict(run.dropped.most_common())},
        'map': {
            'points': len(cloud),
            'voxels': pipeline.num_voxels,
            'voxel_size': pipeline.config.map.voxel_size,
            'low': low,
            'high': high,
            'bytes': pipeline.memory_bytes,
            'bytes_per_voxel': round(pipeline.memory_bytes / pipeline.num_voxels, 1),
        },
        'labels': _label_summary(pipeline.labels, cloud.label),
        'language_labels': _label_summary(pipeline.language_labels, cloud.language_label),
        'seconds': {stage: round(seconds, 3) for stage, seconds in run.seconds.items()},
        'notices': run.notices,
        'settings': {p.name: p.value for p in flatten(pipeline.config)},
        'versions': _versions(),
    }


def _label_summary(labels: Labels, ids: np.ndarray) -> dict[str, Any]:
    counts = np.bincount(ids, minlength=len(labels.names))
    return {
        'vocabulary': labels.vocabulary,
        'names': list(labels.names),
        'points': counts.tolist(),
    }


def _versions() -> dict[str, str]:
    import torch

    return {
        'concerto_ros': __version__,
        'python': platform.python_version(),
        'numpy': np.__version__,
        'torch': torch.__version__,
    }


def _print_summary(summary: dict[str, Any], folder: Path) -> None:
    frames, voxels, seconds = summary['frames'], summary['map'], summary['seconds']
    size = ' x '.join(f'{b - a:.1f}' for a, b in zip(voxels['low'], voxels['high'], strict=True))
    print(f'source   {summary["source"]["description"]}')
    print(f'frames   {frames["used"]} used, {sum(frames["dropped"].values())} dropped')
    for reason, count in frames['dropped'].items():
        print(f'           {count} x {reason}')
    print(
        f'map      {voxels["points"]:,} surface points of {voxels["voxels"]:,} voxels of '
        f'{voxels["voxel_size"]:g} m, {size} m'
    )
    print(
        f'memory   {voxels["bytes"] / 1e6:.1f} MB, {voxels["bytes_per_voxel"]:.0f} bytes per voxel'
    )
    print(f'labels   {_label_sentence(summary["labels"])}')
    stages = ', '.join(f'{stage} {value:.1f}' for stage, value in seconds.items())
    print(f'seconds  {stages}')
    for notice in summary['notices']:
        print(f'note     {notice}')
    names = ('map.ply', 'map.png', 'summary.json')
    print(f'written  {", ".join(str(folder / name) for name in names)}')


def _label_sentence(labels: dict[str, Any]) -> str:
    """Return the most frequent names with their shares."""
    total = max(1, sum(labels['points']))
    ranked = sorted(zip(labels['points'], labels['names'], strict=True), key=lambda r: -r[0])
    return ', '.join(f'{name} {count / total:.0%}' for count, name in ranked[:5] if count)


if __name__ == '__main__':
    sys.exit(main())
