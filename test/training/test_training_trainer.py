"""The loop goes on exactly, stops cleanly, and never loses the last whole state."""

import dataclasses
import errno
import os
import re
import resource
import signal
from contextlib import contextmanager
from functools import partial
from typing import ClassVar

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from training_ranks import run_ranks

from concerto_ros.errors import CheckpointError, ConcertoError
from training import checkpoint, progress
from training.checkpoint import LAST, load_state
from training.config import (
    DataConfig,
    DistillationConfig,
    OptimizerConfig,
    RunConfig,
    TrainingConfig,
)
from training.distributed import process_group
from training.optimizer import make_optimizer
from training.schedules import step_values
from training.stopping import StopRequestedError
from training.structures import LossTerms
from training.trainer import Trainer

CPU = torch.device('cpu')


@dataclasses.dataclass
class NumberBatch:
    number: torch.Tensor
    skipped: tuple[str, ...] = ()
    num_points: int = 1

    def to(self, device):
        return dataclasses.replace(self, number=self.number.to(device))


class Pull(nn.Module):
    """Pulls a student towards random places; dropout uses the global random numbers."""

    weights: ClassVar = {'pull': 1.0}

    def __init__(self):
        super().__init__()
        self.student = nn.Linear(4, 4)
        self.teacher = nn.Linear(4, 4).requires_grad_(False)

    def forward(self, batch, values):
        aim = nn.functional.dropout(batch.number, 0.5)
        loss = (self.student(aim) - self.teacher(aim) - 1).square().mean()
        return LossTerms(loss, {'pull': loss.detach(), 'reach': aim.detach().abs().max()})

    def update_teacher(self, momentum):
        with torch.no_grad():
            self.teacher.weight.lerp_(self.student.weight, 1 - momentum)


class PullTask:
    """A real task of a few numbers."""

    def __init__(self, folder, num_steps=4, poison=None, **run):
        torch.manual_seed(7)
        self.config = TrainingConfig(
            run=RunConfig(
                output=str(folder), num_steps=num_steps, precision='fp32', log_every=1, **run
            ),
            data=DataConfig(accumulation=2),
            optimizer=OptimizerConfig(clip=1.0),
        )
        self.objective = Pull()
        self.optimizer = make_optimizer(self.objective, (1,), OptimizerConfig())
        self.network_config = {}
        self.poison = poison
        self.read = 0

    def values(self, step):
        return step_values(step, 4, OptimizerConfig(), DistillationConfig())

    def batches(self, first_step):
        for index in range(first_step * 2, self.config.run.num_steps * 2):
            number = torch.randn(3, 4, generator=torch.Generator().manual_seed(index))
            if index // 2 == self.poison:
                number[0, 0] = float('nan')
            self.read += 1
            yield NumberBatch(number)


def train(task):
    Trainer(task, CPU).train()
    return {name: t.clone() for name, t in task.objective.state_dict().items()}


def assert_same(first, second):
    assert list(first) == list(second)
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_two_and_two_steps_are_four(tmp_path):
    whole = train(PullTask(tmp_path / 'whole'))
    train(PullTask(tmp_path / 'parts', num_steps=2))
    assert load_state(tmp_path / 'parts' / LAST).step == 2
    assert_same(train(PullTask(tmp_path / 'parts')), whole)


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    whole = train(PullTask(tmp_path))
    task = PullTask(tmp_path)
    assert_same(train(task), whole)
    assert task.read == 0


def test_the_teacher_follows_and_the_student_learns(tmp_path):
    before = PullTask(tmp_path).objective.state_dict()
    after = train(PullTask(tmp_path))
    assert not torch.equal(before['student.weight'], after['student.weight'])
    assert not torch.equal(before['teacher.weight'], after['teacher.weight'])


def interrupt(task, number):
    """Let a signal come while a batch is read."""
    batches = task.batches

    def interrupted(first_step):
        for index, batch in enumerate(batches(first_step)):
            if index == number:
                signal.raise_signal(signal.SIGTERM)
            yield batch

    task.batches = interrupted


