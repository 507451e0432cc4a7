"""Commands that are run once: what is done stays done, if the same command made it."""

import logging
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from concerto_ros.config.tree import read_plain_yaml
from concerto_ros.errors import ConcertoError, ConfigError
from training.checkpoint import LAST
from training.jobs.processes import Processes
from training.made_by import difference, has_record, write_made_by
from training.stopping import StopRequestedError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One command.

    Attributes:
        name: For people, and of its log and record, which lie beside `done`.
        arguments: Module and arguments, for `python -m`.
        done: File that is there once the command has succeeded.
    """

    name: str
    arguments: tuple[str, ...]
    done: Path

    def beside(self, suffix: str) -> Path:
        """Return a file of this job beside what it makes."""
        return self.done.with_name(f'{self.name.replace(" ", "_")}{suffix}')

    @property
    def record(self) -> Path:
        """Where it is kept what made `done`; there as soon as the command begins."""
        return self.beside('.made_by.json')

    def made_by(self) -> dict[str, str]:
        """Return module and arguments by name, with what files of settings hold.

        Raises:
            ConfigError: Such a file cannot be read.
        """
        module, *arguments = self.arguments
        values = {'module': module}
        for text in arguments:
            name, equals, value = text.partition('=')
            if not equals and text.endswith('.yaml'):
                values |= {key: str(found) for key, found in read_plain_yaml(text).items()}
            else:
                values[name] = value
        return values


def check_jobs(jobs: Sequence[Job], folder: Path) -> None:
    """Refuse jobs that were begun or done by other commands.

    Args:
        jobs: All of them.
        folder: That is to be deleted to begin anew.

    Raises:
        ConfigError: A job was made by other arguments, or its settings cannot be read.
    """
    for job in jobs:
        if not has_record(job.record):
            if job.done.exists():
                _log.warning('%s: kept as it is; nothing tells what made it', job.done)
        elif how := difference(job.record, job.made_by()):
            raise ConfigError(
                f'{folder} holds other results: of "{job.name}" {how}; choose another '
                'jobs.output or delete that folder'
            )


def run_jobs(jobs: Sequence[Job], parallel: int, threads: int) -> None:
    """Run the jobs that are not done.

    Args:
        jobs: They do not need each other.
        parallel: How many at once.
        threads: Of each on a CPU.

    Raises:
        ConcertoError: One failed; the others are run to their end first.
        StopRequestedError: Ctrl-C or SIGTERM came; what ran has ended.
    """
    open_jobs = [job for job in jobs if not job.done.exists()]
    with Processes() as processes, ThreadPoolExecutor(parallel) as pool:
        failed = [x for x in pool.map(lambda job: _run(job, threads, processes), open_jobs) if x]
    if processes.stopped:
        raise StopRequestedError('stopped by a signal; the same command goes on from there')
    if failed:
        raise ConcertoError(f'failed: {"; ".join(failed)}. Mend the cause and run it again')


def _run(job: Job, threads: int, processes: Processes) -> str:
    """Run one job; return what went wrong, or nothing."""
    if processes.stopped:
        return ''
    write_made_by(job.record, job.made_by())
    log = job.beside('.log')
    started = time.perf_counter()
    with log.open('a') as file:
        status = processes.run(
            [sys.executable, '-m', *job.arguments], file,
            {**os.environ, 'OMP_NUM_THREADS': str(threads)},
        )  # fmt: skip
    if status and processes.stopped:
        return ''
    seconds = time.perf_counter() - started
    _log.info('%s: %s after %.0f s', job.name, 'done' if status == 0 else 'failed', seconds)
    if status == 0 and job.done.exists():
        return ''
    if not job.done.with_name(LAST).exists():  # from which it would go on
        job.record.unlink()  # mending the cause may change the command
    return f'{job.name} (status {status}, see {log})'
