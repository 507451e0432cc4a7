"""The protocol from settings to a report."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

import torch

from training.distributed import choose_device
from training.evaluation.class_lists import ClassList, class_list
from training.evaluation.config import DataSection
from training.evaluation.probe_scenes import ProbeScenes
from training.evaluation.results import files_hash, make_folder
from training.origin import settings_of, source_of_run
from training.protocol.config import ProtocolConfig
from training.protocol.encoders import make_encoder
from training.protocol.hierarchy import HierarchicalEncoder
from training.protocol.judges import pass_scenes
from training.protocol.level_set import LevelSet, make_level_set
from training.protocol.regimes import Regimes
from training.protocol.report import EncoderReport, Entry, ProtocolReport
from training.protocol.source import HierarchySource, level_sets
from training.protocol.teaching import Taught, Teacher


def run_protocol(config: ProtocolConfig) -> ProtocolReport:
    """Judge an encoder with every seed, and write table.md, results.json and lists.json.

    On a CPU the same settings give the same scores, bit for bit, with equally many threads.

    Raises:
        ConfigError: A setting does not fit, or the folder cannot be written.
        CheckpointError: Weights cannot be used.
        SourceError: A split or scene cannot be read.
        BackendUnavailable: A library is missing.
        ConcertoError: Features or weights are not finite.
    """
    if config.run.num_threads:
        torch.set_num_threads(config.run.num_threads)
    device, folder = choose_device(config.run.device), make_folder(config.run.output)
    data = _labelled_data(config.data)
    runs = [_run_seed(config, seed, data, device) for seed in config.run.numbers]
    report = ProtocolReport(
        entries=[entry for run in runs for entry in run.entries],
        encoders=[run.encoder for run in runs],
        published=config.run.published,
        num_scenes=(len(data.train), len(data.validation)),
        settings=settings_of(config),
        data_hash=files_hash(chain(data.train.cloud_files(), data.validation.cloud_files())),
        code=source_of_run(),
        lists={str(run.encoder.seed): run.lists for run in runs},
    )
    report.write(folder)
    return report


class _Data(NamedTuple):
    """Labelled scenes, and the classes of their labels."""

    classes: ClassList
    train: ProbeScenes
    validation: ProbeScenes


class _SeedRun(NamedTuple):
    """What was found with one seed."""

    entries: list[Entry]
    encoder: EncoderReport
    lists: dict[str, Any]


def _labelled_data(data: DataSection) -> _Data:
    classes = class_list(data.vocabulary)
    train, validation = (
        ProbeScenes(f'data.{part}', splits, data.segment, len(classes.names))
        for part, splits in (('train', data.train), ('validation', data.validation))
    )
    return _Data(classes, train, validation)


def _run_seed(config: ProtocolConfig, seed: int, data: _Data, device: torch.device) -> _SeedRun:
    """Train all probes on the features of an encoder, then let validation scenes pass once."""
    encoder = make_encoder(config, seed, device)
    source = _source(config, encoder, device)
    regimes = Regimes(config.regimes, data.train.names, seed)
    teacher = Teacher(
        config=config,
        classes=data.classes,
        source=source,
        level_sets=_level_sets(config, encoder),
        scenes=data.train,
        regimes=regimes,
        seed=seed,
        device=device,
    )
    seconds: dict[str, float] = {}
    with _timed(seconds, 'features'):
        rows = teacher.cache()
    with _timed(seconds, 'training'):
        taught = list(teacher.teach(rows))
    with _timed(seconds, 'validation'):
        pass_scenes(source, data.validation, [one.judge for one in taught])
    told = EncoderReport(
        seed=seed,
        name=encoder.name,
        facts=dict(encoder.facts),
        levels=[(name, part.stop - part.start) for name, part in source.layout],
        last=encoder.last,
        seconds=seconds,
    )
    return _SeedRun([_entry(one, regimes, seed) for one in taught], told, regimes.lists())


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
        levels=tuple(range(len(encoder.num_channels))),
        normalize='level' if s.normalize in ('level', 'both') else 'none',
        device=device,
    )


def _level_sets(config: ProtocolConfig, encoder: HierarchicalEncoder) -> list[LevelSet]:
    s = config.sampling
    is_unit = s.normalize in ('whole', 'both')
    return [
        make_level_set(name, levels, encoder.num_channels, is_unit=is_unit)
        for name, levels in level_sets(s.levels, encoder).items()
    ]


def _entry(taught: Taught, regimes: Regimes, seed: int) -> Entry:
    scores, classes = taught.judge.outcome()
    return Entry(
        seed=seed,
        probe=taught.probe,
        levels=taught.levels.name,
        regime=taught.regime,
        num_channels=taught.levels.num_channels,
        num_scenes=len(regimes.scenes(taught.regime)),
        num_rows=taught.num_rows,
        num_left_out=taught.num_left_out,
        scores=scores,
        classes=classes,
        seconds=taught.seconds,
    )


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - start, 2)
