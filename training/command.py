"""What the commands that train share: settings, ranks, logs, exit status."""

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from concerto_ros.config.tree import (
    Value,
    build,
    dump_plain_yaml,
    find_param,
    flatten,
    parse_value,
    read_plain_yaml,
)
from concerto_ros.errors import ConcertoError, ConfigError
from training.distributed import choose_device, process_group, rank
from training.stopping import StopRequestedError, stop_at_once
from training.trainer import Task, Trainer

T = TypeVar('T')
_FAILED, _STOPPED = 2, 143


def run_command(
    prog: str, tree: type[T], make_task: Callable[[T, torch.device], Task], argv: Sequence[str]
) -> int:
    """Train as the settings say.

    Args:
        prog: Module of the command.
        tree: Its settings, with a section `run`.
        make_task: From settings and device to what is trained.
        argv: CONFIG.yaml and name=value.

    Returns:
        0: trained to the last step. 2: an error, told in one sentence. 143: stopped by a signal,
        the same command goes on.
    """
    try:
        config = read_settings(tree, argv, prog)
        with stop_at_once():
            _train(config, make_task)
    except StopRequestedError as err:
        logging.getLogger(prog).warning('%s', err)
        return _STOPPED
    except ConcertoError as err:
        print(f'{prog}: {" ".join(str(err).split())}', file=sys.stderr)
        return _FAILED
    return 0


def _train(config: T, make_task: Callable[[T, torch.device], Task]) -> None:
    run: Any = getattr(config, 'run')  # noqa: B009 (T is any tree of settings)
    device = choose_device(run.device)
    with process_group(device):
        _log_to_terminal()
        if rank() == 0:
            _prepare_folder(Path(run.output))
        trainer = Trainer(make_task(config, device), device)
        if rank() == 0 and trainer.first_step < run.num_steps:
            _write_settings(Path(run.output), config)
        trainer.train()


class Report(Protocol):
    """What a command found."""

    def table(self) -> str:
        """Return the table for people."""

    def for_the_node(self) -> str:
        """Return what of it the node can use."""


def run_once(prog: str, tree: type[T], run: Callable[[T], Report], argv: Sequence[str]) -> int:
    """Run what starts anew when it was stopped, and print what it found.

    Args:
        prog: Module of the command.
        tree: Its settings, with a section `run`.
        run: From settings to what was found.
        argv: CONFIG.yaml and name=value.

    Returns:
        0, 2 after an error, told in one sentence, or 143 if a signal stopped it.
    """
    _log_to_terminal()
    try:
        config = read_settings(tree, argv, prog)
        with stop_at_once():
            report = run(config)
    except StopRequestedError:
        print(f'{prog}: stopped by a signal; the same command starts anew', file=sys.stderr)
        return _STOPPED
    except ConcertoError as err:
        print(f'{prog}: {" ".join(str(err).split())}', file=sys.stderr)
        return _FAILED
    output = getattr(config, 'run').output  # noqa: B009 (T is any tree of settings)
    print(f'{report.table()}{report.for_the_node()}written to {output}')
    return 0


def read_settings(tree: type[T], argv: Sequence[str], prog: str) -> T:
    """Return the settings of a command line: CONFIG.yaml, changed by name=value.

    Raises:
        ConfigError: A file, name or value is wrong.
    """
    parser = argparse.ArgumentParser(prog=f'python -m {prog}')
    parser.add_argument('config', type=Path, help='YAML of what differs from the defaults')
    parser.add_argument('settings', nargs='*', metavar='name=value', help='changes to it')
    args = parser.parse_args(argv)
    values = read_plain_yaml(args.config)
    with _source_told(str(args.config)):
        config = build(tree, values)
    params = {p.name: p for p in flatten(config)}
    changes: dict[str, Value] = {}
    for text in args.settings:
        name, equals, value = text.partition('=')
        if not equals:
            raise ConfigError(f'expected name=value after {args.config}, got "{text}"')
        with _source_told(text):
            changes[name] = parse_value(value, find_param(params, name))
    return build(tree, changes, config)


@contextmanager
def _source_told(source: str) -> Iterator[None]:
    """Put in front of an error where the setting stands."""
    try:
        yield
    except ConfigError as err:
        raise ConfigError(f'{source}: {err}') from err


def _prepare_folder(folder: Path) -> None:
    """Make the folder of a run and a file in it, which is gone at once."""
    with _output_told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


def _write_settings(folder: Path, config: Any) -> None:
    with _output_told(folder):
        (folder / 'settings.yaml').write_text(dump_plain_yaml(config))


@contextmanager
def _output_told(folder: Path) -> Iterator[None]:
    """Name the setting whose folder cannot be written."""
    try:
        yield
    except OSError as err:
        raise ConfigError(f'"run.output" {folder} cannot be written: {err.strerror}') from err


def _log_to_terminal() -> None:
    """Show information of the first rank, and warnings of all."""
    level = logging.INFO if rank() == 0 else logging.WARNING
    logging.basicConfig(
        level=level, format='%(asctime)s %(message)s', datefmt='%H:%M:%S', stream=sys.stdout,
        force=True,
    )  # fmt: skip
