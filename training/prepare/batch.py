"""Prepares many scenes in several processes; a broken one is told and holds up nobody."""

import logging
import multiprocessing
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from concerto_ros.errors import ConcertoError, ConfigError
from training.datasets.layout import SceneWriter, is_complete, write_split
from training.made_by import write_made_by
from training.prepare.made_by import check_made_by, made_by, record_file
from training.prepare.scene import SceneJob, SceneReport
from training.prepare.workspace import workspace

_log = logging.getLogger(__name__)


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
        ConfigError: Two scenes have the same name, a scene that is there was made from another
            source or with other options, or the root cannot be written.
    """
    _check_names(jobs)
    complete = {job.name for job in jobs if is_complete(root, split, job.name)}
    check_made_by([job for job in jobs if job.name in complete], root, split)
    todo = [job for job in jobs if job.name not in complete]
    report = BatchReport(num_complete=len(complete))
    bar = tqdm(total=len(jobs), initial=report.num_complete, unit='scene', disable=None)
    with workspace(root, split), bar, logging_redirect_tqdm():
        for name in complete:  # of which a process that was killed may have left something
            shutil.rmtree(root / '.unfinished' / split / name, ignore_errors=True)
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
    executor = ProcessPoolExecutor(num_workers, mp_context=context)
    try:
        with _what_children_inherit():
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
        made = made_by(job)  # of the source as it is now; it may grow meanwhile
        with SceneWriter(root, split, job.name) as writer:
            report = job.write(writer)
            write_made_by(record_file(root, split, job.name), made)
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


@contextmanager
def _what_children_inherit() -> Iterator[None]:
    """Let processes that begin meanwhile use one thread, and not end by Ctrl-C but by us."""
    name = 'OMP_NUM_THREADS'
    before = os.environ.get(name)
    os.environ[name] = '1'
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _run_in_worker(run: 'partial[Outcome]', job: SceneJob) -> Outcome:
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return run(job)
    except KeyboardInterrupt:  # the writer has removed what was half done
        os._exit(130)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the pool sends another one
    raise KeyboardInterrupt
