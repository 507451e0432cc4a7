"""Time per stage of the whole pipeline on a device: map, normals, window, encoder, heads."""

from collections import defaultdict
from collections.abc import Callable
from statistics import median

import torch

from bench.gpu_tools import Clock
from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.rgbd import surface_points
from concerto_ros.mapping import VoxelMap
from concerto_ros.model import PointTransformerV3, precision
from concerto_ros.network_input import prepare_rows
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.semantics import ClassHead, OpenVocabulary, Translator

_TEXT_DIM = 512
_NUM_NAMES = 20


def print_pipeline(
    model: PointTransformerV3,
    name: str,
    clock: Clock,
    num_frames: int,
    camera: PinholeCamera,
) -> None:
    """Map a synthetic room frame by frame, label it after each, and print medians by stage."""
    frames = list(SyntheticRoom(seed=1).frames(num_frames, camera=camera))
    readers = _readers(model.config.out_channels, clock.device)
    times: dict[str, list[float]] = defaultdict(list)
    voxel_map = VoxelMap(ConcertoConfig().map.voxel_size, clock.device)

    def run() -> None:
        for index, frame in enumerate(frames):
            _one_frame(frame, index, voxel_map, model, readers, name, _Stages(clock, times))

    peak = clock.peak_gigabytes(run)
    stages = ', '.join(f'{stage} {median(ms):.2f}' for stage, ms in times.items())
    print(f'pipeline {name}, {len(voxel_map):,} voxels after {num_frames} frames, ms: {stages}')
    print(f'  peak of memory {peak:.2f} GB, of which the map {voxel_map.num_bytes / 1e9:.3f} GB')


class _Stages:
    """Runs one stage after the other and notes how long each takes [ms]."""

    def __init__(self, clock: Clock, times: dict[str, list[float]]) -> None:
        self.clock, self.times = clock, times

    def __call__(self, stage: str, run: Callable[[], object]) -> object:
        started = self.clock.now()
        result = run()
        self.times[stage].append(1000 * (self.clock.now() - started))
        return result


@torch.inference_mode()
def _one_frame(
    frame: RGBDFrame,
    index: int,
    voxel_map: VoxelMap,
    model: PointTransformerV3,
    readers: tuple[ClassHead, OpenVocabulary],
    name: str,
    stage: '_Stages',
) -> None:
    config, device = ConcertoConfig(), stage.clock.device
    head, vocabulary = readers
    points = stage('points', lambda: surface_points(frame, config.depth, index, device))
    stage('fusion', lambda: voxel_map.integrate(points, frame.stamp_ns, config.map.max_weight))
    center = torch.from_numpy(frame.T_map_depth[:3, 3])
    most = config.semantics.max_points
    rows = stage('window', lambda: voxel_map.nearest_rows(center, most))
    batch = stage('input', lambda: prepare_rows(voxel_map, rows, None).points)
    with precision(name, device):
        pyramid = stage('encoder', lambda: model(batch))
    label, confidence = stage('class head', lambda: head.predict(pyramid))
    stage('language', lambda: vocabulary.predict(pyramid))
    stage('labels', lambda: voxel_map.write_labels(rows, label, confidence, column=0))
    stage('changes', lambda: voxel_map.cloud(voxel_map.changed_groups(0).rows))


def _readers(width: int, device: torch.device) -> tuple[ClassHead, OpenVocabulary]:
    """Return a class head and a vocabulary of random weights."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return (torch.randn(shape, generator=generator) / shape[-1] ** 0.5).to(device)

    names = tuple(f'name {i}' for i in range(_NUM_NAMES))
    head = ClassHead(
        weight=random(_NUM_NAMES, width),
        bias=random(_NUM_NAMES),
        names=names,
        vocabulary='random',
    )
    translator = Translator(
        weight=random(_TEXT_DIM, width), bias=random(_TEXT_DIM), text_encoder='random'
    )
    texts = random(_NUM_NAMES, _TEXT_DIM).cpu()
    return head, OpenVocabulary(translator=translator, names=names, text_embedding=texts)
