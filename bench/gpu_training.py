"""Pretraining on a GPU: parity with the CPU, time, memory, waiting for data, and the comparison.

`make gpu-check` runs it last. It prepares synthetic rooms on all cores, then runs these parts:

    parity       the loss terms of one step in fp32, on the device and on the CPU
    speed        steps of small and base at the published batch of a GPU: 3 scenes, 65,536 points,
                 images of 518 px through ViT-g of random weights, or tokens of it from a cache
    masked       both of masked scene modelling, without waiting for data; see `bench.gpu_masked`
    comparison   `training.compare` by config/training/compare_gpu.yaml, about 20 minutes

Without a GPU, `--device cpu --tiny` runs every part of it once on networks of a moment.
"""

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench.gpu_comparison import run_comparison
from bench.gpu_masked import check_masked
from bench.gpu_tools import Clock
from bench.gpu_training_task import PARTS, GivenEncoderTask, random_image_encoder, run_steps
from bench.stages import Stages
from bench.step_check import middle_of_training, random_objective
from bench.training_scene import batch_of, part, room_sample, token_shape
from training.config import (
    AugmentationConfig,
    BackboneSection,
    CrossModalConfig,
    DataConfig,
    DistillationConfig,
    RunConfig,
    TrainingConfig,
    ViewsConfig,
)
from training.image_encoders import ImageEncoder
from training.prepare.command import main as prepare
from training.structures import ViewBatch

_ALL = ('parity', 'speed', 'masked', 'comparison')
_TOLERANCE = 1e-3  # of a loss term
_MOST_WAITING = 0.1  # of the time
_TINY_ENCODER = {'embed_dim': 32, 'depth': 1, 'num_heads': 2}


