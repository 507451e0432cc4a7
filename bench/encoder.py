"""Our encoder against the published one: time, peak memory, the plan, and time per point."""

import argparse
import itertools
import os
import subprocess
import sys

TUNED_MALLOC = {'MALLOC_MMAP_MAX_': '0', 'MALLOC_TRIM_THRESHOLD_': '100000000000'}
SIZES = ('small', 'base', 'large')
POINTS = (20_000, 60_000, 120_000)
SCALING_POINTS = (20_000, 60_000, 120_000, 250_000, 500_000, 1_000_000)


def main() -> int:
    """Run each case in a process of its own; return 0 if all of them ran."""
    args = _parser().parse_args()
    if args.full:
        args.sizes, args.points, args.threads = SIZES, POINTS, (1, 2)
    failed = 0
    for size, points in itertools.product(args.sizes, args.points):
        for threads, malloc in itertools.product(args.threads, args.malloc):
            failed |= _run(['time', size, points, args.rounds], threads, malloc)
        failed |= _run(['memory', size, points])
    for points in args.points:
        failed |= _run(['plan', 'base', points])
    if args.full:
        failed |= _run(['scaling', 'base', *SCALING_POINTS])
    return failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m bench.encoder', description=__doc__)
    parser.add_argument('--sizes', nargs='+', choices=SIZES, default=['base'])
    parser.add_argument('--points', nargs='+', type=int, default=[60_000])
    parser.add_argument('--threads', nargs='+', type=int, default=[1])
    parser.add_argument(
        '--malloc', nargs='+', choices=('default', 'tuned'), default=['default', 'tuned'],
        help='tuned: memory that was freed is kept instead of given back to the system',
    )  # fmt: skip
    parser.add_argument('--rounds', type=int, default=4, help='of which the shortest counts')
    parser.add_argument('--full', action='store_true', help='all of them; about an hour')
    return parser


def _run(case: list[object], threads: int = 1, malloc: str = 'default') -> int:
    env = {**os.environ, 'OMP_NUM_THREADS': str(threads)}
    env |= TUNED_MALLOC if malloc == 'tuned' else {}
    command = [sys.executable, '-m', 'bench.encoder_case', *map(str, case)]
    return int(subprocess.run(command, env=env, check=False).returncode != 0)


if __name__ == '__main__':
    sys.exit(main())
