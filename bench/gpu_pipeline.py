"""Time per stage of the whole pipeline on a device, as a node runs it, with random weights."""

import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import torch

from bench.gpu_tools import Clock
from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.model import PointTransformerV3, save_checkpoint
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.semantics import ClassHead, Translator

_TEXT_DIM = 512
_NUM_NAMES = 20

_Result = TypeVar('_Result')


def print_pipeline(
    model: PointTransformerV3,
    name: str,
    clock: Clock,
    num_frames: int,
    camera: PinholeCamera,
) -> None:
    """Map a synthetic room frame by frame, look at what is due, and print medians by stage."""
    frames = list(SyntheticRoom(seed=1).frames(num_frames, camera=camera))
    times: dict[str, list[float]] = defaultdict(list)
    pipeline = _pipeline(model, name, clock.device)

    def run() -> None:
        for frame in frames:
            _one_frame(frame, pipeline, _Stages(clock, times))

    peak = clock.peak_gigabytes(run)
    stages = ', '.join(f'{stage} {median(ms):.2f}' for stage, ms in times.items())
    print(
        f'pipeline {name}, {pipeline.num_voxels:,} voxels after {num_frames} frames, '
        f'{len(times["encoder"])} windows, ms: {stages}'
    )
    num_bytes = sum(pipeline.memory.values())
    print(f'  peak of memory {peak:.2f} GB, of which the map {num_bytes / 1e9:.3f} GB')


class _Stages:
    """Runs one stage after the other and notes how long each takes [ms]."""

    def __init__(self, clock: Clock, times: dict[str, list[float]]) -> None:
        self.clock, self.times = clock, times

    def __call__(self, stage: str, run: Callable[[], _Result]) -> _Result:
        started = self.clock.now()
        result = run()
        self.times[stage].append(1000 * (self.clock.now() - started))
        return result


def _one_frame(frame: RGBDFrame, pipeline: PerceptionPipeline, stage: _Stages) -> None:
    since = pipeline.revision
    stage('frame', lambda: pipeline.integrate(frame))
    window = stage('window', pipeline.begin_semantics)
    if window is not None:
        pyramid = stage('encoder', lambda: pipeline.run_semantics(window))
        stage('write', lambda: pipeline.finish_semantics(window, pyramid))
    stage('changes', lambda: pipeline.changes(since))


def _pipeline(model: PointTransformerV3, name: str, device: torch.device) -> PerceptionPipeline:
    """Return a pipeline of a network, a class head and a vocabulary of random weights."""
    with tempfile.TemporaryDirectory() as folder:
        values = _save_weights(model, Path(folder))
        values |= {
            'map.device': str(device),
            'semantics.precision': name,
            'semantics.convolution': 'auto',
        }
        return PerceptionPipeline(build(ConcertoConfig, values))


def _save_weights(model: PointTransformerV3, folder: Path) -> dict[str, str]:
    """Write weights; return the parameters that name their files."""
    generator, width = torch.Generator().manual_seed(0), model.config.out_channels

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) / shape[-1] ** 0.5

    names = tuple(f'name {i}' for i in range(_NUM_NAMES))
    checkpoint, head, translator, texts = (
        folder / file for file in ('b.safetensors', 'h.safetensors', 't.safetensors', 'texts.npz')
    )
    save_checkpoint(model, checkpoint)
    ClassHead(
        weight=random(_NUM_NAMES, width), bias=random(_NUM_NAMES), names=names, vocabulary='random'
    ).save(head)
    Translator(
        weight=random(_TEXT_DIM, width), bias=random(_TEXT_DIM), text_encoder='random'
    ).save(translator)
    embedding = random(_NUM_NAMES, _TEXT_DIM).numpy()
    np.savez(texts, names=np.array(names), embedding=embedding, text_encoder='random')
    return {
        'semantics.checkpoint': str(checkpoint),
        'semantics.head': str(head),
        'semantics.translator': str(translator),
        'semantics.text_encoder': f'vocabulary:{texts}',
        'semantics.vocabulary': ', '.join(names),
    }
