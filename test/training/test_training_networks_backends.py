"""What computes a network is chosen by name, for all of its layers at once."""

from dataclasses import replace

import pytest
import torch

from concerto_ros.config.tree import build
from concerto_ros.errors import BackendUnavailable
from concerto_ros.model import PointBatch, make_plan
from concerto_ros.model.attention_backend import attend_sdpa as windows_by_sdpa
from concerto_ros.model.attention_backend import select_attention
from concerto_ros.model.sparse_conv import select_backend
from training.masked_scene.config import MaskedConfig
from training.masked_scene.task import MaskedTask
from training.networks import backends
from training.networks.band_attention import attend_sdpa as band_by_sdpa
from training.networks.config import NetworkSection
from training.networks.make import make_network
from training.networks.unet import in_plan_order
from training.protocol.config import ProtocolConfig
from training.protocol.encoders import make_encoder

CPU = torch.device('cpu')


@pytest.fixture
def calls(monkeypatch):
    """Pretend that spconv and flash run here; return the names of what is called."""
    called = []

    def counted(name, function):
        def call(*args):
            called.append(name)
            return function(*args)

        return call

    def convolution(name, device):
        own = select_backend('torch', device)
        parts = {part: counted(part, getattr(own, part)) for part in ('convolve', 'down', 'up')}
        return replace(own, **parts, name=name)

    def attention(name, device, dtype):
        own = select_attention('sdpa', device, dtype)
        return replace(own, name=name, attend=counted('windows', windows_by_sdpa))

    monkeypatch.setattr(backends, 'select_backend', convolution)
    monkeypatch.setattr(backends, 'select_attention', attention)
    monkeypatch.setitem(backends.BAND_ATTENTION, 'flash', counted('band', band_by_sdpa))
    return called


def passed(network):
    """Let a network pass a small cloud."""
    cell = torch.arange(60) * 7
    grid = torch.stack([cell // 64, cell // 8 % 8, cell % 8], dim=1)
    points = PointBatch(
        coord=grid.float(), grid_coord=grid, feat=torch.rand(60, 9), offset=torch.tensor([60])
    )
    plan = make_plan(grid, points.offset, network.geometry, depth=network.depth)
    network.eval()(in_plan_order(points, plan), plan, torch.zeros(network.token_channels))


@pytest.mark.parametrize(
    ('kind', 'parts'), [('hunet', {'convolve', 'down', 'up', 'band'}),
                        ('concerto', {'convolve', 'windows'})],
)  # fmt: skip
def test_every_layer_is_computed_by_what_was_chosen(calls, kind, parts):
    network = make_network(NetworkSection(kind=kind, size='nano'))
    passed(network)
    assert calls == []
    backends.use_backends(network, 'spconv', 'flash', device=CPU, number_format='fp32')
    passed(network)
    assert set(calls) == parts
    if kind == 'hunet':  # two convolutions and one attention per block and level, twice
        assert [calls.count(part) for part in ('convolve', 'down', 'up', 'band')] == [16, 3, 3, 4]


def _task(tiny_split, **values):
    settings = {
        'run.device': 'cpu', 'data.splits': str(tiny_split), 'data.batch_size': 2,
        'network.kind': 'hunet', 'network.size': 'nano',
    }  # fmt: skip
    return MaskedTask(build(MaskedConfig, {**settings, **values}), CPU)


def test_training_computes_student_and_teacher_as_told(tiny_split, calls):
    task = _task(tiny_split, **{'network.convolution': 'spconv', 'network.attention': 'flash'})
    for network in (task.objective.student, task.objective.teacher):
        calls.clear()
        passed(network)
        assert set(calls) == {'convolve', 'down', 'up', 'band'}


@pytest.mark.parametrize(
    ('name', 'value'), [('convolution', 'spconv'), ('attention', 'flash')]
)  # fmt: skip
def test_what_cannot_run_is_told(tiny_split, name, value):
    message = f'{name} by {value} is not possible: .* CUDA'
    with pytest.raises(BackendUnavailable, match=message):
        _task(tiny_split, **{f'network.{name}': value})
    for encoder in ('masked:random#hunet/nano', 'concerto:random#nano'):
        settings = {'encoder.name': encoder, f'encoder.{name}': value}
        with pytest.raises(BackendUnavailable, match=message):
            make_encoder(build(ProtocolConfig, settings), 0, CPU)


@pytest.mark.parametrize('name', ['masked:random#hunet/nano', 'concerto:random#nano'])
def test_judging_computes_as_told_and_tells_it(calls, name):
    settings = {
        'encoder.name': name, 'encoder.convolution': 'spconv', 'encoder.attention': 'flash'
    }  # fmt: skip
    encoder = make_encoder(build(ProtocolConfig, settings), 0, CPU)
    assert (encoder.facts['convolution'], encoder.facts['attention']) == ('spconv', 'flash')
    used = {getattr(m, 'convolve', None) for m in encoder.network.modules()} - {None}
    assert len(used) == 1
    assert used != {select_backend('torch', CPU).convolve}


def test_torch_and_sdpa_are_the_defaults():
    for encoder in ('masked:random#hunet/nano', 'concerto:random#nano'):
        facts = make_encoder(build(ProtocolConfig, {'encoder.name': encoder}), 0, CPU).facts
        assert (facts['convolution'], facts['attention']) == ('torch', 'sdpa')
    section = NetworkSection()
    assert (section.convolution, section.attention) == ('torch', 'sdpa')