def test_a_signal_saves_and_stops(tmp_path):
    task = PullTask(tmp_path, save_every=100)
    interrupt(task, 2)
    with pytest.raises(StopRequestedError, match='after step 2 of 4; the same command goes on'):
        train(task)
    assert load_state(tmp_path / LAST).step == 2
    assert_same(train(PullTask(tmp_path)), train(PullTask(tmp_path / 'whole')))


def test_a_broken_loss_stops_with_step_rank_and_terms(tmp_path):
    with pytest.raises(
        ConcertoError, match=r'not finite at step 2; rank 0 has loss nan, pull nan'
    ):
        train(PullTask(tmp_path, poison=2, save_every=1))
    assert load_state(tmp_path / LAST).step == 2  # states of steps 1 and 2 are whole


def test_a_full_disk_leaves_the_state_before_it(tmp_path, monkeypatch):
    train(PullTask(tmp_path, num_steps=2))

    def full(content, file):
        file.write(b'part of it')
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(checkpoint.torch, 'save', full)
    with pytest.raises(CheckpointError, match=r'No space left.*the one before it is whole'):
        train(PullTask(tmp_path))
    monkeypatch.undo()
    assert [path.name for path in tmp_path.glob('last*')] == [LAST]
    assert_same(train(PullTask(tmp_path)), train(PullTask(tmp_path / 'whole')))


