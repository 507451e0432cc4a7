"""The protocol from settings to a report."""

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch

from training.distributed import choose_device
from training.evaluation.results import make_folder
from training.origin import settings_of, source_of_run
from training.protocol.config import ProtocolConfig
from training.protocol.deviations import deviations
from training.protocol.earlier_results import refuse_other_results
from training.protocol.encoders import code_of, depends_on_seed, make_encoder
from training.protocol.evaluators import pass_scenes
from training.protocol.hierarchy import HierarchicalEncoder
from training.protocol.labelled_data import LabelledData, labelled_data
from training.protocol.level_set import LevelSet, make_level_set
from training.protocol.probe_training import ProbeTrainer, TrainedProbe
from training.protocol.regimes import Regimes
from training.protocol.report import EncoderReport, Entry, ProtocolReport
from training.protocol.source import HierarchySource, level_sets


def run_protocol(config: ProtocolConfig) -> ProtocolReport:
    """Judge an encoder with every seed, and write table.md, results.json and lists.json.

    What can be refused without looking at a scene is refused at once; what was found with a seed
    is written before the next one; the same settings begin anew and replace it. On a CPU they give
    the same scores, bit for bit, with equally many threads.

    Raises:
        ConfigError: A setting does not fit, or the folder cannot be written or holds results of
            other settings.
        CheckpointError: Weights cannot be used.
        SourceError: A split or scene cannot be read.
        BackendUnavailable: A library is missing.
        ConcertoError: Features or weights are not finite.
    """
    if config.run.num_threads:
        torch.set_num_threads(config.run.num_threads)
    device, folder = choose_device(config.run.device), make_folder(config.run.output)
    refuse_other_results(folder, settings_of(config))
    data = labelled_data(config)
    seed_runs = _seed_runs(config, data, device)
    report = ProtocolReport(
        entries=(),
        encoders=(),
        published=config.run.published,
        num_scenes=(len(data.train), len(data.validation)),
        settings=settings_of(config),
        deviations=deviations(config),
        scenes=data.names(),
        data_hash=data.hashes(),
        code={**source_of_run(), 'numpy': np.__version__, 'python': platform.python_version()},
        machine={'device': str(device), 'threads': torch.get_num_threads()},
        lists={},
    )
    for seed_run in seed_runs:
        report = _judged(config, seed_run, data, device, report)
        report.write(folder)
    return report


@dataclass(frozen=True, kw_only=True)
class _SeedRun:
    """What is judged with one seed.

    Attributes:
        seed: Of everything random.
        encoder: As the seed has it.
        level_sets: Of its levels.
        regimes: Scenes and labels, as the seed draws them.
    """

    seed: int
    encoder: HierarchicalEncoder
    level_sets: list[LevelSet]
    regimes: Regimes


def _seed_runs(config: ProtocolConfig, data: LabelledData, device: torch.device) -> list[_SeedRun]:
    """Return what is judged with each seed; one encoder for all, unless seeds make others."""
    seeds = config.run.numbers
    differing = seeds if depends_on_seed(config) else seeds[:1]
    encoders = [make_encoder(config, seed, device) for seed in differing]
    if len(encoders) < len(seeds):
        encoders *= len(seeds)
    paths = [cloud.as_posix() for cloud in data.train.clouds]
    return [
        _SeedRun(
            seed=seed,
            encoder=encoder,
            level_sets=_level_sets(config, encoder),
            regimes=Regimes(config.regimes, paths, seed),
        )
        for seed, encoder in zip(seeds, encoders, strict=True)
    ]


def _judged(
    config: ProtocolConfig,
    seed_run: _SeedRun,
    data: LabelledData,
    device: torch.device,
    report: ProtocolReport,
) -> ProtocolReport:
    """Train all probes on the features of an encoder, then let validation scenes pass once."""
    source = _source(config, seed_run.encoder, device)
    trainer = ProbeTrainer(
        config=config,
        classes=data.classes,
        source=source,
        level_sets=seed_run.level_sets,
        scenes=data.train,
        regimes=seed_run.regimes,
        seed=seed_run.seed,
        device=device,
    )
    seconds: dict[str, float] = {}
    with _timed(seconds, 'features'):
        rows = trainer.cache()
    with _timed(seconds, 'training'):
        trained = list(trainer.train(rows))
    with _timed(seconds, 'validation'):
        pass_scenes(source, data.validation, [one.evaluator for one in trained])
    return replace(
        report,
        entries=[*report.entries, *(_entry(one, seed_run) for one in trained)],
        encoders=[*report.encoders, _told(config, seed_run, source, seconds)],
        lists={**report.lists, str(seed_run.seed): seed_run.regimes.lists()},
    )


def _source(
    config: ProtocolConfig, encoder: HierarchicalEncoder, device: torch.device
) -> HierarchySource:
    """Return the source of all levels; sets of them are slices of what it gives."""
    s = config.sampling
    return HierarchySource(
        encoder,
        voxel_size=config.data.voxel_size,
        mode=s.mode,
        query=s.query,
        unit_levels=s.normalize in ('level', 'both'),
        device=device,
    )


def _level_sets(config: ProtocolConfig, encoder: HierarchicalEncoder) -> list[LevelSet]:
    s = config.sampling
    is_unit = s.normalize in ('whole', 'both')
    return [
        make_level_set(name, levels, encoder.num_channels, is_unit=is_unit)
        for name, levels in level_sets(s.levels, encoder).items()
    ]


def _told(
    config: ProtocolConfig,
    seed_run: _SeedRun,
    source: HierarchySource,
    seconds: dict[str, float],
) -> EncoderReport:
    encoder = seed_run.encoder
    return EncoderReport(
        seed=seed_run.seed,
        name=encoder.name,
        facts={**encoder.facts, **code_of(config, seed_run.seed)},
        levels=[(name, part.stop - part.start) for name, part in source.layout],
        last=encoder.last,
        seconds=seconds,
        geometry=source.geometry,
    )


def _entry(trained: TrainedProbe, seed_run: _SeedRun) -> Entry:
    scores, classes = trained.evaluator.outcome()
    return Entry(
        seed=seed_run.seed,
        probe=trained.probe,
        levels=trained.levels.name,
        regime=trained.regime,
        num_channels=trained.levels.num_channels,
        num_scenes=len(seed_run.regimes.scenes(trained.regime)),
        num_rows=trained.num_rows,
        num_left_out=trained.num_left_out,
        scores=scores,
        classes=classes,
        seconds=trained.seconds,
    )


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - start, 2)
