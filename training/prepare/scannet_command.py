"""`prepare scannet`: its options, and the jobs they ask for."""

import argparse
from pathlib import Path
from typing import Any

from concerto_ros.errors import ConfigError
from training.prepare.help_text import HelpFormatter
from training.prepare.scannet import ScanNetJob


def add_scannet_command(commands: Any) -> argparse.ArgumentParser:
    """Add the parser of the command to those of all, and return it."""
    parser: argparse.ArgumentParser = commands.add_parser(
        'scannet',
        formatter_class=HelpFormatter,
        help='read official ScanNet scenes',
        description='Read scene folders of ScanNet: the vertices of SCENE_vh_clean_2.ply, images '
        'of SCENE.sens, and ScanNet-20 labels of SCENE_vh_clean_2.labels.ply where there is one.',
    )
    parser.set_defaults(jobs=_jobs)
    parser.add_argument('folders', metavar='SCENE_FOLDER', nargs='+', type=Path)
    parser.add_argument(
        '--every', type=int, default=ScanNetJob(folder=Path()).every, help='frames between images'
    )
    return parser


def _jobs(args: argparse.Namespace) -> list[ScanNetJob]:
    if args.every < 1:
        raise ConfigError(f'--every must be at least 1, got {args.every}')
    return [ScanNetJob(folder=folder, every=args.every) for folder in args.folders]
