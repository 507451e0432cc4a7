"""Encoders of anybody's own, and what is said of those that cannot be used."""

from types import SimpleNamespace

import pytest
import torch

from concerto_ros.config.tree import build
from concerto_ros.errors import ConfigError
from training.protocol.config import ProtocolConfig
from training.protocol.encoders import make_encoder
from training.protocol.encoders.example import HandMade

CPU = torch.device('cpu')
NUMBER = 3
LOADED = torch.nn.Linear  # a class that wants other arguments


def without_arguments():
    return HandMade(CPU)


def of_two_arguments(device, size):
    return HandMade(device)


def with_an_option(device, size=1):
    return HandMade(device)


def nothing(device):
    pass


def unnamed(device):
    encoder = HandMade(device)
    encoder.name = None
    return encoder


def not_to_be_called(device):
    return SimpleNamespace(name='mine', num_channels=(3,), last=0, facts={})


def asked_for(function, **changes):
    settings = {'encoder.name': f'python:{__name__}:{function}', **changes}
    return make_encoder(build(ProtocolConfig, settings), 0, CPU)


def test_what_takes_a_device_is_called_with_it():
    assert isinstance(asked_for('with_an_option'), HandMade)
    assert isinstance(asked_for('HandMade'), HandMade)


@pytest.mark.parametrize(('function', 'sentence'), [
    ('NUMBER', 'is int and cannot be called: name a function or class'),
    ('without_arguments', r'cannot be called with a device alone \(too many .* arguments\)'),
    ('of_two_arguments', r"cannot be called with a device alone \(missing .* 'size'\): let"),
    ('LOADED', 'cannot be called with a device alone'),
    ('nothing', 'the encoder, NoneType, has no name and no num_channels'),
    ('unnamed', 'name must be a text, found NoneType'),
    ('not_to_be_called', 'the encoder, SimpleNamespace, has no __call__: give it'),
    ('absent', r"cannot be imported \(module .* has no attribute 'absent'\): write python:MOD"),
    ('', 'FUNCTION is missing: write python:MODULE:FUNCTION$'),
])  # fmt: skip
def test_what_gives_no_encoder_is_told_at_once(function, sentence):
    with pytest.raises(ConfigError, match=f'^python:{__name__}:{function}: {sentence}'):
        asked_for(function)


def test_a_module_alone_is_not_enough():
    with pytest.raises(ConfigError, match=r'^python:bad: FUNCTION is missing: write python'):
        make_encoder(build(ProtocolConfig, {'encoder.name': 'python:bad'}), 0, CPU)


@pytest.mark.parametrize(('name', 'value'), [
    ('encoder.convolution', 'auto'), ('encoder.attention', 'flash'), ('run.precision', 'bf16'),
    ('encoder.family', 'both'), ('encoder.as_released', True),
])  # fmt: skip
def test_settings_that_do_not_reach_an_own_encoder_are_refused(name, value):
    with pytest.raises(ConfigError, match=f'^"{name}" is for .*: leave it out$'):
        asked_for('HandMade', **{name: value})
