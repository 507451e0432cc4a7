"""Jobs that need each other, stage after stage."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from concerto_ros.errors import ConcertoError
from training.command import read_settings
from training.config import TrainingConfig
from training.evaluation.config import ProbeConfig
from training.jobs.jobs import Job, check_jobs, run_jobs
from training.masked_scene.config import MaskedConfig
from training.protocol.config import ProtocolConfig
from training.search_quality.config import SearchQualityConfig
from training.stopping import StopRequestedError
from training.translation.config import TranslateConfig

T = TypeVar('T')
_FAILED, _STOPPED = 2, 143
_SETTINGS: dict[str, type] = {
    'training.pretrain': TrainingConfig,
    'training.pretrain_masked': MaskedConfig,
    'training.probe': ProbeConfig,
    'training.evaluate': ProtocolConfig,
    'training.translate': TranslateConfig,
    'training.search_quality': SearchQualityConfig,
}


def run_stages(
    stages: Sequence[Sequence[Job]], folder: Path, *, parallel: int, threads: int
) -> None:
    """Run what is not done; wrong settings of any job are refused before the first one runs.

    Args:
        stages: The jobs of one need only what is before it.
        folder: Of everything they make.
        parallel: How many at once.
        threads: Of each on a CPU.

    Raises:
        ConcertoError: Settings are wrong, a job failed, or the folder cannot be written.
        StopRequestedError: Ctrl-C or SIGTERM came.
    """
    jobs = [job for stage in stages for job in stage]
    for module, *arguments in (job.arguments for job in jobs):
        if module in _SETTINGS:
            read_settings(_SETTINGS[module], arguments, module)
    with output_told(folder):
        check_jobs(jobs, folder)
        for stage in stages:
            run_jobs(stage, parallel, threads)


@contextmanager
def output_told(folder: Path) -> Iterator[None]:
    """Name the setting whose folder cannot be written, as a ConcertoError."""
    try:
        yield
    except OSError as err:
        raise ConcertoError(
            f'"jobs.output" {folder} cannot be written ({err.strerror}); make room there '
            'and run it again, or choose another'
        ) from err


def run_resumable(prog: str, tree: type[T], run: Callable[[T], str], argv: Sequence[str]) -> int:
    """Run a command that goes on where it stopped, and print what it found.

    Args:
        prog: Module of the command.
        tree: Its settings.
        run: From settings to what is printed at the end.
        argv: CONFIG.yaml and name=value.

    Returns:
        0, 2 after an error, told in one sentence, or 143 if a signal stopped it.
    """
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(message)s', datefmt='%H:%M:%S')
    try:
        print(run(read_settings(tree, argv, prog)))
    except ConcertoError as err:
        print(f'{prog}: {" ".join(str(err).split())}', file=sys.stderr)
        return _STOPPED if isinstance(err, StopRequestedError) else _FAILED
    return 0
