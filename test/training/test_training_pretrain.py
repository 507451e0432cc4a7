"""The command itself: it resumes after kill -9, and two ranks do what one does."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_ranks import run_ranks, start_process

from concerto_ros.config.tree import build
from concerto_ros.errors import CheckpointError, ConfigError
from concerto_ros.model import PointBatch, PointTransformerV3, load_checkpoint, save_checkpoint
from training.backbone_sizes import backbone_config
from training.checkpoint import LAST, load_state
from training.command import run_command
from training.config import TrainingConfig
from training.evaluation.segmentation_network import with_decoder
from training.export import export
from training.image_encoders import SmallViT, VitConfig, save_vit
from training.joint_task import JointTask
from training.trainer import Trainer

CPU = torch.device('cpu')


def arguments_of(settings):
    return [os.devnull, *(f'{name}={value}' for name, value in settings.items())]


def pretrain(settings):
    """Do what the command does, in this process; return its status."""
    return run_command('training.pretrain', TrainingConfig, JointTask, arguments_of(settings))


@pytest.fixture(autouse=True)
def one_thread():
    """Let this process add up in the order of the others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train_here(settings):
    """Train in this process and return the weights."""
    task = JointTask(build(TrainingConfig, settings), CPU)
    Trainer(task, CPU).train()
    return {name: t.clone() for name, t in task.objective.state_dict().items()}


def weights(folder):
    return load_state(folder / LAST).state_dict


def assert_equal(first, second, **tolerance):
    assert list(first) == list(second)
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], **(tolerance or {'rtol': 0, 'atol': 0}),
                                   msg=lambda text, name=name: f'{name}: {text}')  # fmt: skip


@pytest.fixture
def vit(tmp_path):
    torch.manual_seed(3)
    config = VitConfig(image_size=32, patch_size=8, channels=24, depth=1, heads=2)
    save_vit(SmallViT(config), tmp_path / 'vit.safetensors')
    return f'vit:{tmp_path / "vit.safetensors"}'


@pytest.fixture
def joint_settings(small_settings, vit, tmp_path):
    return {**small_settings, 'cross_modal.weight': 0.5, 'cross_modal.image_encoder': vit,
            'cross_modal.token_cache': str(tmp_path / 'tokens')}  # fmt: skip


def test_kill_9_and_the_same_command_give_what_one_run_gives(joint_settings, tmp_path, capsys):
    settings = {**joint_settings, 'run.num_steps': 12, 'run.save_every': 2}
    killed = {**settings, 'run.output': str(tmp_path / 'killed')}
    process = start_process(pretrain, killed)
    deadline = time.monotonic() + 60
    while not (tmp_path / 'killed' / LAST).exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    done = load_state(tmp_path / 'killed' / LAST).step
    assert 0 < done < 12

    assert pretrain(killed) == 0
    assert f'going on after step {done}' in capsys.readouterr().out
    whole = train_here({**settings, 'run.output': str(tmp_path / 'whole')})
    assert_equal(dict(weights(tmp_path / 'killed')), whole)


def pretrain_as_rank(_rank, settings):
    warnings.simplefilter('error', FutureWarning)
    return pretrain(settings)


def test_two_ranks_do_what_one_does(joint_settings, tmp_path):
    settings = {**joint_settings, 'run.num_steps': 3, 'backbone.drop_path': 0.0}
    one = train_here({**settings, 'run.output': str(tmp_path / 'one')})
    two = {**settings, 'run.output': str(tmp_path / 'two')}
    assert run_ranks(pretrain_as_rank, two) == [0, 0]
    assert_equal(dict(weights(tmp_path / 'two')), one, rtol=1e-3, atol=1e-5)
    before = JointTask(build(TrainingConfig, settings), CPU).objective.state_dict()
    moved = max(float((one[name] - before[name]).abs().max()) for name in one)
    assert moved > 1e-3  # so that equal does not mean untrained


def test_accumulation_keeps_the_scenes_of_a_step(joint_settings, tmp_path):
    settings = {**joint_settings, 'data.batch_size': 4, 'run.num_steps': 2}
    names = {}
    for parts in (1, 2):
        changed = {**settings, 'data.accumulation': parts, 'run.output': str(tmp_path / 'o')}
        task = JointTask(build(TrainingConfig, changed), CPU)
        names[parts] = [name for batch in task.batches(0) for name in batch.names]
    assert names[1] == names[2]
    assert len(names[1]) == 8


