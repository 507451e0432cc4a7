"""The command line of `python -m training.prepare`."""

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from concerto_ros.errors import ConcertoError
from training.prepare.batch import BatchReport, prepare_scenes
from training.prepare.recordings_command import add_recordings_command
from training.prepare.rooms_command import add_rooms_command
from training.prepare.scannet_command import add_scannet_command
from training.prepare.video_command import add_video_command
from training.stopping import StopRequestedError, stop_at_once

_log = logging.getLogger(__name__)
_COMMANDS = (add_recordings_command, add_rooms_command, add_scannet_command, add_video_command)
_BAD_USAGE, _STOPPED = 2, 143


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare scenes and return the exit status.

    0: all scenes are there; 1: some failed; 2: all failed, or bad usage; 143: stopped by a
    signal.
    """
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    args = _parser().parse_args(argv)
    try:
        with stop_at_once():
            report = prepare_scenes(args.jobs(args), args.output, args.split, args.workers)
    except (ConcertoError, OSError) as err:
        _log.error('prepare: %s', ' '.join(str(err).split()))
        return _STOPPED if isinstance(err, StopRequestedError) else _BAD_USAGE
    _tell(report, args.output / 'splits' / f'{args.split}.json')
    return report.exit_status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m training.prepare',
        description='Turn recordings, public data and synthetic rooms into the layout that '
        'training reads. Scenes that are complete are skipped, so that a stopped run goes on; '
        'those that were made from another source or with other options are refused.',
    )
    commands = parser.add_subparsers(required=True, metavar='COMMAND', title='commands')
    for add in _COMMANDS:
        _add_common_options(add(commands))
    return parser


def _add_common_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '-o', '--output', metavar='ROOT', type=Path, required=True, help='folder of the data set'
    )
    parser.add_argument('--split', default='train', help='that the scenes belong to')
    parser.add_argument(
        '--workers', type=_positive, default=parser.get_default('workers') or _num_processors(),
        help='scenes made at once',
    )  # fmt: skip


def _num_processors() -> int:
    """Return how many processors this process may use, or all where the system does not tell."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a number of at least 1, got {text}')
    return int(text)


def _tell(report: BatchReport, split: Path) -> None:
    reports = report.written.values()
    _log.info(
        '%d scenes written with %d points, %d images and %d links; %d were complete%s',
        len(reports), sum(r.num_points for r in reports), sum(r.num_images for r in reports),
        sum(r.num_links for r in reports), report.num_complete,
        f'; see {split}' if split.exists() else '',
    )  # fmt: skip
    if report.failed:
        _log.warning('%d scenes failed:', len(report.failed))
        for name, reason in report.failed.items():
            _log.warning('  %s: %s', name, reason)
