"""The script that trains on a GPU, every part of it once, on a CPU."""

import re
import runpy
import sys

import pytest
import torch

from bench import gpu_training
from bench.gpu_comparison import prepare_comparison
from training.command import read_settings
from training.compare import PROG, stages
from training.comparison.config import CompareConfig
from training.made_by import write_made_by


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


@pytest.mark.slow
def test_masked_scene_modelling_without_a_gpu(monkeypatch, capsys, tmp_path):
    arguments = ('--device', 'cpu', '--tiny', '--parts', 'masked', '--folder', tmp_path)
    assert run(monkeypatch, *arguments) == 0
    printed = capsys.readouterr().out
    for name in ('concerto', 'hunet'):
        assert re.search(
            rf'parity {name} fp32, \d+ voxels: errors level0 \S+, .*gradient \S+\n'
            rf'masked {name}: \S+ steps/s in fp32, \S+k voxels/s; .* torch: as configured; .*\n'
            rf'masked {name}: .* torch: spconv is for CUDA.* sdpa: flash_attn is for CUDA',
            printed,
        )


@pytest.mark.parametrize('part', ['parity', pytest.param('masked', marks=pytest.mark.slow)])
def test_a_wrong_term_is_told(monkeypatch, capsys, tmp_path, part):
    monkeypatch.setattr(gpu_training, '_TOLERANCE', 0.0)
    arguments = ('--device', 'cpu', '--tiny', '--parts', part, '--folder', tmp_path)
    assert run(monkeypatch, *arguments) == 1
    assert 'ARE TOO LARGE' in capsys.readouterr().out


def run_here(job, monkeypatch):
    """Do what the process of a job would, in this one, which has imported torch already."""
    write_made_by(job.record, job.made_by())
    module, *arguments = job.arguments
    monkeypatch.setattr(sys, 'argv', [module, *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name='__main__', alter_sys=True)
    assert not ended.value.code


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore:.*found in sys.modules:RuntimeWarning')  # of runpy
def test_the_comparison_without_a_gpu(monkeypatch, tmp_path):
    argv = prepare_comparison(tmp_path / 'compare', torch.device('cpu'), 1, tiny=True)
    _, *stages_of_jobs = stages(read_settings(CompareConfig, argv, PROG))  # rooms are made
    *jobs, last = [job for jobs in stages_of_jobs for job in jobs]
    for job in jobs:
        run_here(job, monkeypatch)
    assert not last.done.exists()  # that and the table are left for the script
    arguments = ('--device', 'cpu', '--tiny', '--parts', 'comparison', '--folder', tmp_path)
    assert run(monkeypatch, *arguments) == 0
    assert '| joint - concat |' in (tmp_path / 'compare' / 'report.md').read_text()


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert run(monkeypatch) == 2
    assert '--device cpu --tiny tries the script' in capsys.readouterr().out
