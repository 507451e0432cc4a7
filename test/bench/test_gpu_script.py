"""The script of `make gpu-check`, every part of it once, on a CPU."""

import re
import sys

import torch

from bench import gpu
from bench.gpu_stages import least_work
from concerto_ros.model import make_plan


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['bench.gpu', *arguments])
    monkeypatch.setitem(gpu.CONFIGS, 'tiny', None)  # so that it is gone afterwards
    return gpu.main()


def test_every_part_runs_without_a_gpu(monkeypatch, capsys):
    assert run(monkeypatch, '--device', 'cpu', '--tiny') == 0
    printed = capsys.readouterr().out
    for name in ('fp32', 'bf16', 'fp16'):
        assert re.search(rf'parity tiny \d+ {name} torch\+sdpa: error \S+\n', printed)
        assert re.search(rf'gpu tiny \d+ {name} torch\+sdpa: \S+ ms, \S+ GB', printed)
        assert re.search(rf'stages tiny \d+ {name}:\n  plan \S+ ms\n  convolution', printed)
    assert re.search(r'parity tiny \d+ published, .*: error \S+\n', printed)
    assert 'faster than published, pairs instead of spconv, scores in memory' in printed
    assert re.search(r'\d+ calls of operators', printed)
    assert re.search(r'pipeline fp16, .*frame .* window .* encoder .* write ', printed)
    assert 'left out: convolution by spconv is not possible' in printed
    assert printed.endswith('gpu: all agree\n')


def test_a_wrong_result_is_told(monkeypatch, capsys):
    monkeypatch.setitem(gpu._TOLERANCE, 'bf16', 1e-9)
    monkeypatch.setitem(gpu.CONFIGS, 'tiny', gpu._tiny_config())
    points = gpu._cloud(300, is_tiny=True)
    backends = [('torch', 'sdpa')]
    assert gpu._check_parity(['tiny'], points, torch.device('cpu'), backends) == 1
    assert 'bf16 torch+sdpa: error' in capsys.readouterr().out.split(' IS TOO LARGE')[0]


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert run(monkeypatch) == 2
    assert '--device cpu --tiny tries the script' in capsys.readouterr().out


def test_the_least_work_of_one_full_window():
    config = gpu._tiny_config()
    model = gpu.PointTransformerV3(config)
    grid = torch.cartesian_prod(*[torch.arange(4)] * 3)  # 64 voxels, one window at level 0
    plan = make_plan(grid, torch.tensor([64]), config)
    work = least_work(model, plan, 'bf16')
    cells, channels = (64, 8, 1, 1, 1), config.enc_channels
    pairs = (10**3, 4**3, 1, 1, 1)  # 3 m - 2 along each axis
    assert work['MLP'].flops == sum(16 * n * c * c for n, c in zip(cells, channels, strict=True))
    assert work['convolution'].flops == sum(
        2 * n * c * c for n, c in zip(pairs, channels, strict=True)
    )
    assert work['attention'].flops == sum(
        8 * n * c * c + 4 * n * n * c for n, c in zip(cells, channels, strict=True)
    )
