"""Prepares many scenes in several processes; a broken one is told and holds up nobody."""

import logging
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from concerto_ros.errors import ConcertoError, ConfigError
from training.datasets.layout import SceneWriter, is_complete, write_split
from training.prepare.scene import SceneReport

_log = logging.getLogger(__name__)


class SceneJob(Protocol):
    """One scene to prepare; it travels to another process."""

    @property
    def name(self) -> str:
        """Name of the scene and of its folders."""

    def write(self, writer: SceneWriter) -> SceneReport:
        """Make the scene and write all its parts."""


class Outcome(NamedTuple):
    """What became of a job: a report, or the reason why there is none."""

    name: str
    report: SceneReport | None
    reason: str


@dataclass(kw_only=True)
class BatchReport:
    """What became of all jobs.

    Attributes:
        written: Report by scene.
        failed: Reason by scene.
        num_complete: Scenes that an earlier run had finished.
    """

    written: dict[str, SceneReport] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    num_complete: int = 0

    @property
    def exit_status(self) -> int:
        """0: every scene is there; 1: some are missing; 2: all are."""
        if not self.failed:
            return 0
        return 1 if self.written or self.num_complete else 2


def prepare_scenes(
    jobs: Sequence[SceneJob], root: Path, split: str, num_workers: int
) -> BatchReport:
    """Write the scenes that are not there yet, then the split of all that are.

    Args:
        jobs: One per scene.
        root: Folder of the data set; made if it is missing.
        split: Name of the split.
        num_workers: Processes; 1: this one.

    Raises:
        ConfigError: Two scenes have the same name.
    """
    _check_names(jobs)
    todo = [job for job in jobs if not is_complete(root, split, job.name)]
    report = BatchReport(num_complete=len(jobs) - len(todo))
    bar = tqdm(total=len(jobs), initial=report.num_complete, unit='scene')
    with bar, logging_redirect_tqdm():
        for outcome in _outcomes(todo, root, split, num_workers):
            _take(report, outcome)
            bar.set_postfix(failed=len(report.failed))
            bar.update()
    scenes = complete_scenes(root, split)
    if scenes:
        write_split(root, split, scenes)
    return report


def complete_scenes(root: Path, split: str) -> list[str]:
    """Return the names of all complete scenes of a split, sorted."""
    folders = (root / split).glob('*')
    return sorted(f.name for f in folders if is_complete(root, split, f.name))


def _check_names(jobs: Iterable[SceneJob]) -> None:
    twice = [name for name, count in Counter(job.name for job in jobs).items() if count > 1]
    if twice:
        raise ConfigError(
            f'expected scenes of different names, found several called {", ".join(twice)}; rename '
            'the folders or prepare them into different roots'
        )


def _take(report: BatchReport, outcome: Outcome) -> None:
    if outcome.report is None:
        report.failed[outcome.name] = outcome.reason
        _log.warning('%s is skipped: %s', outcome.name, outcome.reason)
        return
    report.written[outcome.name] = outcome.report
    for notice in outcome.report.notices:
        _log.warning('%s: %s', outcome.name, notice)


def _outcomes(
    jobs: Sequence[SceneJob], root: Path, split: str, num_workers: int
) -> Iterator[Outcome]:
    run = partial(run_job, root=root, split=split)
    if num_workers == 1:
        yield from map(run, jobs)
        return
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context('spawn')  # threads of torch do not survive a fork
    executor = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_start_worker)
    try:
        futures = {executor.submit(_run_in_worker, run, job): job for job in jobs}
        yield from (_result(future, futures[future]) for future in as_completed(futures))
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def run_job(job: SceneJob, *, root: Path, split: str) -> Outcome:
    """Prepare one scene; whatever is wrong with it becomes the reason in the outcome."""
    try:
        with SceneWriter(root, split, job.name) as writer:
            report = job.write(writer)
    except ConcertoError as err:
        return Outcome(job.name, None, ' '.join(str(err).split()))
    except Exception as err:  # data of strangers breaks in ways that nobody listed
        return Outcome(job.name, None, f'{type(err).__name__}: {" ".join(str(err).split())}')
    return Outcome(job.name, report, '')


def _result(future: 'Future[Outcome]', job: SceneJob) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        return Outcome(
            job.name,
            None,
            'a worker process was killed (out of memory? try fewer --workers); run again to go on',
        )


def _start_worker() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends us


def _run_in_worker(run: 'partial[Outcome]', job: SceneJob) -> Outcome:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(job)
    except KeyboardInterrupt:  # the writer has removed what was half done
        os._exit(130)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
