"""The command of masked scene modelling: trains, goes on, works in ranks, leaves a backbone."""

import math
import os

import pytest
import torch
from training_ranks import run_ranks

from concerto_ros.config.tree import build
from concerto_ros.model import load_checkpoint
from training.checkpoint import LAST, load_state
from training.command import run_command
from training.export import export
from training.masked_scene.config import MaskedConfig
from training.masked_scene.task import MaskedTask
from training.trainer import Trainer

CPU = torch.device('cpu')
SHALLOW = {'target': 'shallow', 'loss.distance': 'smooth_l1'}


@pytest.fixture
def settings(tiny_split):
    """Return settings of a training that takes a moment a step."""
    return {
        'run.device': 'cpu', 'run.precision': 'fp32', 'run.log_every': 1, 'run.num_steps': 2,
        'data.splits': str(tiny_split), 'data.batch_size': 2, 'data.num_workers': 0,
        'data.voxel_size': 0.05, 'views.max_points': 500, 'views.crop_size': 200,
        'network.kind': 'concerto', 'network.size': 'nano', 'network.drop_path': 0.1,
    }  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    """Let this process add up in the order of the others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pretrain(settings):
    """Do what the command does, in this process; return its status."""
    arguments = [os.devnull, *(f'{name}={value}' for name, value in settings.items())]
    return run_command('training.pretrain_masked', MaskedConfig, MaskedTask, arguments)


def pretrain_as_rank(_rank, settings):
    return pretrain(settings)


def train_here(settings):
    """Train in this process and return the weights."""
    task = MaskedTask(build(MaskedConfig, settings), CPU)
    Trainer(task, CPU).train()
    return {name: t.clone() for name, t in task.objective.state_dict().items()}


@pytest.mark.parametrize('changes', [{}, SHALLOW])
def test_a_run_goes_on_exactly(settings, changes, tmp_path, capsys):
    settings = {**settings, **changes}
    parts = {**settings, 'run.output': str(tmp_path / 'parts'), 'run.save_every': 1}
    whole = train_here({**settings, 'run.output': str(tmp_path / 'whole')})
    task = MaskedTask(build(MaskedConfig, parts), CPU)
    save, trainer = Trainer._save, Trainer(task, CPU)
    trainer._save = lambda done: (save(trainer, done), 1 / (done - 1))  # dies after the first
    with pytest.raises(ZeroDivisionError):
        trainer.train()
    assert pretrain(parts) == 0
    out = capsys.readouterr().out
    assert 'going on after step 1' in out
    state = load_state(tmp_path / 'parts' / LAST)
    assert state.step == 2
    assert all(torch.equal(whole[name], t) for name, t in state.state_dict.items())
    assert state.settings['masking.ratio'] == 0.4
    assert any(name.startswith('teacher.') for name in whole) == (not changes)
    assert ('rank0' in out) == (not changes)


def test_two_ranks_do_what_one_does(settings, tmp_path):
    settings = {**settings, 'network.drop_path': 0.0}
    before = MaskedTask(build(MaskedConfig, settings), CPU).objective.state_dict()
    one = train_here({**settings, 'run.output': str(tmp_path / 'one')})
    two = {**settings, 'run.output': str(tmp_path / 'two')}
    assert run_ranks(pretrain_as_rank, two) == [0, 0]
    found = load_state(tmp_path / 'two' / LAST).state_dict
    moved = torch.cat([(one[name] - before[name]).flatten() for name in one])
    apart = torch.cat([(one[name] - found[name]).flatten() for name in one])
    assert moved.abs().max() > 1e-3
    # AdamW makes much of the signs of gradients that are nothing but rounding.
    assert apart.norm() < 1e-3 * moved.norm()


def test_what_comes_out_is_what_the_node_loads(settings, tmp_path):
    trained = train_here({**settings, 'run.num_steps': 1, 'run.output': str(tmp_path)})
    export(tmp_path, tmp_path / 'backbone.safetensors')
    model, report = load_checkpoint(tmp_path / 'backbone.safetensors')
    assert report.voxel_size == 0.05
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, trained[f'student.backbone.{name}'])


def test_a_step_of_half_precision(settings, tmp_path):
    settings = {**settings, 'run.precision': 'bf16', 'run.num_steps': 1}
    trained = train_here({**settings, 'run.output': str(tmp_path)})
    assert all(math.isfinite(float(t.sum())) for t in trained.values())


def test_the_network_of_the_paper_trains(settings, tmp_path):
    settings = {**settings, 'network.kind': 'hunet', 'run.output': str(tmp_path)}
    assert pretrain(settings) == 0
    assert load_state(tmp_path / LAST).config == {}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'run.sed': 1}, 'run.sed=1: unknown parameter "run.sed"; did you mean "run.seed"?'),
        ({'target': 'deep'}, 'target=deep: parameter "target" must be one of teacher, shallow'),
        ({'target': 'shallow'}, 'set it to smooth_l1 or mse'),
        ({'data.splits': ''}, 'data.splits names no data'),
        ({'network.size': 'huge'}, "got 'huge'"),
        ({'views.crop_size': 0}, 'parameter "views.crop_size" must be >= 1, got 0'),
    ],
)
def test_wrong_settings_are_one_sentence(settings, changes, message, tmp_path, capsys):
    assert pretrain({**settings, 'run.output': str(tmp_path), **changes}) == 2
    err = capsys.readouterr().err
    assert err.startswith('training.pretrain_masked: ')
    assert message in err
    assert err.count('\n') == 1
