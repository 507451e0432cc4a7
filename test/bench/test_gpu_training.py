"""The script that trains on a GPU, every part of it once, on a CPU."""

import re
import sys

import pytest
import torch

from bench import gpu_training


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['bench.gpu_training', *map(str, arguments)])
    return gpu_training.main()


@pytest.mark.slow
def test_parity_and_speed_without_a_gpu(monkeypatch, capsys, tmp_path):
    parts = ('--parts', 'parity', 'speed')
    assert run(monkeypatch, '--device', 'cpu', '--tiny', *parts, '--folder', tmp_path) == 0
    printed = capsys.readouterr().out
    assert re.search(r'parity nano fp32, \d+ points: errors mask \S+, .*cross_modal \S+', printed)
    for case in ('images', 'cached tokens'):
        assert re.search(
            rf'training nano, {case}, 1 workers: \S+k points/s, \d+ ms a step, waiting \S+ of the '
            r'time.*\n  ms of a step: waiting \S+, copy \S+, image encoder \S+, forward',
            printed,
        )
    assert printed.endswith('gpu_training: all well\n')


def test_a_wrong_term_is_told(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(gpu_training, '_TOLERANCE', 0.0)
    arguments = ('--device', 'cpu', '--tiny', '--parts', 'parity', '--folder', tmp_path)
    assert run(monkeypatch, *arguments) == 1
    assert 'ARE TOO LARGE' in capsys.readouterr().out


@pytest.mark.slow
def test_the_comparison_without_a_gpu(monkeypatch, tmp_path):
    arguments = ('--device', 'cpu', '--tiny', '--parts', 'comparison', '--folder', tmp_path)
    assert run(monkeypatch, *arguments) == 0
    assert '| joint - concat |' in (tmp_path / 'compare' / 'report.md').read_text()


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert run(monkeypatch) == 2
    assert '--device cpu --tiny tries the script' in capsys.readouterr().out
