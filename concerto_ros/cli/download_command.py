"""`concerto download`: the published weights, which nothing else downloads."""

import argparse
from typing import Any

from tqdm import tqdm

from concerto_ros.published_weights import PUBLISHED, download_weights, sha256_of


def add_download_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser to those of all commands, and return it."""
    sizes = ', '.join(f'{w.name} {w.megabytes:g} MB' for w in PUBLISHED.values())
    parser: argparse.ArgumentParser = commands.add_parser(
        'download',
        help='download published weights',
        allow_abbrev=False,
        description='Download published weights into the cache, where their names find them. '
        f'There are: {sizes}.',
        epilog='Example: concerto download base. What was interrupted goes on where it ended.',
    )
    parser.set_defaults(
        run=_run_download, interrupted='what came is kept, and the next call goes on from there'
    )
    parser.add_argument('names', metavar='NAME', nargs='+', help=', '.join(PUBLISHED))
    return parser


def _run_download(args: argparse.Namespace) -> None:
    for name in args.names:
        if name in PUBLISHED:
            weights = PUBLISHED[name]
            print(f'{name}: {weights.megabytes:g} MB from {weights.url}')
        with tqdm(unit='B', unit_scale=True, disable=None, leave=False) as bar:

            def show(done: int, total: int, bar: Any = bar) -> None:
                bar.total = total
                bar.update(done - bar.n)

            path = download_weights(name, show)
        print(f'{path}  sha256 {sha256_of(path)}')
