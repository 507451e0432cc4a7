"""`concerto map`: its options, and what they ask of the rest."""

import argparse
import json
import os
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concerto_ros.cli.map_run import MapRun, is_moved, map_all
from concerto_ros.cli.map_summary import print_summary, summarise
from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import Value, build, flatten, parse_value, read_yaml
from concerto_ros.errors import ConfigError, MapFileError
from concerto_ros.io.frame_folder import is_numbered_folder, is_tum_folder
from concerto_ros.io.frame_source import FrameSource, open_source
from concerto_ros.visualization.files import replacing
from concerto_ros.visualization.picture import map_picture
from concerto_ros.visualization.ply import write_ply

if TYPE_CHECKING:
    from concerto_ros.map_saver import MapSaver
    from concerto_ros.pipeline import PerceptionPipeline

_OF_NODE = {  # what does the same here
    'map.load': 'give --continue MAP to go on with a map',
    'map.autosave_path': 'the map is saved in the folder of --output',
}
_OF_ROS = ('use_sim_time', 'qos_overrides.')  # stand in a robot's parameter file, not for us


def add_map_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser to those of all commands, and return it."""
    parser: argparse.ArgumentParser = commands.add_parser(
        'map',
        help='map a recording',
        allow_abbrev=False,
        description='Map a recording and write DIR/map.ply, DIR/map.png, DIR/map (a folder, for '
        'concerto search and to go on from) and DIR/summary.json.',
        epilog='Parameters and their defaults: python -m concerto_ros.config. '
        'Example: concerto map kitchen.mcap -o out/kitchen map.voxel_size=0.03',
    )
    parser.set_defaults(
        run=_run_map, interrupted='what was mapped is not written', more='settings'
    )
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
        '--continue',
        metavar='MAP',
        dest='continues',
        type=Path,
        help='go on with a map that "concerto map" or the node saved, by its settings; what is '
        'mapped is written to the output, which may be the same',
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
    folders = parser.add_argument_group('TUM folders')
    folders.add_argument(
        '--intrinsics', default='', help='fx,fy,cx,cy or a JSON file; else camera.json'
    )
    return parser


def _run_map(args: argparse.Namespace) -> None:
    config = _read_config(args.params, args.settings, _saved_settings(args.continues))
    with open_source(args.source, **_source_options(args, config)) as source:
        # Read when torch is loaded: its threads must not spin for cores that others keep busy.
        os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
        from concerto_ros.pipeline import PerceptionPipeline  # torch takes seconds to import

        with (
            closing(PerceptionPipeline(config)) as pipeline,
            _saver(args.output) as saver,  # now, so that hours of work do not end at a locked door
        ):
            run = MapRun(notices=list(pipeline.notices))
            if args.continues:
                run.load(pipeline, args.continues)
            map_all(source, pipeline, run)
            _save_map(saver, source, pipeline, run, args.continues)
            args.interrupted = 'the map is saved, and nothing else'
            _write(args.output, source, pipeline, run)


def _saved_settings(path: Path | None) -> dict[str, Value]:
    """Return the settings of a map that is to be continued, but for those of the machine."""
    if path is None:
        return {}
    from concerto_ros.storage import MapFolder, find_map  # torch takes seconds to import

    known = {p.name for p in flatten(ConcertoConfig())} - {'map.device', *_OF_NODE}
    settings = MapFolder.open(find_map(path)).info.settings
    return {name: value for name, value in settings.items() if name in known}


def _read_config(
    file: Path | None, settings: Iterable[str], saved: dict[str, Value]
) -> ConcertoConfig:
    """Return the defaults, changed by those of a map, by a parameter file, by NAME=VALUE texts."""
    values = dict(saved)
    if file is not None:
        values |= {k: v for k, v in read_yaml(file).items() if not k.startswith(_OF_ROS)}
    params = {p.name: p for p in flatten(ConcertoConfig())}
    for setting in settings:
        name, equals, text = setting.partition('=')
        if not equals:
            raise ConfigError(
                f'expected a parameter as NAME=VALUE, got "{setting}"; map takes one SOURCE'
            )
        values[name] = parse_value(text, params[name]) if name in params else text
    for name, instead in _OF_NODE.items():
        if values.get(name):
            raise ConfigError(f'{name} is for the node alone: {instead}, and set "{name}="')
    return build(ConcertoConfig, values)


def _source_options(args: argparse.Namespace, config: ConcertoConfig) -> dict[str, Any]:
    """Return what was asked for, as options of `open_source`, which refuses what does not fit."""
    if args.every < 1:
        raise ConfigError(f'--every must be at least 1, got {args.every}')
    options: dict[str, Any] = {'up': args.up}
    if args.every > 1:
        options['keep'] = lambda index: index % args.every == 0
    if args.intrinsics:
        options['intrinsics'] = args.intrinsics
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
        options['frames'] = config.frames
    return options


def _is_bag(path: Path) -> bool:
    return path.exists() and not is_tum_folder(path) and not is_numbered_folder(path)


def _saver(folder: Path) -> 'MapSaver':
    """Make the folder of all output, into which nobody else may save a map from now on."""
    from concerto_ros.map_saver import MapSaver
    from concerto_ros.storage import FOLDER_NAME

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise MapFileError(f'cannot make the folder {str(folder)!r}: {err.strerror}') from err
    return MapSaver(folder / FOLDER_NAME)


def _save_map(
    saver: 'MapSaver',
    source: FrameSource,
    pipeline: 'PerceptionPipeline',
    run: MapRun,
    continues: Path | None,
) -> None:
    from concerto_ros.storage import MapFolder, find_map

    frame_id = pipeline.config.frames.map if is_moved(source) else source.frame_id
    before = MapFolder.open(find_map(continues)).info.frame_id if continues else frame_id
    if before != frame_id:
        run.notices.append(
            f'{continues} is in the frame "{before}" and the recording in "{frame_id}", which was '
            'taken for the same place: check that both lie where they should, or map the '
            'recording by itself'
        )
    with run.timed('saving'):
        saver.save(pipeline, frame_id)


def _write(folder: Path, source: FrameSource, pipeline: 'PerceptionPipeline', run: MapRun) -> None:
    """Write all other files, each whole or not at all, and print the summary."""
    with run.timed('writing'):
        cloud = pipeline.cloud()
        write_ply(folder / 'map.ply', cloud)
        map_picture(
            folder / 'map.png',
            cloud,
            pipeline.labels,
            voxel_size=pipeline.config.map.voxel_size,
        )
    summary = summarise(source, pipeline, run, cloud)
    with replacing(folder / 'summary.json', '.json') as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + '\n', encoding='utf-8')
    print_summary(summary, folder)