def test_sigterm_leaves_a_state_to_go_on_from(small_settings, tmp_path, root, capsys):
    settings = {**small_settings, 'run.num_steps': 200, 'run.save_every': 1000,
                'run.output': str(tmp_path), 'data.num_workers': 1}  # fmt: skip
    command = [sys.executable, '-m', 'training.pretrain', *arguments_of(settings)]
    with subprocess.Popen(command, cwd=root, env={**os.environ, 'OMP_NUM_THREADS': '1'}, text=True,
                          stdout=subprocess.PIPE) as process:  # fmt: skip
        for line in process.stdout:
            if 'step 2/' in line:
                process.terminate()
                break
        rest = process.stdout.read()
    assert process.returncode == 143, rest
    done = load_state(tmp_path / LAST).step
    assert f'stopped by a signal after step {done} of 200; the same command goes on' in rest
    assert pretrain({**settings, 'run.num_steps': done + 1}) == 0
    assert f'step {done + 1}/{done + 1}' in capsys.readouterr().out


def test_a_corrupt_scene_is_skipped_and_counted(small_settings, tiny_split, tmp_path, caplog):
    shutil.copytree(tiny_split.parents[1], tmp_path / 'scenes')
    damaged = tmp_path / 'scenes' / 'train' / 'scene1' / 'coord.npy'
    damaged.write_bytes(damaged.read_bytes()[:100])
    split = tmp_path / 'scenes' / 'splits' / 'train.json'
    train_here({**small_settings, 'data.splits': str(split), 'run.num_steps': 2,
                'run.output': str(tmp_path / 'run')})  # fmt: skip
    assert 'skipped:' in caplog.text
    assert str(damaged) in caplog.text
    assert 'cannot be read (named above): 1; visits skipped: 1' in caplog.text


def test_what_comes_out_is_what_the_node_loads(small_settings, tmp_path):
    trained = train_here({**small_settings, 'run.num_steps': 1, 'run.output': str(tmp_path)})
    for network, file in (('student', 's.safetensors'), ('teacher', 't.pth')):
        export(tmp_path, tmp_path / file, network)
        model, report = load_checkpoint(tmp_path / file)
        assert (report.has_config, report.unknown_config, report.left_out) == (True, (), ())
        assert report.voxel_size == small_settings['data.voxel_size']
        assert report.origin['settings']['run.output'] == str(tmp_path)
        assert 'git' in report.origin['source']
        prefix = f'{network}.backbone.'
        own = {k.removeprefix(prefix): t for k, t in trained.items() if k.startswith(prefix)}
        assert_equal(dict(sorted(model.state_dict().items())), dict(sorted(own.items())))
    points = PointBatch(
        coord=torch.zeros(1, 3), grid_coord=torch.zeros(1, 3, dtype=torch.int64),
        feat=torch.zeros(1, 9), offset=torch.tensor([1]),
    )  # fmt: skip
    assert model(points).num_points == 1


def test_published_training_checkpoints_are_imported(small_settings, tmp_path):
    trained = train_here({**small_settings, 'run.num_steps': 1, 'run.output': str(tmp_path)})
    published = {f'module.{name}': t for name, t in trained.items()}
    published |= {'module.enc2d_model.embeddings.cls_token': torch.zeros(1, 1, 8),
                  'module.patch_proj.weight': torch.zeros(8, 48)}  # fmt: skip
    torch.save(
        {'epoch': 100, 'state_dict': published, 'optimizer': {}, 'scheduler': {}, 'scaler': None,
         'best_metric_value': np.float64(0.5)},
        tmp_path / 'published.pth',
    )  # fmt: skip
    export(tmp_path / 'published.pth', tmp_path / 'out.pth')
    model, _ = load_checkpoint(tmp_path / 'out.pth')
    torch.testing.assert_close(
        model.embedding.stem.linear.weight,
        trained['student.backbone.embedding.stem.linear.weight'],
    )


def test_export_tells_what_is_missing(tmp_path, small_settings):
    with pytest.raises(CheckpointError, match='no such file'):
        export(tmp_path / 'none.pth', tmp_path / 'out.pth')
    with pytest.raises(CheckpointError, match=f'{tmp_path}: this folder holds no last.pth'):
        export(tmp_path, tmp_path / 'out.pth')
    (tmp_path / 'damaged.pth').write_bytes(b'')
    with pytest.raises(CheckpointError, match=f'^{tmp_path}/damaged.pth: cannot be read'):
        export(tmp_path / 'damaged.pth', tmp_path / 'out.pth')
    train_here({**small_settings, 'run.num_steps': 1, 'run.output': str(tmp_path)})
    export(tmp_path, tmp_path / 'student.pth')
    with pytest.raises(CheckpointError, match='holds no teacher'):
        export(tmp_path / 'student.pth', tmp_path / 'out.pth', 'teacher')
    assert not (tmp_path / 'out.pth').exists()


