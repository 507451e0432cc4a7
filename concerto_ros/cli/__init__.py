"""The command line: maps and searches recordings without ROS, and keeps weights."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from concerto_ros import __version__
from concerto_ros.cli.download_command import add_download_command
from concerto_ros.cli.export_command import add_export_command
from concerto_ros.cli.inspect_command import add_inspect_command
from concerto_ros.cli.map_command import add_map_command
from concerto_ros.cli.search_command import add_search_command
from concerto_ros.errors import ConcertoError

_OK, _FAILED, _INTERRUPTED = 0, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for a told error, 130 for Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format='%(levelname)s: %(message)s')
    args = _parse(argv)
    try:
        args.run(args)
        sys.stdout.flush()
    except ConcertoError as err:
        print(f'concerto: {" ".join(str(err).split())}', file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print(f'concerto: interrupted; {args.interrupted}', file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # who reads, as head does, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
    return _OK


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='concerto', description='Open-vocabulary 3D maps of RGB-D recordings, without ROS.'
    )
    parser.add_argument('--version', action='version', version=f'concerto {__version__}')
    commands = parser.add_subparsers(
        required=True, dest='command', metavar='COMMAND', title='commands'
    )
    adders = {'map': add_map_command, 'search': add_search_command, 'export': add_export_command,
              'download': add_download_command, 'inspect': add_inspect_command}  # fmt: skip
    parsers = {name: add(commands) for name, add in adders.items()}
    # A list of positionals ends at the first option for argparse; what follows it is left over.
    args, rest = parser.parse_known_args(argv)
    unknown = [text for text in rest if text.startswith('-') or 'more' not in args]
    if unknown:
        parsers[args.command].error(f'unknown option {" ".join(unknown)}')
    if rest:
        getattr(args, args.more).extend(rest)
    return args
