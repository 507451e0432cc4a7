"""One case of the encoder benchmark, in a process with the threads and the malloc to measure.

python -m bench.encoder_case time SIZE POINTS ROUNDS
python -m bench.encoder_case memory SIZE POINTS
python -m bench.encoder_case plan SIZE POINTS
python -m bench.encoder_case scaling SIZE POINTS ...
"""

import ctypes
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from bench.indoor_cloud import indoor_points
from bench.published_network import Attention, Convolution, PublishedNetwork, Serialisation
from concerto_ros.model import BackboneConfig, PointBatch, PointTransformerV3, make_plan, precision

CONFIGS = {
    'small': BackboneConfig(
        enc_depths=(2, 2, 2, 6, 2),
        enc_channels=(32, 64, 128, 256, 512),
        enc_num_head=(2, 4, 8, 16, 32),
    ),
    'base': BackboneConfig(),
    'large': BackboneConfig(
        enc_channels=(64, 128, 256, 512, 768), enc_num_head=(4, 8, 16, 32, 48)
    ),
}
_CPU = torch.device('cpu')
_TOLERANCE = 1e-5  # of the largest feature
_SEED = 0  # of the published network's random order of curves


def measure_time(size: str, num_points: int, rounds: int) -> None:
    """Print how much faster our encoder is, in single precision and with bfloat16 products."""
    points, ours = indoor_points(num_points), random_encoder(size)
    published = PublishedNetwork(ours.config).eval()
    published.load_state_dict(ours.state_dict(), assign=True)
    _check_equality(published, ours, points)
    runs = {
        'published': lambda: published(points),
        'fp32': lambda: ours(points),
        'bf16': lambda: _in_bfloat16(ours, points),
    }
    seconds = _shortest(runs, rounds)
    threads = torch.get_num_threads()
    case = f'encoder {size} {num_points // 1000}k {threads} thread{"s" * (threads > 1)}'
    malloc = ', tuned malloc' if 'MALLOC_MMAP_MAX_' in os.environ else ''
    for name in ('fp32', 'bf16'):
        print(
            f'{case} {name}: {seconds["published"] / seconds[name]:.1f}x faster than published'
            f'{malloc} ({seconds[name]:.2f} s against {seconds["published"]:.2f} s)'
        )
    if threads == 1 and not malloc:
        print(f'  of which published: {_shares(published, points)}', flush=True)


def measure_memory(size: str, num_points: int) -> None:
    """Print the peak of memory over the weights, of each network in a process of its own."""
    found = {}
    for name in ('fp32', 'bf16', 'published'):
        command = [sys.executable, '-m', __spec__.name, 'peak', size, str(num_points), name]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[name] = float(run.stdout)
    print(
        f'encoder {size} {num_points // 1000}k memory over the weights: {found["fp32"]:.2f} GB '
        f'fp32, {found["bf16"]:.2f} GB bf16, against {found["published"]:.2f} GB published'
    )


def measure_peak(size: str, num_points: int, name: str) -> None:
    """Print by how much the memory of this process grows at most in a forward pass [GB]."""
    points, model = indoor_points(num_points), random_encoder(size)
    run: Callable[[PointBatch], object] = model
    if name == 'published':
        run = PublishedNetwork(model.config).eval()
        run.load_state_dict(model.state_dict(), assign=True)
    elif name == 'bf16':
        run = lambda points: _in_bfloat16(model, points)  # noqa: E731
    with torch.inference_mode():
        run(indoor_points(2000))  # for what is loaded once
        ctypes.CDLL(None).malloc_trim(0)  # so that no free memory is at hand
        Path('/proc/self/clear_refs').write_text('5')  # forgets the peak so far
        before = _status('VmRSS')
        run(points)
    print((_status('VmHWM') - before) / 1e6)


def measure_plan(size: str, num_points: int) -> None:
    """Print the time for all that does not depend on features."""
    points, config = indoor_points(num_points), CONFIGS[size]

    def prepare() -> None:
        for stage in make_plan(points.grid_coord, points.offset, config).stages:
            _ = stage.neighborhood.pairs  # made when first used

    seconds = _shortest({'plan': prepare}, 20)['plan']
    print(f'encoder {num_points // 1000}k plan: {1000 * seconds:.1f} ms')


def measure_scaling(size: str, *num_points: int) -> None:
    """Print the time per point of ever larger clouds."""
    model = random_encoder(size)
    for n in num_points:
        points = indoor_points(n)
        seconds = _shortest({'fp32': lambda points=points: model(points)}, 2)['fp32']
        print(
            f'encoder {size} {n // 1000}k fp32: {1e6 * seconds / n:.1f} us per point', flush=True
        )


def random_encoder(size: str) -> PointTransformerV3:
    """Return a network in which all layers matter: weights scaled by their fan-in, not small."""
    generator = torch.Generator().manual_seed(0)
    model = PointTransformerV3(CONFIGS[size]).eval()
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim > 1:
                weight.copy_(noise / weight[0].numel() ** 0.5)
            else:
                weight.add_(noise, alpha=0.2)
    return model


def _in_bfloat16(model: PointTransformerV3, points: PointBatch) -> object:
    with precision('bf16', _CPU):
        return model(points)


def _check_equality(
    published: PublishedNetwork, ours: PointTransformerV3, points: PointBatch
) -> None:
    """Stop if the two do not compute the same, or the comparison would mean nothing."""
    with torch.inference_mode():
        torch.manual_seed(_SEED)
        expected = published(points)[0].feat
        torch.manual_seed(_SEED)
        found = ours(points, reference=True).levels[0].feat
    error = float((found - expected).abs().max() / expected.abs().max())
    if not error < _TOLERANCE:
        sys.exit(f'encoder: features differ from the published ones by {error:.1e}')


def _shortest(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the least time of each, taken in turns [s].

    On one thread that is time of the processor, which other work on the machine disturbs least.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    least = dict.fromkeys(runs, float('inf'))
    with torch.inference_mode():
        for _ in range(rounds):
            for name, run in runs.items():
                started = clock()
                run()
                least[name] = min(least[name], clock() - started)
    return least


def _shares(published: PublishedNetwork, points: PointBatch) -> str:
    """Tell where the published network spends its time."""
    kinds = {Attention: 'attention', Convolution: 'convolution', Serialisation: 'serialisation'}
    spent: Counter[str] = Counter()
    for name, module in published.named_modules():
        kind = 'MLP' if name.endswith('.mlp') else kinds.get(type(module))
        if kind:
            _watch(module, kind, spent)
    started = time.process_time()
    published(points)
    total = time.process_time() - started
    return ', '.join(f'{kind} {100 * s / total:.0f} %' for kind, s in spent.most_common())


def _watch(module: nn.Module, kind: str, spent: Counter[str]) -> None:
    """Add the time that a module takes to that of its kind."""

    def begin(*_: object) -> None:
        spent[kind] -= time.process_time()

    def end(*_: object) -> None:
        spent[kind] += time.process_time()

    module.register_forward_pre_hook(begin)
    module.register_forward_hook(end)


def _status(name: str) -> int:
    """Return a number of /proc/self/status [kB]."""
    status = Path('/proc/self/status').read_text()
    return int(re.search(rf'{name}:\s+(\d+)', status)[1])


_CASES: dict[str, Callable[..., None]] = {
    'time': measure_time,
    'memory': measure_memory,
    'peak': measure_peak,
    'plan': measure_plan,
    'scaling': measure_scaling,
}

if __name__ == '__main__':
    _, kind, *rest = sys.argv
    _CASES[kind](*(int(word) if word.isdigit() else word for word in rest))
