"""Everything that only a GPU can tell: parity, time, memory, floors, launches, the pipeline.

`make gpu-check` runs it after the tests marked gpu. Without a GPU, `--device cpu --tiny` runs
every part of it once, but those that need spconv or flash_attn.
"""

import argparse
import itertools
import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from bench.encoder_case import CONFIGS, random_encoder
from bench.gpu_pipeline import print_pipeline
from bench.gpu_stages import print_stages
from bench.gpu_tools import Ceilings, Clock, launches
from bench.indoor_cloud import indoor_points
from bench.published_network import (
    Attention,
    Convolution,
    Level,
    PublishedNetwork,
    Serialisation,
    padding,
)
from concerto_ros.errors import BackendUnavailable
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.model import (
    BackboneConfig,
    PointBatch,
    PointTransformerV3,
    precision,
    prepare_cloud,
)
from concerto_ros.model.attention import use_attention
from concerto_ros.model.attention_backend import select_attention
from concerto_ros.model.precision import DTYPES
from concerto_ros.model.sparse_conv import find_neighbors, select_backend, use_backend

# Largest error of a level, relative to its norm, that precision alone explains.
_TOLERANCE = {'fp32': 1e-4, 'bf16': 3e-2, 'fp16': 5e-3}
_TINY_CAMERA = PinholeCamera(width=64, height=48, fx=58.0, fy=58.0, cx=31.5, cy=23.5)
_CAMERA = PinholeCamera(width=640, height=480, fx=525.0, fy=525.0, cx=319.5, cy=239.5)


def main() -> int:
    """Return 0 if all results agree with those of the CPU."""
    args = _parser().parse_args()
    if args.device.type == 'cuda' and not torch.cuda.is_available():
        print('gpu: there is no CUDA device; --device cpu --tiny tries the script')
        return 2
    if args.tiny:
        args.sizes, args.points, args.rounds = ['tiny'], [600], 1
        CONFIGS['tiny'] = _tiny_config()
    clock = Clock(args.device, args.rounds)
    print(f'device: {_device_name(args.device)}, torch {torch.__version__}')
    ceilings = Ceilings(clock, 64 if args.tiny else 8192)
    print(f'ceilings: {ceilings}')
    backends = _backends(args.device)
    cloud = partial(_cloud, is_tiny=args.tiny)
    num_wrong = _check_parity(args.sizes, cloud(min(args.points)), args.device, backends)
    for size in args.sizes:
        _print_times(size, [cloud(n) for n in args.points], clock, backends)
    model, points = random_encoder(args.sizes[-1]).to(args.device), cloud(args.points[-1])
    points = points.to(args.device)
    for name in DTYPES:
        print(f'stages {args.sizes[-1]} {_thousands(len(points))} {name}:')
        print_stages(model, points, name, clock, ceilings)
    camera, num_frames = (_TINY_CAMERA, 2) if args.tiny else (_CAMERA, 50)
    for name in ('fp32', 'fp16'):
        print_pipeline(model, name, clock, num_frames, camera)
    print('gpu: all agree' if not num_wrong else f'gpu: {num_wrong} results are wrong')
    return int(num_wrong > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m bench.gpu', description=__doc__)
    parser.add_argument('--device', type=torch.device, default=torch.device('cuda'))
    parser.add_argument('--tiny', action='store_true', help='a tiny network and cloud')
    parser.add_argument('--sizes', nargs='+', default=['small', 'large', 'base'])
    parser.add_argument(
        '--points', nargs='+', type=int, default=[20_000, 120_000, 250_000, 60_000],
        help='the last size at the last number of points is looked at stage by stage',
    )  # fmt: skip
    parser.add_argument('--rounds', type=int, default=10)
    return parser


# --- what computes -----------------------------------------------------------------------


def _backends(device: torch.device) -> list[tuple[str, str]]:
    """Return the pairs of convolution and attention that can run, and say what cannot."""
    found: dict[str, list[str]] = {'convolution': [], 'attention': []}
    for kind, name, select in (
        ('convolution', 'torch', lambda n: select_backend(n, device)),
        ('convolution', 'spconv', lambda n: select_backend(n, device)),
        ('attention', 'sdpa', lambda n: select_attention(n, device, torch.float16)),
        ('attention', 'flash', lambda n: select_attention(n, device, torch.float16)),
    ):
        try:
            select(name)
        except BackendUnavailable as err:
            print(f'left out: {err}')
            continue
        found[kind].append(name)
    return list(itertools.product(found['convolution'], found['attention']))


def _computed_by(
    model: PointTransformerV3, backend: tuple[str, str], name: str, device: torch.device
) -> PointTransformerV3:
    use_backend(model, select_backend(backend[0], device))
    use_attention(model, select_attention(backend[1], device, DTYPES[name]))
    return model


def _cases(backends: list[tuple[str, str]]) -> list[tuple[tuple[str, str], str]]:
    """Return backends by precision; flash rounds to half precision, so it is left out in fp32."""
    cases = itertools.product(backends, DTYPES)
    return [(backend, name) for backend, name in cases if 'flash' not in backend or name != 'fp32']


# --- parity ------------------------------------------------------------------------------


def _check_parity(
    sizes: list[str], points: PointBatch, device: torch.device, backends: list[tuple[str, str]]
) -> int:
    """Compare all levels with those of the CPU in fp32; return how many cases differ too much."""
    num_wrong = 0
    for size in sizes:
        model = random_encoder(size)
        with torch.inference_mode():
            expected = [level.feat for level in model(points).levels]
        model, there = model.to(device), points.to(device)
        case = f'parity {size} {_thousands(len(points))}'
        for backend, name in _cases(backends):
            _computed_by(model, backend, name, device)
            with torch.inference_mode(), precision(name, device):
                found = [level.feat for level in model(there).levels]
            error = max(map(_relative_error, found, expected))
            num_wrong += _is_wrong(f'{case} {name} {"+".join(backend)}', error, _TOLERANCE[name])
        parts, published = _published(model, device, backends)
        tolerance = _TOLERANCE['fp16' if 'flash' in parts else 'fp32']
        error = _relative_error(published(there)[0].feat, expected[0])
        num_wrong += _is_wrong(f'{case} published, {parts}', error, tolerance)
    return num_wrong


def _is_wrong(label: str, error: float, tolerance: float) -> bool:
    is_wrong = not error < tolerance
    print(f'{label}: error {error:.1e}{" IS TOO LARGE" if is_wrong else ""}')
    return is_wrong


def _relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found.cpu().float() - expected).norm() / expected.norm())


