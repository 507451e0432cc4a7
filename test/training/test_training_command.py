"""What a command that trains says and returns when it does not come to its first step."""

import os
import signal

import pytest

from concerto_ros.errors import ConfigError
from training.command import read_settings, run_command
from training.config import TrainingConfig

ONE_SENTENCE = 'stopped by a signal; the same command goes on from what is saved'


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_first_step_is_one_line(number, tmp_path, capfd):
    def slow_start(_config, _device):
        signal.raise_signal(number)

    arguments = [os.devnull, f'run.output={tmp_path}', 'run.device=cpu']
    assert run_command('training.pretrain', TrainingConfig, slow_start, arguments) == 143
    out, err = capfd.readouterr()
    assert (out.count('\n'), out.rstrip().endswith(ONE_SENTENCE), err) == (1, True, '')


@pytest.mark.parametrize(
    ('argument', 'message'),
    [
        ('lr=1', 'lr=1: unknown parameter "lr"; did you mean "optimizer.lr"?'),
        ('optimizer.lrr=1', 'optimizer.lrr=1: unknown parameter "optimizer.lrr"; did you mean "o'),
        ('optimizer.lr=abc', '"optimizer.lr" must be a float, got \'abc\''),
        ('optimizer.lr=0', '"optimizer.lr" must be > 0.0, got 0.0'),
        ('optimizer.lr', f'expected name=value after {os.devnull}, got "optimizer.lr"'),
    ],
)
def test_a_wrong_argument_is_named(argument, message):
    with pytest.raises(ConfigError) as raised:
        read_settings(TrainingConfig, [os.devnull, argument], 'training.pretrain')
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('optimiser: {lr: 1}', 'unknown parameter "optimiser.lr"; did you mean "optimizer.lr"?'),
        ('model: {kind: ptv3}', 'unknown parameter "model.kind"; known are run.*, data.*, view'),
        ('run: 3', 'unknown parameter "run"; known are run.output, run.seed'),
        ('optimizer: {learning_rate: 1}', '; known are optimizer.lr, optimizer.layer_decay'),
        ('optimizer: {lr: x}', '"optimizer.lr" must be a float, got \'x\', a str'),
    ],
)
def test_a_wrong_setting_in_a_file_is_named_with_the_file(text, message, tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_settings(TrainingConfig, [str(path)], 'training.pretrain')
    assert str(raised.value).startswith(f'{path}: ')
    assert message in str(raised.value)


def test_arguments_may_change_together_what_is_wrong_alone(tmp_path):
    arguments = [os.devnull, 'views.local_low=0.5', 'views.local_high=0.6']
    assert read_settings(TrainingConfig, arguments, 'training.pretrain').views.local_low == 0.5
