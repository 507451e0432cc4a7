"""`prepare bag`: its options, and the jobs they ask for."""

import argparse
from pathlib import Path
from typing import Any

from concerto_ros.config.tree import build
from concerto_ros.errors import ConfigError
from concerto_ros.io.frame_folder import is_numbered_folder, is_tum_folder
from training.prepare.fusion import FusionSettings
from training.prepare.help_text import HelpFormatter
from training.prepare.motion import Spacing
from training.prepare.recordings import RecordingJob

_DEFAULTS = FusionSettings()
_SPACING = Spacing()
_TOPICS = ('color', 'depth', 'camera_info', 'depth_camera_info')


def add_recordings_command(commands: Any) -> argparse.ArgumentParser:
    """Add the parser of the command to those of all, and return it."""
    parser: argparse.ArgumentParser = commands.add_parser(
        'bag',
        formatter_class=HelpFormatter,
        help="fuse the robot's recordings",
        description='Fuse recordings as the robot would and link the images to the cloud; each '
        'recording becomes one scene, named as the recording.',
    )
    parser.set_defaults(jobs=_jobs)
    parser.add_argument(
        'sources', metavar='SOURCE', nargs='+', type=Path,
        help='rosbag2 folder, .mcap, .db3 or ROS 1 .bag file; folder of frames (TUM, 7-Scenes)',
    )  # fmt: skip
    parser.add_argument(
        '--up', default='auto',
        help='what becomes +z: auto (as the recording says), none, x,y,z or FILE.json:KEY; '
        'write --up=-1,0,0 where it begins with a minus',
    )  # fmt: skip
    parser.add_argument('--every', type=int, default=1, help='take only every n-th frame')
    _add_fusion(parser.add_argument_group('fusion'))
    _add_images(parser.add_argument_group('images'))
    bags = parser.add_argument_group('bags', 'found by name and type where not given')
    for name in _TOPICS:
        bags.add_argument(f'--{name.replace("_", "-")}', metavar='TOPIC', default='')
    folders = parser.add_argument_group('TUM folders')
    folders.add_argument(
        '--intrinsics', default='', help='fx,fy,cx,cy or a JSON file; else camera.json'
    )
    return parser


def _add_fusion(group: Any) -> None:
    depth = _DEFAULTS.depth
    group.add_argument('--min-depth', type=float, default=depth.min, help='[m]')
    group.add_argument('--max-depth', type=float, default=depth.max, help='[m]')
    group.add_argument('--stride', type=int, default=depth.stride, help='every n-th pixel')
    group.add_argument('--voxel-size', type=float, default=_DEFAULTS.map.voxel_size, help='[m]')


def _add_images(group: Any) -> None:
    group.add_argument(
        '--translation', type=float, default=_SPACING.translation, help='between images [m]'
    )
    group.add_argument(
        '--rotation', type=float, default=_SPACING.rotation_deg, help='or between them [degrees]'
    )
    group.add_argument(
        '--max-images', type=int, default=_SPACING.max_images,
        help='per scene; where more would be, they are taken farther apart',
    )  # fmt: skip


def _jobs(args: argparse.Namespace) -> list[RecordingJob]:
    _check(args)
    settings = build(
        FusionSettings,
        {
            'depth.min': args.min_depth,
            'depth.max': args.max_depth,
            'depth.stride': args.stride,
            'map.voxel_size': args.voxel_size,
        },
    )
    spacing = Spacing(
        translation=args.translation, rotation_deg=args.rotation, max_images=args.max_images
    )
    return [
        RecordingJob(
            source=source, options=_options(args, source), every=args.every, settings=settings,
            spacing=spacing,
        )
        for source in args.sources
    ]  # fmt: skip


def _check(args: argparse.Namespace) -> None:
    for name in ('translation', 'rotation'):
        if not getattr(args, name) > 0:
            raise ConfigError(f'--{name} must be above 0, got {getattr(args, name)}')
    if args.every < 1 or args.max_images < 0:
        raise ConfigError(
            f'--every must be at least 1 and --max-images at least 0, got {args.every} and '
            f'{args.max_images}'
        )


def _options(args: argparse.Namespace, source: Path) -> dict[str, Any]:
    """Return what was asked for, as options of `open_source`.

    Raises:
        ConfigError: Topics are given for a folder of frames.
    """
    options: dict[str, Any] = {'up': args.up}
    if args.intrinsics:
        options['intrinsics'] = args.intrinsics
    topics = {name: getattr(args, name) for name in _TOPICS if getattr(args, name)}
    if topics and (is_tum_folder(source) or is_numbered_folder(source)):
        names = ', '.join(f'--{name.replace("_", "-")}' for name in topics)
        raise ConfigError(f'{source} is a folder of frames without topics; leave out {names}')
    if topics:
        from concerto_ros.io.bag_topics import TopicNames

        options['topics'] = TopicNames(**topics)
    return options