# --- time and memory ---------------------------------------------------------------------


def _print_times(
    size: str, clouds: list[PointBatch], clock: Clock, backends: list[tuple[str, str]]
) -> None:
    model = random_encoder(size).to(clock.device)
    parts, published = _published(model, clock.device, backends)
    for points in clouds:
        there = points.to(clock.device)
        case = f'gpu {size} {_thousands(len(points))}'
        published_ms = _print_one(
            f'{case} fp32 published, {parts}', clock, 'fp32', partial(published, there)
        )
        for backend, name in _cases(backends):
            _computed_by(model, backend, name, clock.device)
            run = partial(model, there)
            ms = _print_one(f'{case} {name} {"+".join(backend)}', clock, name, run)
            print(f'  {published_ms / ms:.1f}x faster than published, {parts}')
            with torch.inference_mode(), precision(name, clock.device):
                print(f'  {launches(run, clock)}', flush=True)


def _print_one(label: str, clock: Clock, name: str, run: Callable[[], object]) -> float:
    try:
        with torch.inference_mode(), precision(name, clock.device):
            ms = clock.milliseconds(run)
            peak = clock.peak_gigabytes(run)
    except torch.cuda.OutOfMemoryError:
        print(f'{label}: does not fit into memory')
        return float('nan')
    print(f'{label}: {ms:.2f} ms, {peak:.2f} GB over weights and input')
    return ms


class _FlashAttention(Attention):
    """Attention as the published network runs it on a GPU, by flash_attn in half precision."""

    def forward(self, level: Level) -> Tensor:
        from flash_attn import flash_attn_varlen_qkvpacked_func

        counts = level.batch.bincount().tolist()
        size = self.patch_size
        if 'padding' not in level.shared:
            level.shared['padding'] = padding(counts, size)
        pad, unpad = level.shared['padding']
        order, inverse = level.order[self.curve][pad], unpad[level.inverse[self.curve]]
        starts = [0]
        for n in counts:
            windows = -(-n // size) if n > size else 1
            starts += [starts[-1] + (w + 1) * min(size, n) for w in range(windows)]
        qkv, channels = self.qkv(level.feat)[order], level.feat.shape[1]
        feat = flash_attn_varlen_qkvpacked_func(
            qkv.half().view(-1, 3, self.num_heads, channels // self.num_heads),
            torch.tensor(starts, dtype=torch.int32),
            max_seqlen=size,
            softmax_scale=self.scale,
        )
        return self.proj(feat.reshape(-1, channels).to(qkv.dtype)[inverse])


class _SpconvConvolution(Convolution):
    """Convolution as the published network runs it on a GPU."""

    def forward(self, level: Level) -> Tensor:
        from concerto_ros.model.sparse_conv import spconv_backend

        if 'cells' not in level.shared:
            level.shared['cells'] = find_neighbors(level.grid_coord, level.batch)
        return spconv_backend.convolve(level.feat, self.weight, self.bias, level.shared['cells'])


def _published(
    model: PointTransformerV3, device: torch.device, backends: list[tuple[str, str]]
) -> tuple[str, Callable[[PointBatch], list[Level]]]:
    """Return the published network with the packages it wants, as far as they are there."""
    network = PublishedNetwork(model.config).eval()
    network.load_state_dict(model.state_dict(), assign=True)
    has_spconv = any('spconv' in pair for pair in backends)
    has_flash = any('flash' in pair for pair in backends)
    for module in network.modules():
        if has_spconv and type(module) is Convolution:
            module.__class__ = _SpconvConvolution
        if has_flash and type(module) is Attention:
            module.__class__ = _FlashAttention
        if isinstance(module, Serialisation):
            module.shuffle = False  # so that it computes what ours does
    parts = (
        'with spconv' if has_spconv else 'pairs instead of spconv',
        'with flash-attn' if has_flash else 'scores in memory',
    )

    def run(points: PointBatch) -> list[Level]:
        with device:  # for the tensors that it makes
            return network(points)

    return ', '.join(parts), run


# --- input -------------------------------------------------------------------------------


def _tiny_config() -> BackboneConfig:
    return BackboneConfig(
        enc_depths=(1, 1, 1, 1, 1),
        enc_channels=(16, 32, 32, 48, 64),
        enc_num_head=(1, 2, 2, 3, 4),
        enc_patch_size=(64,) * 5,
    )


def _cloud(num_points: int, is_tiny: bool) -> PointBatch:
    if not is_tiny:
        return indoor_points(num_points)
    generator = torch.Generator().manual_seed(0)
    coord = torch.rand(num_points, 3, generator=generator) * torch.tensor([1.0, 1.0, 0.05])
    return prepare_cloud(coord, torch.full_like(coord, 99.0), torch.zeros_like(coord)).points


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else 'CPU'


def _thousands(num_points: int) -> str:
    return f'{num_points // 1000}k' if num_points >= 1000 else str(num_points)


if __name__ == '__main__':
    sys.exit(main())