@contextmanager
def full_disk():
    """Give a function after which no file grows, as on a full disk; not even pytest's own log."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
@pytest.mark.parametrize('eager', [{}, {'max_queue': 1, 'flush_secs': -1}])
@pytest.mark.parametrize('first_full', [0, 2])
def test_a_full_disk_costs_the_curves_and_names_the_state(
    eager, first_full, tmp_path, monkeypatch, caplog
):
    caplog.set_level('WARNING')
    monkeypatch.setattr(progress, 'SummaryWriter', partial(progress.SummaryWriter, **eager))
    task = PullTask(tmp_path)
    batches = task.batches

    def filling(first_step, fill_up):
        for index, batch in enumerate(batches(first_step)):
            if index == first_full:
                fill_up()
            yield batch

    with full_disk() as fill_up:
        task.batches = partial(filling, fill_up=fill_up)
        with pytest.raises(CheckpointError, match=r'after step 4 cannot be written .*make room'):
            train(task)
    (record,) = caplog.records
    assert 'curves cannot be written: the run goes on without them' in record.getMessage()


def test_the_rate_of_a_slow_run_is_not_zero(tmp_path, caplog):
    with caplog.at_level('INFO'):
        train(PullTask(tmp_path))
    assert len(re.findall(r' \d+\.\dk points/s data ', caplog.text)) == 4


def test_kept_states_stay(tmp_path):
    train(PullTask(tmp_path, keep_every=2, save_every=2))
    assert load_state(tmp_path / 'step_00000002.pth').step == 2
    assert load_state(tmp_path / 'step_00000004.pth').step == 4


def test_what_is_broken_is_told_once_and_its_visits_are_counted(tmp_path, caplog):
    caplog.set_level('WARNING')
    task = PullTask(tmp_path)
    broken = [('a is broken',), (), ('b is broken', 'a is broken'), ('a is broken',)]
    batches = task.batches
    task.batches = lambda first_step: (
        dataclasses.replace(batch, skipped=skipped)
        for batch, skipped in zip(batches(first_step), [*broken, *broken], strict=True)
    )
    train(task)
    assert [record.getMessage() for record in caplog.records] == [
        'skipped: a is broken',
        'skipped: b is broken',
        'scenes or images that cannot be read (named above): 2; visits skipped: 8',
    ]


def test_the_umask_says_who_may_read(tmp_path):
    before = os.umask(0o027)
    try:
        train(PullTask(tmp_path, keep_every=2, save_every=2))
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob('*.pth')}
    assert modes == dict.fromkeys([LAST, 'step_00000002.pth', 'step_00000004.pth'], 0o640)


def test_curves_of_losses_and_of_monitors_are_apart(tmp_path):
    train(PullTask(tmp_path))
    curves = EventAccumulator(str(tmp_path)).Reload()
    groups = [name.split('/') for name in curves.Tags()['scalars']]
    assert {name for group, name in groups if group == 'loss'} == {'loss', 'pull'}
    assert {name for group, name in groups if group == 'monitor'} == {'reach', 'gradient'}
    assert {group for group, _ in groups} == {'loss', 'monitor', 'schedule', 'speed'}
    assert [point.step for point in curves.Scalars('loss/pull')] == [0, 1, 2, 3]


def test_a_damaged_state_is_named(tmp_path):
    train(PullTask(tmp_path, num_steps=2))
    path = tmp_path / LAST
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CheckpointError, match=r'no whole state .*; delete it to start anew'):
        train(PullTask(tmp_path))


def test_a_state_of_another_network_is_refused(tmp_path):
    train(PullTask(tmp_path, num_steps=2))
    task = PullTask(tmp_path)
    task.objective.student = nn.Linear(5, 4)
    with pytest.raises(ConcertoError, match=r'network: choose .* \(1 of \d tensors differ'):
        Trainer(task, CPU)


def test_changed_settings_are_told(tmp_path, caplog):
    train(PullTask(tmp_path, num_steps=2))
    train(PullTask(tmp_path, seed=3))
    assert 'run.seed was 0 in the run that goes on, and is now 3' in caplog.text


def test_factors_of_layers_follow_the_settings_on_resume(tmp_path):
    train(PullTask(tmp_path, num_steps=2))
    task = PullTask(tmp_path)
    for group in task.optimizer.param_groups:
        group['lr_factor'] = 0.125
    Trainer(task, CPU)
    assert {group['lr_factor'] for group in task.optimizer.param_groups} == {0.125}
    assert task.optimizer.state_dict()['state']  # and yet its moments are those of the run


def test_a_run_that_is_done_says_so(tmp_path, caplog):
    train(PullTask(tmp_path, num_steps=2))
    with caplog.at_level('INFO'):
        train(PullTask(tmp_path, num_steps=1))
    assert '2 steps are done already: nothing is left to do' in caplog.text


# --- two ranks -----------------------------------------------------------------------------------


def train_as_rank(rank, folder, interrupted=None):
    """Train; the given rank, and no other, gets a signal while it reads the second step."""
    task = PullTask(folder, save_every=100)
    if rank == interrupted:
        interrupt(task, 3)
    with process_group(CPU):
        try:
            Trainer(task, CPU).train()
        except StopRequestedError:
            return 143
    return 0


@pytest.mark.slow
def test_a_signal_to_one_rank_leaves_one_state_for_all(tmp_path):
    assert run_ranks(train_as_rank, tmp_path / 'parts', 1) == [143, 143]
    assert [path.name for path in (tmp_path / 'parts').glob('*.pth*')] == [LAST]
    assert load_state(tmp_path / 'parts' / LAST).step == 2
    assert run_ranks(train_as_rank, tmp_path / 'parts') == [0, 0]
    assert run_ranks(train_as_rank, tmp_path / 'whole') == [0, 0]
    parts, whole = (load_state(tmp_path / name / LAST) for name in ('parts', 'whole'))
    assert parts.step == 4
    assert_same(parts.state_dict, whole.state_dict)


def resume_apart(rank, folder):
    with process_group(CPU), pytest.raises(ConcertoError, match='one folder that all machines'):
        Trainer(PullTask(folder / str(rank)), CPU)


@pytest.mark.slow
def test_ranks_that_would_go_on_from_different_steps_are_refused(tmp_path):
    train(PullTask(tmp_path / '0', num_steps=2))
    assert run_ranks(resume_apart, tmp_path) == [0, 0]
