"""Trains every probe on every set of levels in every regime, for one seed."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch

from training.datasets.labelled import LabelledScene
from training.evaluation.class_lists import ClassList
from training.protocol.augmented import AugmentedCrops, train_on_scenes
from training.protocol.config import ProtocolConfig
from training.protocol.evaluators import Evaluator, InstanceEvaluator, SegmentationEvaluator
from training.protocol.feature_rows import LevelRows
from training.protocol.instances.probe import InstanceProbe
from training.protocol.instances.rows import InstanceRows
from training.protocol.knn import KnnClassifier
from training.protocol.level_set import LevelSet
from training.protocol.linear import train_on_cache
from training.protocol.regimes import Regime, Regimes
from training.protocol.rows import CachedRows, LabelledRows, cache_rows
from training.protocol.source import HierarchySource

_log = logging.getLogger(__name__)
_Train = Callable[[CachedRows, LabelledRows, LevelSet], tuple[Evaluator, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedProbe:
    """A probe that was trained.

    Attributes:
        probe: Its name.
        levels: That it reads.
        regime: What there was to learn from.
        num_rows: As for `Entry`.
        num_left_out: As for `Entry`.
        seconds: Of training.
        evaluator: Tells how good it is.
    """

    probe: str
    levels: LevelSet
    regime: Regime
    num_rows: int
    num_left_out: int
    seconds: float
    evaluator: Evaluator


@dataclass(frozen=True, kw_only=True)
class ProbeTrainer:
    """Trains the probes of one seed.

    Attributes:
        config: All settings.
        classes: What is to be told apart.
        source: Of the features of all levels.
        level_sets: To judge.
        scenes: For training.
        regimes: What of them there is to learn from.
        seed: Of everything random.
        device: Where probes are trained.
    """

    config: ProtocolConfig
    classes: ClassList
    source: HierarchySource
    level_sets: Sequence[LevelSet]
    scenes: Sequence[LabelledScene]
    regimes: Regimes
    seed: int
    device: torch.device

    def cache(self) -> CachedRows | None:
        """Return the features that probes learn from; None if none needs them.

        Raises:
            ConfigError: The instance probe has no class to find.
            ConcertoError: A feature is not finite, or too large or too small.
            SourceError: A scene cannot be read.
        """
        if self._on_scenes and self.config.chosen == ('linear',):
            return None
        return cache_rows(
            self.source,
            self.scenes,
            self.regimes,
            self.config.cache.voxels_per_scene,
            self.seed,
            self._instances.targets if 'instances' in self.config.chosen else None,
        )

    @cached_property
    def _instances(self) -> InstanceProbe:
        c = self.config
        return InstanceProbe(self.classes, c.instances, c.data.voxel_size, self.device)

    @property
    def _on_scenes(self) -> bool:
        return self.config.linear.features == 'augmented'

    def train(self, rows: CachedRows | None) -> Iterator[TrainedProbe]:
        """Yield each probe when it is trained; for objects only where whole ones have labels.

        Raises:
            ConcertoError: Nothing has a label, or what was trained is not finite.
        """
        for regime in self.regimes.all:
            for probe in self.config.chosen:
                if probe == 'linear' and self._on_scenes:
                    yield from self._linear_on_scenes(regime)
                elif rows is not None and (probe != 'instances' or not regime.points_per_scene):
                    yield from self._on_cache(probe, rows, regime)

    def _on_cache(self, probe: str, rows: CachedRows, regime: Regime) -> Iterator[TrainedProbe]:
        trainers: dict[str, _Train] = {
            'linear': self._linear,
            'knn': partial(self._knn, regime),
            'instances': self._objects,
        }
        labelled = rows.labelled[regime.points_per_scene].of_scenes(self.regimes.scenes(regime))
        for levels in self.level_sets:
            start = time.perf_counter()
            evaluator, num_rows = trainers[probe](rows, labelled, levels)
            left_out = len(labelled) - num_rows
            yield self._trained(probe, levels, regime, num_rows, left_out, start, evaluator)

    def _linear(
        self, rows: CachedRows, labelled: LabelledRows, levels: LevelSet
    ) -> tuple[Evaluator, int]:
        names, config = self.classes.names, self.config.linear
        classifier = train_on_cache(
            rows, labelled, levels, len(names), config, self.seed, self.device
        )
        return SegmentationEvaluator(classifier, levels, names), len(labelled)

    def _knn(
        self, regime: Regime, rows: CachedRows, labelled: LabelledRows, levels: LevelSet
    ) -> tuple[Evaluator, int]:
        names, config = self.classes.names, self.config.knn
        if regime.points_per_scene:  # few enough to compare with all
            config = replace(config, bank_per_class=0)
        classifier = KnnClassifier(
            rows, labelled, levels, len(names), config, self.seed, self.device
        )
        return SegmentationEvaluator(classifier, levels, names), classifier.bank_size

    def _objects(
        self, rows: CachedRows, labelled: LabelledRows, levels: LevelSet
    ) -> tuple[Evaluator, int]:
        mine = InstanceRows(
            feat=LevelRows(rows.feat, labelled.row, levels, self.device),
            label=labelled.label,
            offset=rows.offset[labelled.row],
            has_offset=rows.has_offset[labelled.row],
            scene=labelled.scene,
        )
        classifier = self._instances.train(mine, self.seed)
        return InstanceEvaluator(classifier, levels, self._instances.scores()), len(labelled)

    def _linear_on_scenes(self, regime: Regime) -> Iterator[TrainedProbe]:
        config, names = self.config.linear, self.classes.names
        start = time.perf_counter()
        scenes = RegimeScenes(self.scenes, self.regimes, regime)
        crops = AugmentedCrops(scenes, config, self.config.data.voxel_size, self.seed)
        classifiers = train_on_scenes(
            self.source, crops, self.level_sets, len(names), config, self.seed, self.device
        )
        for classifier, levels in zip(classifiers, self.level_sets, strict=True):
            evaluator = SegmentationEvaluator(classifier, levels, names)
            yield self._trained('linear', levels, regime, 0, 0, start, evaluator)

    def _trained(
        self,
        probe: str,
        levels: LevelSet,
        regime: Regime,
        num_rows: int,
        num_left_out: int,
        start: float,
        evaluator: Evaluator,
    ) -> TrainedProbe:
        seconds = round(time.perf_counter() - start, 2)
        _log.info(
            'seed %d: %s of %s on levels %s in %.1f s',
            self.seed, probe, regime.title, levels.name, seconds,
        )  # fmt: skip
        return TrainedProbe(
            probe=probe, levels=levels, regime=regime, num_rows=num_rows,
            num_left_out=num_left_out, seconds=seconds, evaluator=evaluator,
        )  # fmt: skip


class RegimeScenes(Sequence[LabelledScene]):
    """The scenes of a regime, with the labels that it leaves.

    Args:
        scenes: All training scenes.
        regimes: Knows which, and which labels.
        regime: One of them.
    """

    def __init__(self, scenes: Sequence[LabelledScene], regimes: Regimes, regime: Regime) -> None:
        self._scenes, self._regimes = scenes, regimes
        self._numbers, self._count = regimes.scenes(regime), regime.points_per_scene

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:
        number = self._numbers[index]
        scene = self._scenes[number]
        return replace(scene, segment=self._regimes.keep(scene.segment, self._count, number))
