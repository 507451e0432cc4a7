"""`prepare rooms`: its options, and the jobs they ask for."""

import argparse
from typing import Any, get_args

from concerto_ros.errors import ConfigError
from concerto_ros.rooms.sketch import Families
from training.prepare.help_text import HelpFormatter
from training.prepare.rooms import RoomJob

_EXAMPLE = RoomJob(seed=0)  # holds the defaults


def add_rooms_command(commands: Any) -> argparse.ArgumentParser:
    """Add the parser of the command to those of all, and return it."""
    parser: argparse.ArgumentParser = commands.add_parser(
        'rooms',
        formatter_class=HelpFormatter,
        help='render synthetic rooms, with labels',
        description='Render synthetic rooms, fuse their noisy frames as the robot would, and '
        'label the cloud (ScanNet-20 and the 55 of rooms) by the exact surface.',
    )
    parser.set_defaults(jobs=_jobs)
    parser.add_argument(
        '--seeds', metavar='A:B', type=_seeds, required=True, help='rooms A to B - 1'
    )
    parser.add_argument('--families', choices=get_args(Families), default=_EXAMPLE.families)
    parser.add_argument('--frames', type=int, default=_EXAMPLE.num_frames, help='fused per room')
    parser.add_argument('--images', type=int, default=_EXAMPLE.num_images, help='kept per room')
    parser.add_argument(
        '--size', metavar='WxH', type=_size, default=f'{_EXAMPLE.width}x{_EXAMPLE.height}',
        help='of the frames [px], of ratio 4:3',
    )  # fmt: skip
    return parser


def _jobs(args: argparse.Namespace) -> list[RoomJob]:
    if not 0 <= args.images <= args.frames or args.frames < 1:
        raise ConfigError(
            f'expected --frames of at least 1 and --images of at most as many, got {args.frames} '
            f'and {args.images}'
        )
    width, height = args.size
    return [
        RoomJob(seed=seed, families=args.families, num_frames=args.frames,
                num_images=args.images, width=width, height=height)
        for seed in args.seeds
    ]  # fmt: skip


def _seeds(text: str) -> range:
    first, colon, end = text.partition(':')
    if not (colon and first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise argparse.ArgumentTypeError(f'expected A:B with A below B, such as 0:200, got {text}')
    return range(int(first), int(end))


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition('x')
    if not (width.isdecimal() and height.isdecimal() and int(width) * 3 == int(height) * 4 > 0):
        raise argparse.ArgumentTypeError(f'expected WxH of ratio 4:3, such as 320x240, got {text}')
    return int(width), int(height)