def main() -> int:
    """Return 0 if the losses agree with those of the CPU and the comparison ended well."""
    args = _parser().parse_args()
    if args.device.type == 'cuda' and not torch.cuda.is_available():
        print('gpu_training: there is no CUDA device; --device cpu --tiny tries the script')
        return 2
    if args.tiny:
        args.sizes, args.rooms, args.steps, args.workers = ['nano'], 2, 3, [1]
    num_wrong = 0
    if 'parity' in args.parts:
        num_wrong = sum(check_parity(size, args) for size in args.sizes)
    if 'speed' in args.parts:
        make_scenes(args)
        shape = _TINY_ENCODER if args.tiny else {}
        encoder = random_image_encoder(_config(args.sizes[0], args).cross_modal, shape)
        for size in args.sizes:
            for is_cached in (False, True):
                print_speed(size, args, encoder, is_cached=is_cached)
    if 'masked' in args.parts:
        num_wrong += check_masked(args, _TOLERANCE)
    if 'comparison' in args.parts:
        folder, num_workers = args.folder / 'compare', max(args.workers)
        num_wrong += run_comparison(folder, args.device, num_workers, tiny=args.tiny) != 0
    print('gpu_training: all well' if not num_wrong else f'gpu_training: {num_wrong} parts failed')
    return int(num_wrong > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m bench.gpu_training',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cores = os.cpu_count() or 1
    parser.add_argument('--device', type=torch.device, default=torch.device('cuda'))
    parser.add_argument('--tiny', action='store_true', help='tiny networks, views and rooms')
    parser.add_argument('--parts', nargs='+', choices=_ALL, default=_ALL)
    parser.add_argument('--sizes', nargs='+', default=['small', 'base'], help='of the backbone')
    parser.add_argument('--folder', type=Path, default=Path('runs/gpu_check'), help='of all files')
    parser.add_argument('--rooms', type=int, default=24, help='for the speed of training')
    parser.add_argument('--steps', type=int, default=30, help='that are timed')
    parser.add_argument(
        '--workers', nargs='+', type=int, default=sorted({max(1, cores // 2), max(1, cores - 2)}),
        help='processes that make views, one measurement each',
    )  # fmt: skip
    return parser


# --- parity ------------------------------------------------------------------------------


def check_parity(size: str, args: argparse.Namespace) -> bool:
    """Print the terms of one step on the CPU and on the device; tell whether they differ."""
    config = _config(size, args)
    config = replace(config, backbone=replace(config.backbone, drop_path=0.0))
    num_points = config.views.max_points if args.tiny else 8192
    config = replace(config, views=replace(config.views, max_points=num_points))
    spacing = 0.1 if args.tiny else 0.02
    scene = part(room_sample(spacing, token_shape(config).patches), 2 * num_points)
    batch = batch_of(scene, 0, config)
    expected = _terms(config, batch, torch.device('cpu'))
    found = _terms(config, batch, args.device)
    errors = {name: abs(found[name] - v) / max(abs(v), 1e-6) for name, v in expected.items()}
    shown = ', '.join(f'{name} {error:.1e}' for name, error in errors.items())
    is_wrong = not max(errors.values()) < _TOLERANCE
    print(f'parity {size} fp32, {batch.num_points} points: errors {shown}'
          f'{" ARE TOO LARGE" if is_wrong else ""}')  # fmt: skip
    return is_wrong


def _terms(config: TrainingConfig, batch: ViewBatch, device: torch.device) -> dict[str, float]:
    """Return the terms and the norm of the gradient."""
    objective = random_objective(config).to(device)
    terms = objective(batch.to(device), middle_of_training(config))
    torch.autograd.backward(terms.total)
    gradient = torch.nn.utils.get_total_norm(
        [p.grad for p in objective.parameters() if p.grad is not None]
    )
    return {name: float(v) for name, v in terms.terms.items()} | {'gradient': float(gradient)}


# --- time and memory ---------------------------------------------------------------------


def make_scenes(args: argparse.Namespace) -> None:
    """Make the rooms that are trained on, on all cores."""
    small = ('--frames', '4', '--images', '2', '--size', '64x48') if args.tiny else ()
    root, num_workers = str(args.folder / 'rooms'), str(max(args.workers))
    started = time.perf_counter()
    prepare(('rooms', '--seeds', f'0:{args.rooms}', '-o', root, '--workers', num_workers, *small))
    print(f'{args.rooms} rooms after {time.perf_counter() - started:.0f} s', flush=True)


def print_speed(
    size: str, args: argparse.Namespace, encoder: ImageEncoder, *, is_cached: bool
) -> None:
    """Print the speed of training by number of workers, and the time of a step by part."""
    case = f'training {size}, {"cached tokens" if is_cached else "images"}'
    try:
        task = GivenEncoderTask(_config(size, args, is_cached=is_cached), args.device, encoder)
        for num_workers in args.workers:
            data = replace(task.config.data, num_workers=num_workers)
            task.config = replace(task.config, data=data)
            print(f'{case}, {num_workers} workers: {_speed(task, args)}', flush=True)
        print(f'  ms of a step: {_parts(task, args)}', flush=True)
    except torch.cuda.OutOfMemoryError:
        print(f'{case}: does not fit into memory')


def _speed(task: GivenEncoderTask, args: argparse.Namespace) -> str:
    """Train without stopping to look."""
    if args.device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(args.device)
    batches = task.batches(0)
    stages, clock = Stages(), Clock(args.device, 1)
    # What workers made ahead while the first steps warmed up must be used up, too.
    run_steps(task, batches, 3 + 2 * task.config.data.num_workers, stages)
    stages.rounds.clear()
    started = clock.now()
    num_points = run_steps(task, batches, args.steps, stages)
    seconds = clock.now() - started
    waiting = sum(spent['waiting'] for spent in stages.rounds) / seconds
    is_long, ms = waiting > _MOST_WAITING, 1000 * seconds / args.steps
    return (
        f'{num_points / seconds / 1e3:.1f}k points/s, {ms:.0f} ms a step, waiting {waiting:.1%} '
        f'of the time{" (TOO LONG)" if is_long else ""}, {_memory(args)}'
    )


def _parts(task: GivenEncoderTask, args: argparse.Namespace) -> str:
    """Stop after each part of a step to see what it took."""
    stages = Stages(Clock(args.device, 1).now)
    run_steps(task, task.batches(0), 2 + args.steps // 3, stages)
    return ', '.join(f'{name} {stages.ms(name, warmup=2):.1f}' for name in PARTS)


def _memory(args: argparse.Namespace) -> str:
    if args.device.type != 'cuda':
        return 'memory of a CPU is not measured'
    return f'{torch.cuda.max_memory_allocated(args.device) / 1e9:.1f} GB at most'


# --- settings ----------------------------------------------------------------------------


def _config(size: str, args: argparse.Namespace, *, is_cached: bool = False) -> TrainingConfig:
    """Return the published settings at the batch of one GPU, or tiny ones."""
    cross_modal = CrossModalConfig(token_cache=str(args.folder / 'tokens') if is_cached else '')
    config = TrainingConfig(
        run=RunConfig(precision='bf16' if args.device.type == 'cuda' else 'fp32'),
        data=DataConfig(
            splits=str(args.folder / 'rooms' / 'splits' / 'train.json'),
            batch_size=3,
        ),
        augmentation=AugmentationConfig(image=not is_cached),
        backbone=BackboneSection(size=size),
        cross_modal=cross_modal,
    )
    return _shrunk(config) if args.tiny else config


def _shrunk(config: TrainingConfig) -> TrainingConfig:
    changes: dict[str, Any] = {
        'views': ViewsConfig(max_points=300),
        'backbone': replace(
            config.backbone, depths='1,1,1,1,1', channels='16,16,16,32,32', heads='1,1,1,2,2'
        ),
        'data': replace(config.data, voxel_size=0.1, batch_size=2),
        'distillation': DistillationConfig(hidden=16, embed=8, prototypes=16),
        'cross_modal': replace(
            config.cross_modal, image_encoder='timm:vit_small_patch14_reg4_dinov2', image_size=28
        ),
    }
    return replace(config, **changes)


if __name__ == '__main__':
    sys.exit(main())
