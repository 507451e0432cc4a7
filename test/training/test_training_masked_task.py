"""Masked scene modelling as the trainer runs it: batches, schedules, weights, what it leaves."""

import shutil
from dataclasses import replace

import pytest
import torch

from concerto_ros.config.tree import build
from concerto_ros.errors import ConfigError, SourceError
from concerto_ros.model import BackboneConfig
from training.masked_scene.config import MaskedConfig
from training.masked_scene.task import MaskedTask, encoder_config
from training.networks.config import NetworkSection
from training.networks.make import make_network
from training.protocol.config import ProtocolConfig
from training.protocol.encoders import make_encoder
from training.protocol.encoders.facts import weights_sha256

CPU = torch.device('cpu')


@pytest.fixture
def config(tiny_split):
    values = {
        'run.device': 'cpu', 'run.num_steps': 3, 'data.splits': str(tiny_split),
        'data.batch_size': 2, 'data.num_workers': 0, 'data.voxel_size': 0.05,
        'views.crop_size': 200, 'network.kind': 'concerto', 'network.size': 'nano',
    }  # fmt: skip
    return build(MaskedConfig, values)


@pytest.fixture
def task(config):
    return MaskedTask(config, CPU)


def test_batches_follow_from_the_step(task):
    whole = list(task.batches(0))
    rest = list(task.batches(2))
    assert len(whole) == 3
    assert len(rest) == 1
    assert rest[0].names == whole[2].names
    assert torch.equal(rest[0].full.feat, whole[2].full.feat)
    assert whole[0].slots == (0, 1)


def test_images_are_left_alone(config, tiny_split, tmp_path):
    shutil.copytree(tiny_split.parents[1], tmp_path / 'scenes')
    for image in (tmp_path / 'scenes').rglob('*.jpg'):
        image.write_bytes(b'')
    splits = str(tmp_path / 'scenes' / 'splits' / 'train.json')
    data = replace(config.data, splits=splits, max_images=4)
    batch = next(MaskedTask(replace(config, data=data), CPU).batches(0))
    assert batch.skipped == ()


def test_values_are_those_of_the_settings(task):
    values = [task.values(step) for step in range(3)]
    assert values[0].momentum == 0.996
    assert values[-1].momentum == 1.0
    assert values[0].lr == pytest.approx(0.0015, rel=0.01)
    assert {v.weight_decay for v in values} == {0.05}


def test_only_matrices_are_decayed(task):
    parameters = dict(task.objective.named_parameters())
    names = {id(parameter): name for name, parameter in parameters.items()}
    found = {
        names[id(parameter)]: (group['lr_factor'], group['decay_factor'], group['betas'])
        for group in task.optimizer.param_groups
        for parameter in group['params']
    }
    assert found.keys() == {name for name, p in parameters.items() if p.requires_grad}
    assert not any(name.startswith('teacher.') for name in found)
    for name, (lr_factor, decay_factor, betas) in found.items():
        assert (lr_factor, betas) == (1.0, (0.9, 0.95))
        assert decay_factor == (parameters[name].ndim > 1), name
    assert found['token'][1] == 0.0
    assert found['student.backbone.embedding.stem.norm.weight'][1] == 0.0


def test_gains_of_the_published_network_are_not_decayed(config):
    task = MaskedTask(replace(config, network=NetworkSection(kind='hunet', size='nano')), CPU)
    names = {id(p): name for name, p in task.objective.named_parameters()}
    decayed = [
        names[id(parameter)]
        for group in task.optimizer.param_groups
        for parameter in group['params']
        if group['decay_factor']
    ]
    assert any('resnet_enc' in name for name in decayed)
    assert not any('gamma' in name or 'scale' in name for name in decayed)


def test_the_seed_alone_draws_the_first_weights(config):
    def first_weights(seed):
        torch.manual_seed(5)
        task = MaskedTask(replace(config, run=replace(config.run, seed=seed)), CPU)
        return task.objective.state_dict()

    one, two, other = first_weights(0), first_weights(0), first_weights(1)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one['token'], other['token'])


def test_the_shape_of_our_encoder_is_told(task):
    told = {
        name: tuple(v) if isinstance(v, list) else v for name, v in task.network_config.items()
    }
    assert BackboneConfig(**told) == task.objective.student.backbone.config
    assert encoder_config(make_network(NetworkSection(kind='hunet', size='nano'))) == {}


@pytest.mark.parametrize(
    ('values', 'error', 'message'),
    [
        ({'data.splits': ''}, ConfigError, 'data.splits names no data'),
        ({'data.accumulation': 4}, ConfigError, 'data.batch_size should be a multiple of 4'),
        ({'data.splits': 'none.json'}, SourceError, 'none.json'),
        ({'network.size': 'huge'}, ConfigError, "network.size .* one of .*nano.* got 'huge'"),
        ({'masking.level': '5'}, ConfigError, 'masking.level must be below 5'),
        ({'loss.levels': '5'}, ConfigError, 'loss.levels must be'),
    ],
)
def test_what_cannot_be_trained_is_told(config, values, error, message):
    with pytest.raises(error, match=message):
        MaskedTask(build(MaskedConfig, values, config), CPU)


@pytest.mark.parametrize('kind', ['concerto', 'hunet'])
def test_training_begins_with_the_network_that_is_judged_as_untrained(config, kind):
    changes = {'run.seed': 3, 'network.kind': kind}
    student = MaskedTask(build(MaskedConfig, changes, config), CPU).objective.student
    encoder = f'masked:random#{kind}/nano'
    untrained = make_encoder(build(ProtocolConfig, {'encoder.name': encoder}), 3, CPU)
    assert untrained.facts['weights'] == f'sha256:{weights_sha256(student)}'