def test_training_starts_from_given_weights(small_settings, tmp_path):
    first = {**small_settings, 'run.num_steps': 1, 'run.output': str(tmp_path / 'first')}
    trained = train_here(first)
    export(tmp_path / 'first', tmp_path / 'first.pth')
    changed = {**small_settings, 'backbone.initial': str(tmp_path / 'first.pth')}
    state = JointTask(build(TrainingConfig, changed), CPU).objective.state_dict()
    name = 'backbone.enc.enc0.block0.mlp.0.fc1.weight'
    assert torch.equal(state[f'student.{name}'], trained[f'student.{name}'])
    assert torch.equal(state[f'teacher.{name}'], trained[f'student.{name}'])
    other = {**changed, 'backbone.channels': '16,16,16', 'backbone.heads': '1,1,1'}
    with pytest.raises(
        CheckpointError,
        match=r'of another shape than the backbone of the settings '
        r'\(\d+ of \d+ tensors differ, such as enc.enc2.down.proj.weight: '
        r'\(16, 16\) expected, \(32, 16\) found\)',
    ):
        JointTask(build(TrainingConfig, other), CPU)


def test_training_starts_from_weights_with_a_decoder_or_without_a_mask_token(
    small_settings, tmp_path, caplog
):
    caplog.set_level('INFO')
    first = backbone_config(build(TrainingConfig, small_settings).backbone)
    encoder = PointTransformerV3(replace(first, mask_token=False))
    save_checkpoint(with_decoder(encoder, 1, seed=0), tmp_path / 'first.pth')
    changed = {**small_settings, 'backbone.initial': str(tmp_path / 'first.pth')}
    objective = JointTask(build(TrainingConfig, changed), CPU).objective
    for branch in (objective.student, objective.teacher):
        own = branch.backbone.state_dict()
        assert not own.pop('embedding.mask_token').any()
        assert_equal(dict(sorted(own.items())), dict(sorted(encoder.state_dict().items())))
    assert 'holds no mask token: it starts anew' in caplog.text


def test_a_cache_of_plain_images_and_changed_images_do_not_mix(joint_settings):
    settings = {**joint_settings, 'augmentation.image': True}
    with pytest.raises(ConfigError, match='tokens of plain images'):
        JointTask(build(TrainingConfig, settings), CPU)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'data.accumulation': 3}, 'data.batch_size should be a multiple of 3'),
        ({'distillation.up_cast_level': 3}, 'distillation.up_cast_level must be below the 3'),
        ({'cross_modal.up_cast_level': 3}, 'cross_modal.up_cast_level must be below the 3'),
        ({'backbone.initial': 'none.pth'}, 'none.pth'),
        ({'backbone.channels': '16,16,16', 'backbone.heads': '1,1,1'}, 'is of another network'),
        ({'run.output': '/dev/null'}, '"run.output" /dev/null cannot be written'),
    ],
)
def test_what_cannot_be_trained_is_told_before_images_are_encoded(
    joint_settings, changes, message, tmp_path, capsys
):
    settings = {**joint_settings, 'run.num_steps': 1, 'run.output': str(tmp_path / 'run')}
    if 'backbone.channels' in changes:  # the state is of the other size
        train_here({**settings, 'cross_modal.token_cache': ''})
    assert pretrain({**settings, **changes}) == 2
    assert message in capsys.readouterr().err
    assert list((tmp_path / 'tokens').rglob('*.npy')) == []
    assert not (tmp_path / 'run' / 'settings.yaml').exists()
    assert pretrain({**settings, 'run.output': str(tmp_path / 'other')}) == 0
    assert len(list((tmp_path / 'tokens').rglob('*.npy'))) == 8


def test_a_finished_run_keeps_its_settings(small_settings, tmp_path, capsys):
    settings = {**small_settings, 'run.num_steps': 1, 'run.output': str(tmp_path)}
    assert pretrain(settings) == 0
    before = (tmp_path / 'settings.yaml').read_text()
    assert pretrain({**settings, 'run.seed': 5}) == 0
    assert 'nothing is left to do' in capsys.readouterr().out
    assert (tmp_path / 'settings.yaml').read_text() == before
    assert pretrain({**settings, 'run.seed': 5, 'run.num_steps': 2}) == 0
    assert 'seed: 5' in (tmp_path / 'settings.yaml').read_text()


class WatchedTask(JointTask):
    """Knows whether its image encoder still exists."""

    def _encoder(self, device):
        encoder = super()._encoder(device)
        self.encoder = weakref.ref(encoder)
        return encoder


def test_a_full_cache_sets_the_memory_of_the_image_encoder_free(joint_settings):
    task = WatchedTask(build(TrainingConfig, joint_settings), CPU)
    task.batches(0)
    gc.collect()
    assert task.encoder() is None


def test_wrong_settings_are_one_sentence(small_settings, tmp_path, capsys):
    def status(**changes):
        return pretrain({**small_settings, 'run.output': str(tmp_path), **changes})

    assert status(**{'run.sed': 1}) == 2
    assert 'training.pretrain: run.sed=1: unknown parameter' in capsys.readouterr().err
    assert status(**{'data.splits': ''}) == 2
    assert 'data.splits names no data' in capsys.readouterr().err
    (tmp_path / 'file').write_text('')
    assert status(**{'run.output': str(tmp_path / 'file')}) == 2
    assert 'cannot be written: File exists' in capsys.readouterr().err
