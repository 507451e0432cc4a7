"""The one threshold of the search, and whether probabilities mean what they say.

Fitted on validation rooms, never on test rooms. The threshold is the one with the largest mean of
hit@1 by name, over all objects, and the share of absent classes that are called absent: a low one
finds more, a high one denies more rightly.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from concerto_ros.errors import ConfigError
from concerto_ros.rooms.classes import ROOM_CLASSES
from concerto_ros.rooms.room import SHELL, SyntheticRoom
from concerto_ros.semantics import Translator
from concerto_ros.structures import Labels, MapCloud
from concerto_ros.weights_file import read_weights_file
from training.prepare.rooms import labels
from training.search_quality.config import SearchQualityConfig
from training.search_quality.frozen_rooms import RESERVED
from training.search_quality.meanings import Meanings
from training.search_quality.outcomes import ABSENT, HIT_1, Measure, Outcome, right_and_asked
from training.search_quality.questions import Kind
from training.search_quality.record import record, translator_file, write
from training.search_quality.tour import Tour

CANDIDATES = tuple(round(0.05 * step, 2) for step in range(1, 20))
_BINS = 15
_FILE = 'translator.safetensors'


class LabelledMap(Protocol):
    """What has a map with names on it; `PerceptionPipeline` does."""

    @property
    def language_labels(self) -> Labels:
        """Names of the language labels."""

    def cloud(self) -> MapCloud:
        """The map."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A threshold and what it gives.

    Attributes:
        min_score: The threshold.
        hit: Share of the objects present that are found first, by name.
        absent: Share of the absent classes that are called absent.
    """

    min_score: float
    hit: float
    absent: float

    @property
    def balance(self) -> float:
        """What is made largest."""
        return (self.hit + self.absent) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdReport:
    """What was fitted.

    Attributes:
        candidates: All thresholds that were tried.
        best: The one to use.
        calibration_error: Expected one of the names of voxels, 0..1; None without a vocabulary.
        num_rooms: Rooms.
        translator: File of the translator with this threshold.
        made_by: Settings, versions, weights.
    """

    candidates: tuple[Candidate, ...]
    best: Candidate
    calibration_error: float | None
    num_rooms: int
    translator: str
    made_by: Mapping[str, Any]

    def table(self) -> str:
        """Return what each threshold gives, in percent."""
        lines = ['| search.min_score | hit@1 | absent | mean |', '|---|---|---|---|']
        for c in self.candidates:
            shares = ' | '.join(f'{100 * s:.1f}' for s in (c.hit, c.absent, c.balance))
            lines.append(f'| {c.min_score:.2f} | {shares} |')
        error = self.calibration_error
        calibration = (
            'No semantics.vocabulary, so no calibration error.'
            if error is None
            else f'Expected calibration error of the names of voxels: {100 * error:.2f} %.'
        )
        return '\n'.join(lines) + (
            f'\n\nBest mean over {self.num_rooms} rooms: {self.best.min_score:g}. {calibration}\n'
        )

    def for_the_node(self) -> str:
        """Return the parameter with which the node uses the threshold."""
        return f'for the node: semantics.translator={self.translator}\n'

    def content(self) -> dict[str, Any]:
        """Return what results.json holds."""
        return {
            'criterion': 'largest mean of hit@1 by name and the share of correct ABSENT',
            'candidates': [
                {'min_score': c.min_score, 'hit@1': c.hit, 'absent': c.absent, 'mean': c.balance}
                for c in self.candidates
            ],
            'calibration_error': self.calibration_error,
            'num_rooms': self.num_rooms,
            **self.made_by,
            'min_score': self.best.min_score,
        }


def fit_threshold(
    config: SearchQualityConfig, tour: Tour, labelled: LabelledMap, folder: Path
) -> ThresholdReport:
    """Ask about every room of the settings with every threshold.

    Writes table.md, results.json, and the translator with the best threshold in it.

    Raises:
        ConfigError: A room is reserved for tests.
        CheckpointError: The translator cannot be written.
    """
    seeds, made_by = config.rooms.range, record(config)
    if any(seed in RESERVED for seed in seeds):
        raise ConfigError(
            f'rooms.seeds {config.rooms.seeds} holds rooms that are reserved for the last '
            'measurement: fit on others, such as 1000:1024'
        )
    outcomes: dict[float, list[Outcome]] = {threshold: [] for threshold in CANDIDATES}
    calibration = Calibration(Meanings.ours())
    for seed in tqdm(seeds, desc='rooms', disable=None):
        visit = tour.visit(seed)
        for threshold in CANDIDATES:
            outcomes[threshold] += tour.ask(visit, (Kind.NAME, Kind.ABSENT), threshold)
        calibration.add(visit.room, labelled.cloud(), labelled.language_labels)
    candidates = tuple(
        Candidate(threshold, _share(found, HIT_1), _share(found, ABSENT))
        for threshold, found in outcomes.items()
    )
    best = max(candidates, key=lambda c: c.balance)
    report = ThresholdReport(
        candidates=candidates,
        best=best,
        calibration_error=calibration.error(),
        num_rooms=len(seeds),
        translator=str(folder / _FILE),
        made_by=made_by,
    )
    _write_translator(translator_file(config), folder / _FILE, best.min_score)
    write(folder, report.table(), report.content())
    return report


def _write_translator(path: str, new_path: Path, min_score: float) -> None:
    """Copy a translator, with where it comes from, and give it a threshold."""
    translator = replace(Translator.load(path), min_score=min_score)
    translator.save(new_path, read_weights_file(path).origin)


def _share(outcomes: list[Outcome], measure: Measure) -> float:
    right, asked = right_and_asked([o for o in outcomes if o.name not in SHELL], measure)
    return right / max(1, asked)


class Calibration:
    """Sums up the expected calibration error of the name that each voxel has.

    It is the mean distance, over 15 equal ranges of the probability of that name and weighted by
    how many voxels fall into each, between that probability and the share of voxels whose true
    class the name means.

    Source: Guo et al., On Calibration of Modern Neural Networks, arXiv 1706.04599, section 2.
    """

    def __init__(self, meanings: Meanings) -> None:
        self._meanings = meanings
        self._surplus = np.zeros(_BINS)
        self._num_voxels = 0

    def add(self, room: SyntheticRoom, cloud: MapCloud, names: Labels) -> None:
        """Add the voxels of a room that have a name and lie on a true surface."""
        truth = labels(room, cloud.coord)['segment55'].astype(np.int64)
        is_known = (truth >= 0) & (cloud.language_label > 0)
        label, truth = cloud.language_label[is_known], truth[is_known]
        confidence = cloud.language_confidence[is_known].astype(np.float64)
        part = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
        surplus = confidence - self._is_right(names)[label, truth]
        self._surplus += np.bincount(part, surplus, _BINS)
        self._num_voxels += len(label)

    def error(self) -> float | None:
        """Return the error, 0..1; None if no voxel had a name."""
        if not self._num_voxels:
            return None
        return float(np.abs(self._surplus).sum() / self._num_voxels)

    def _is_right(self, names: Labels) -> NDArray[np.bool_]:
        """Return (len(names), classes of rooms) bool, which names mean which classes."""
        return np.array(
            [
                [c in self._meanings.named_by(name, name) for c in ROOM_CLASSES]
                for name in names.names
            ]
        )
