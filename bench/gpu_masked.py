"""Masked scene modelling on a GPU: parity with the CPU, and steps per second.

`python -m bench.gpu_training --parts masked` runs it, with the views of
config/training/msm_rooms.yaml, our encoder and the network of the paper: as set there, and, for
speed, also with the fastest convolution and attention that can run.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from bench.gpu_tools import Clock
from bench.masked_step import masked_batch
from bench.training_scene import part, room_sample
from concerto_ros.config.tree import build, read_plain_yaml
from concerto_ros.model import precision
from training.masked_scene.batch import MaskedBatch
from training.masked_scene.config import MaskedConfig
from training.masked_scene.objective import MaskedSceneObjective
from training.masked_scene.schedule import masked_values
from training.networks.backends import use_backends
from training.networks.make import make_network
from training.optimizer import adamw

_SETTINGS = Path('config/training/msm_rooms.yaml')
_KINDS = ('concerto', 'hunet')
_SCENE_POINTS = 113_000  # as rooms of `prepare rooms` have
_WARMUP = 3  # steps
_TINY = {'data.voxel_size': 0.2, 'views.crop_size': 200}


def check_masked(args: argparse.Namespace, tolerance: float) -> int:
    """Print losses and gradient of one step on the CPU and on the device, and the speed of more.

    Args:
        args: Of the command: `device`, `steps` and `tiny`.
        tolerance: Of a term, relative.

    Returns:
        For how many networks terms differ.
    """
    spacing, num_points = (0.1, 2000) if args.tiny else (0.02, _SCENE_POINTS)
    scene = part(room_sample(spacing), num_points)
    num_wrong = 0
    settings = {**read_plain_yaml(_SETTINGS), **(_TINY if args.tiny else {})}
    for name in _KINDS:
        config = build(MaskedConfig, {**settings, 'network.kind': name})
        batch = masked_batch(scene, 0, config)
        num_wrong += _differ(name, config, batch, args.device, tolerance)
        fastest = replace(config.network, convolution='auto', attention='auto')
        for network in (config.network, fastest):
            speed = _speed(replace(config, network=network), batch, args)
            print(f'masked {name}: {speed}', flush=True)
    return num_wrong


def _differ(
    name: str, config: MaskedConfig, batch: MaskedBatch, device: torch.device, tolerance: float
) -> bool:
    expected = _terms(config, batch, torch.device('cpu'))
    found = _terms(config, batch, device)
    errors = {k: abs(found[k] - value) / max(abs(value), 1e-6) for k, value in expected.items()}
    is_wrong = found.keys() != expected.keys() or not max(errors.values()) < tolerance
    shown = ', '.join(f'{term} {error:.1e}' for term, error in errors.items())
    print(f'parity {name} fp32, {batch.num_points} voxels: errors {shown}'
          f'{" ARE TOO LARGE" if is_wrong else ""}', flush=True)  # fmt: skip
    return is_wrong


def _terms(config: MaskedConfig, batch: MaskedBatch, device: torch.device) -> dict[str, float]:
    """Return the losses and the norm of the gradient; nothing is dropped at random."""
    objective, _ = _objective(config, device)
    objective.eval()
    values = masked_values(config.run.num_steps // 2, config.run.num_steps, config.optimizer,
                           config.teacher)  # fmt: skip
    terms = objective(batch.to(device), values)
    torch.autograd.backward(terms.total)
    gradient = nn.utils.get_total_norm(
        [p.grad for p in objective.parameters() if p.grad is not None]
    )
    losses = {k: float(v) for k, v in terms.terms.items() if k in objective.weights}
    return {**losses, 'gradient': float(gradient)}


def _speed(config: MaskedConfig, batch: MaskedBatch, args: argparse.Namespace) -> str:
    """Train on the same views again and again, without waiting for any."""
    device = args.device
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        config = replace(config, run=replace(config.run, precision='bf16'))
    (objective, told), batch = _objective(config, device), batch.to(device)
    objective.train()
    optimizer = adamw(objective, config.optimizer.lr)
    num_steps, clock = _WARMUP + args.steps, Clock(device, 1)
    started = clock.now()
    for step in range(num_steps):
        if step == _WARMUP:
            started = clock.now()
        values = masked_values(step, num_steps, config.optimizer, config.teacher)
        optimizer.zero_grad(set_to_none=True)
        with precision(config.run.precision, device):
            terms = objective(batch, values)
        torch.autograd.backward(terms.total)
        nn.utils.clip_grad_norm_(objective.parameters(), config.optimizer.clip)
        optimizer.step()
        objective.update_teacher(values.momentum)
    seconds = (clock.now() - started) / args.steps
    memory = f', {torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB at most' * (
        device.type == 'cuda'
    )
    return (
        f'{1 / seconds:.2f} steps/s in {config.run.precision}, '
        f'{batch.num_points / seconds / 1e3:.1f}k voxels/s{memory}; {told}'
    )


def _objective(config: MaskedConfig, device: torch.device) -> tuple[MaskedSceneObjective, str]:
    """Return what is trained, and what computes it."""
    torch.manual_seed(0)
    network = config.network
    objective = MaskedSceneObjective(config, lambda: make_network(network)).to(device)
    chosen = use_backends(
        objective,
        network.convolution,
        network.attention,
        device=device,
        number_format=config.run.precision,
    )
    return objective, '; '.join(backend.notice for backend in chosen)
