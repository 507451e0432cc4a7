"""A probe from settings to scores."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import torch

from concerto_ros.published_weights import find_weights
from training.distributed import choose_device
from training.evaluation.backbone_features import RANDOM, fits_voxels
from training.evaluation.class_lists import class_list
from training.evaluation.config import ProbeConfig
from training.evaluation.evaluate import evaluate
from training.evaluation.methods import Job, train_probe
from training.evaluation.probe_scenes import ProbeScenes
from training.evaluation.results import ProbeResult, files_hash, make_folder
from training.evaluation.variants import VariantsClassifier
from training.origin import settings_of, source_of_run


def run_probe(config: ProbeConfig) -> ProbeResult:
    """Train a probe, judge it, and write table.md, results.json and what was trained.

    On a CPU the same settings give the same scores, bit for bit, with equally many threads.

    Raises:
        ConfigError: A setting does not fit, or the folder cannot be written.
        CheckpointError: Weights cannot be used.
        SourceError: A split or scene cannot be read.
        BackendUnavailable: A library is missing.
    """
    if config.run.num_threads:
        torch.set_num_threads(config.run.num_threads)
    seconds: dict[str, float] = {}
    job = _make_job(config)
    with _timed(seconds, 'training'):
        classifier, source, node = train_probe(job)
    with _timed(seconds, 'evaluation'):
        if config.probe.test_time_variants:
            classifier = VariantsClassifier(classifier)
        scores = evaluate(classifier, job.validation, len(job.classes.names))
    result = ProbeResult(
        scores=scores,
        names=job.classes.names,
        source=source.name,
        num_channels=source.num_channels,
        num_scenes=(len(job.train), len(job.validation)),
        settings=settings_of(config),
        checkpoint_hash=_checkpoint_hash(config),
        data_hash=files_hash(chain(job.train.cloud_files(), job.validation.cloud_files())),
        code=source_of_run(),
        seconds=seconds,
        node=node,
    )
    result.write(job.folder)
    return result


def _make_job(config: ProbeConfig) -> Job:
    data, probe = config.data, config.probe
    classes = class_list(data.vocabulary)
    train = ProbeScenes(
        'data.train',
        data.train,
        data.segment,
        len(classes.names),
        scene_share=probe.scene_share,
        points_per_scene=probe.points_per_scene,
        seed=config.run.seed,
    )
    return Job(
        config=config,
        device=choose_device(config.run.device),
        classes=classes,
        train=train,
        validation=ProbeScenes(
            'data.validation', data.validation, data.segment, len(classes.names)
        ),
        folder=make_folder(config.run.output),
        fits_voxels=not _has_weights(config)
        or fits_voxels(config.source.checkpoint, data.voxel_size),
    )


def _checkpoint_hash(config: ProbeConfig) -> str:
    """Return the hash of the weights that the settings name; empty where there are none."""
    if not _has_weights(config):
        return ''
    path = find_weights(config.source.checkpoint)
    return files_hash(_files(path))


def _has_weights(config: ProbeConfig) -> bool:
    source = config.source
    return source.kind in ('backbone', 'concat') and source.checkpoint != RANDOM


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - start, 2)
