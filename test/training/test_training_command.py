"""What a command that trains says and returns when it does not come to its first step."""

import os
import signal

import pytest

from training.command import run_command
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
