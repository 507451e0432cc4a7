"""Commands that are run once: what is done stays done."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from concerto_ros.errors import ConcertoError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One command.

    Attributes:
        name: For people, and of its log.
        arguments: Module and arguments, for `python -m`.
        done: File that is there once the command has succeeded.
    """

    name: str
    arguments: tuple[str, ...]
    done: Path


def run_jobs(jobs: Sequence[Job], parallel: int, threads: int) -> None:
    """Run the jobs that are not done.

    Args:
        jobs: They do not need each other.
        parallel: How many at once.
        threads: Of each on a CPU.

    Raises:
        ConcertoError: One failed; the others are run to their end first.
    """
    open_jobs = [job for job in jobs if not job.done.exists()]
    with ThreadPoolExecutor(parallel) as pool:
        failed = [x for x in pool.map(lambda job: _run(job, threads), open_jobs) if x]
    if failed:
        raise ConcertoError(f'failed: {"; ".join(failed)}. Mend the cause and run it again')


def _run(job: Job, threads: int) -> str:
    """Run one job; return what went wrong, or nothing."""
    log = job.done.parent / f'{job.name.replace(" ", "_")}.log'
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with log.open('a') as file:
        status = subprocess.run(
            [sys.executable, '-m', *job.arguments], stdout=file, stderr=subprocess.STDOUT,
            env={**os.environ, 'OMP_NUM_THREADS': str(threads)}, check=False,
        ).returncode  # fmt: skip
    seconds = time.perf_counter() - started
    _log.info('%s: %s after %.0f s', job.name, 'done' if status == 0 else 'failed', seconds)
    if status == 0 and job.done.exists():
        return ''
    return f'{job.name} (status {status}, see {log})'
