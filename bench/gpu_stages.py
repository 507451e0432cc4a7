"""Where the time of a forward pass goes, against what the device could do at best."""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn

from bench.gpu_tools import DTYPES, Ceilings, Clock
from concerto_ros.model import Plan, PointBatch, PointTransformerV3, make_plan, precision
from concerto_ros.model.attention import SerializedAttention
from concerto_ros.model.blocks import MLP, Embedding, GridPooling
from concerto_ros.model.sparse_conv import SubMConv3d

_KINDS = {
    SubMConv3d: 'convolution',
    SerializedAttention: 'attention',
    MLP: 'MLP',
    GridPooling: 'pooling',
    Embedding: 'embedding',
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The least that a kind of layer must do: bytes to move, each once, and operations."""

    num_bytes: float = 0.0
    flops: float = 0.0

    def __add__(self, other: 'Work') -> 'Work':
        return Work(num_bytes=self.num_bytes + other.num_bytes, flops=self.flops + other.flops)


def print_stages(
    model: PointTransformerV3, points: PointBatch, name: str, clock: Clock, ceilings: Ceilings
) -> None:
    """Print time and floor of each kind of layer; watching costs time, so sums are too high."""
    config = model.config
    plan = make_plan(points.grid_coord, points.offset, config)
    plan_ms = clock.milliseconds(lambda: make_plan(points.grid_coord, points.offset, config))
    print(f'  plan {plan_ms:.2f} ms')
    spent = _spent(model, points, plan, name, clock)
    for kind, work in least_work(model, plan, name).items():
        floor = ceilings.floor_ms(work.num_bytes, work.flops, name)
        print(
            f'  {kind} {spent[kind]:.2f} ms, floor {floor:.3f} ms '
            f'({work.num_bytes / 1e6:.0f} MB, {work.flops / 1e9:.1f} GFLOP)'
        )
    print(f'  pooling {spent["pooling"]:.2f} ms, embedding {spent["embedding"]:.2f} ms')
    rest = spent['all'] - sum(ms for kind, ms in spent.items() if kind != 'all')
    print(f'  norms, sums and the rest {rest:.2f} ms')


def least_work(model: PointTransformerV3, plan: Plan, name: str) -> dict[str, Work]:
    """Count convolution, attention and MLP of all blocks, features in the given precision."""
    config, size = model.config, DTYPES[name].itemsize
    total = dict.fromkeys(('convolution', 'attention', 'MLP'), Work())
    for s, stage in enumerate(plan.stages):
        n, c, depth = len(stage.cells), config.enc_channels[s], config.enc_depths[s]
        table = stage.neighborhood.table
        num_pairs = int((table < n).sum())
        windows = stage.windows[0]
        slots, scores = len(windows.gather), windows.num_full * windows.size**2
        scores += (len(windows.gather) - windows.num_full * windows.size) * windows.short_size
        rows = 2 * n * c * size  # read once, written once
        blocks = {
            'convolution': Work(
                num_bytes=rows + table.nbytes + 27 * c * c * size, flops=2 * num_pairs * c * c
            ),
            'attention': Work(
                num_bytes=rows + 4 * c * c * size,
                flops=6 * slots * c * c + 4 * scores * c + 2 * n * c * c,
            ),
            'MLP': Work(num_bytes=rows + 8 * c * c * size, flops=16 * n * c * c),
        }
        for kind, work in blocks.items():
            total[kind] = sum([work] * depth, total[kind])
    return total


def _spent(
    model: PointTransformerV3, points: PointBatch, plan: Plan, name: str, clock: Clock
) -> Counter[str]:
    """Return the time of each kind of layer and of all, the mean of some rounds [ms]."""
    spent: Counter[str] = Counter()
    handles = []
    for module in model.modules():
        if kind := _KINDS.get(type(module)):
            handles += _watch(module, kind, spent, clock)
    with torch.inference_mode(), precision(name, clock.device):
        model(points, plan=plan)
        spent.clear()
        for _ in range(clock.rounds):
            started = clock.now()
            model(points, plan=plan)
            spent['all'] += 1000 * (clock.now() - started)
    for handle in handles:
        handle.remove()
    return Counter({kind: ms / clock.rounds for kind, ms in spent.items()})


def _watch(module: nn.Module, kind: str, spent: Counter[str], clock: Clock) -> list:
    """Add the time that a module takes to that of its kind."""

    def begin(*_: object) -> None:
        spent[kind] -= 1000 * clock.now()

    def end(*_: object) -> None:
        spent[kind] += 1000 * clock.now()

    return [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
