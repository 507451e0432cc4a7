"""`prepare video`: its options, and the jobs they ask for."""

import argparse
from pathlib import Path
from typing import Any

from concerto_ros.errors import ConfigError
from training.prepare.help_text import HelpFormatter
from training.prepare.point_maps import load_provider
from training.prepare.video import VideoJob


def add_video_command(commands: Any) -> argparse.ArgumentParser:
    """Add the parser of the command to those of all, and return it."""
    parser: argparse.ArgumentParser = commands.add_parser(
        'video',
        formatter_class=HelpFormatter,
        help='lift clips without depth',
        description='Lift clips without depth, folders of images, to points by a provider of '
        'point maps (see training/prepare/point_maps.py).',
    )
    parser.set_defaults(jobs=_jobs, workers=1)  # weights of a provider take memory
    parser.add_argument('folders', metavar='FOLDER', nargs='+', type=Path)
    parser.add_argument(
        '--provider', metavar='MODULE:FUNCTION', required=True, help='that makes the provider'
    )
    parser.add_argument(
        '--images', type=int, default=VideoJob(folder=Path(), provider='').num_images,
        help='lifted per clip',
    )  # fmt: skip
    return parser


def _jobs(args: argparse.Namespace) -> list[VideoJob]:
    if args.images < 1:
        raise ConfigError(f'--images must be at least 1, got {args.images}')
    load_provider(args.provider)  # a wrong name is bad usage, not one broken clip after another
    return [
        VideoJob(folder=folder, provider=args.provider, num_images=args.images)
        for folder in args.folders
    ]
