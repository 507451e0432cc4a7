"""What the protocol leaves behind: a table over seeds, and a file with all that made it."""

import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from concerto_ros.config.tree import Value
from training.datasets.whole_file import written_whole
from training.interval import interval
from training.protocol.earlier_results import RESULTS
from training.protocol.reference import END_TO_END, OBJECTS_END_TO_END, published
from training.protocol.regimes import Regime

K = TypeVar('K', str, Regime)
_LEAST = 3  # seeds, of which an interval tells something
_COLUMNS = {
    'linear': {'mIoU': 'miou', 'mIoU of present': 'miou_of_present', 'mAcc': 'macc',
               'allAcc': 'allacc'},
    'instances': {'AP50': 'map50', 'AP25': 'map25', 'AP': 'map'},
}  # fmt: skip
_COLUMNS['knn'] = _COLUMNS['linear']


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one probe found with one seed.

    Attributes:
        seed: Of everything random.
        probe: 'linear', 'knn' or 'instances'.
        levels: Name of the set of levels.
        regime: What there was to learn from.
        num_channels: Of these levels.
        num_scenes: That it learned from.
        num_rows: Labelled voxels that it learned from; those of the bank, for knn; 0: not
            counted, because they were drawn anew in each step.
        num_left_out: Labelled voxels that the bank of knn has no room for.
        scores: By name, in 0..1; NaN where the truth has nothing to find.
        classes: Scores of each class by its name.
        seconds: Of training.
    """

    seed: int
    probe: str
    levels: str
    regime: Regime
    num_channels: int
    num_scenes: int
    num_rows: int
    scores: Mapping[str, float]
    classes: Mapping[str, Mapping[str, Any]]
    seconds: float
    num_left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderReport:
    """The encoder of one seed.

    Attributes:
        seed: Of everything random.
        name: Of the encoder.
        facts: What it says of itself: parameters, hash of weights.
        levels: Name and number of channels of each, finest first.
        last: Index of the level that the network computes last.
        seconds: Of each stage.
        geometry: As for `HierarchySource`.
    """

    seed: int
    name: str
    facts: Mapping[str, str | int]
    levels: Sequence[tuple[str, int]]
    last: int
    seconds: Mapping[str, float]
    geometry: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolReport:
    """All that was found.

    Attributes:
        entries: Of all seeds.
        encoders: Of each seed.
        published: Data set of which published results stand beside; see `reference`.
        num_scenes: For training and for validation.
        settings: Effective ones by dotted name.
        deviations: As `deviations` returns them.
        scenes: Names of those for training and for validation.
        data_hash: SHA-256 of names, clouds, labels and, if judged, objects of each of both.
        code: Versions and git hash.
        machine: Device and threads that were used.
        lists: Scenes and labelled points of each seed, that others can use the same.
    """

    entries: Sequence[Entry]
    encoders: Sequence[EncoderReport]
    published: str
    num_scenes: tuple[int, int]
    settings: Mapping[str, Value]
    data_hash: Mapping[str, str]
    code: Mapping[str, str]
    lists: Mapping[str, Any]
    scenes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    deviations: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    machine: Mapping[str, str | int] = field(default_factory=dict)

    def table(self) -> str:
        """Return means over seeds in percent, beside what is published."""
        probes = dict.fromkeys(entry.probe for entry in self.entries)
        tables = [self._table('linear', [p for p in probes if p != 'instances'])]
        if 'instances' in probes:
            tables.append(self._table('instances', ['instances']))
        return '\n'.join([self._heading(), *filter(None, [*tables, *self._remarks()])])

    def for_the_node(self) -> str:
        """Return nothing: the node has probes of its own (`training.probe`)."""
        return ''

    def write(self, folder: Path) -> None:
        """Write table.md, results.json and lists.json."""
        (folder / 'table.md').write_text(self.table())
        content = {**asdict(self), 'entries': [_content(entry) for entry in self.entries]}
        lists = content.pop('lists')
        with written_whole(folder / RESULTS) as unfinished:
            unfinished.write_text(json.dumps(content, indent=1) + '\n')
        (folder / 'lists.json').write_text(json.dumps(lists) + '\n')

    def _heading(self) -> str:
        names = ', '.join(dict.fromkeys(encoder.name for encoder in self.encoders))
        widths, num_seeds = [w for _, w in self.encoders[0].levels], len(self.encoders)
        shown = f'mean of {num_seeds} seeds ± {self._spread()}' if num_seeds > 1 else 'one seed'
        return (
            f'{names}: {sum(widths)} channels of all levels; {shown}, in percent\n\n'
            f'{self._levels()} {self._scenes()}\n'
        )

    def _levels(self) -> str:
        """Return what the numbers of levels mean."""
        first = self.encoders[0]
        sizes = _sizes(first.geometry) or [''] * len(first.levels)
        told = [
            f'{number} = {name}{size}'
            for number, ((name, _), size) in enumerate(zip(first.levels, sizes, strict=True))
        ]
        return f'Levels: {", ".join(told)}; last is {first.last}.'

    def _scenes(self) -> str:
        """Return how many there are, and what becomes of classes that they lack."""
        train, validation = self.num_scenes
        told = f'Scenes: {train} for training, {validation} for validation.'
        if all(entry.probe == 'instances' for entry in self.entries):
            return told
        return (
            f'{told} Classes that do not occur in validation count 0 in mIoU and mAcc; '
            '"mIoU of present" leaves them out.'
        )

    def _spread(self) -> str:
        """Return what the numbers beside a mean are, and what they are a spread of."""
        first = self.encoders[0]
        is_fixed = all((e.name, e.facts) == (first.name, first.facts) for e in self.encoders)
        of_what = 'probes and draws, encoder fixed' if is_fixed else 'encoders, probes and draws'
        interval_told = ' (95 % interval of the mean)' if len(self.encoders) >= _LEAST else ''
        return f'standard deviation{interval_told} over {of_what}'

    def _remarks(self) -> tuple[str, ...]:
        return self._thinned(), self._left_out(), self._deviating()

    def _deviating(self) -> str:
        """Return what is not as published, if anything."""
        told = [
            f'{name} {json.dumps(values["run"])} ({json.dumps(values["published"])})'
            for name, values in self.deviations.items()
        ]
        return f'differs from the published settings in: {", ".join(told)}\n' if told else ''

    def _thinned(self) -> str:
        """Return what a thinned bank does to scores, if there was one."""
        thinned = [entry for entry in self.entries if entry.num_left_out]
        if not thinned:
            return ''
        least = min(e.num_rows / (e.num_rows + e.num_left_out) for e in thinned)
        return (
            f'knn compares with {100 * least:.2g} % of the cached voxels, of each class at most '
            'knn.bank_per_class: mAcc is higher and allAcc lower than with all.\n'
        )

    def _left_out(self) -> str:
        """Return where no objects were looked for, if they were anywhere."""
        by_probe: dict[str, set[Regime]] = {}
        for entry in self.entries:
            by_probe.setdefault(entry.probe, set()).add(entry.regime)
        with_objects = by_probe.pop('instances', set())
        if not with_objects or set().union(*by_probe.values()) <= with_objects:
            return ''
        return 'instances are left out where few points of a scene have labels.\n'

    def _table(self, kind: str, probes: Sequence[str]) -> str:
        columns = _COLUMNS[kind]
        mine = [entry for entry in self.entries if entry.probe in probes]
        if not mine:
            return ''
        titles = ['probe', 'levels', 'scenes', 'points', *columns]
        lines = [f'| {" | ".join(titles)} |', '|' + '---|' * len(titles)]
        by_regime = _grouped(mine, lambda entry: entry.regime)
        for regime, of_regime in by_regime.items():
            by_probe = _grouped(of_regime, lambda entry: entry.probe)
            for probe, of_probe in by_probe.items():
                lines += _rows(of_probe, columns)
                lines += self._published(probe, regime, 'all', len(columns))
            trained = OBJECTS_END_TO_END if kind == 'instances' else END_TO_END
            lines += self._published(trained, regime, '-', len(columns))
        return '\n'.join(lines) + '\n'

    def _published(self, probe: str, regime: Regime, levels: str, num_columns: int) -> list[str]:
        """Return lines of what is published of a probe in a regime."""
        empty = ' | ' * (num_columns - 1)
        return [
            f'| published: {probe}, {found.name} | {levels} | {_told(regime)} '
            f'| {found.percent:.1f}{empty} |'
            for found in published(self.published)
            if (found.probe, found.regime) == (probe, regime)
        ]


def _grouped(entries: Sequence[Entry], key: Callable[[Entry], K]) -> dict[K, list[Entry]]:
    """Return entries by what some of them have in common, in the order of the first of each."""
    groups: dict[K, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(key(entry), []).append(entry)
    return groups


def _rows(entries: Sequence[Entry], columns: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each set of levels; entries are of one probe and regime."""
    for levels, of_seeds in _grouped(entries, lambda entry: entry.levels).items():
        first = of_seeds[0]
        cells = [_spread([entry.scores[key] for entry in of_seeds]) for key in columns.values()]
        yield f'| {first.probe} | {levels} | {_told(first.regime)} | {" | ".join(cells)} |'


def _content(entry: Entry) -> dict[str, Any]:
    content = asdict(entry)
    del content['regime']
    scores = {name: None if math.isnan(x) else x for name, x in entry.scores.items()}
    return {**content, **entry.regime._asdict(), 'scores': scores}


def _sizes(geometry: Mapping[str, Any]) -> list[str]:
    """Return how large the cells of each level are; nothing if no scene has been seen."""
    return [
        ' (places)' if stride is None else f' ({100 * stride * geometry["voxel_size"]:g} cm)'
        for stride in geometry.get('strides', ())
    ]


def _told(regime: Regime) -> str:
    points = str(regime.points_per_scene) if regime.points_per_scene else 'all'
    return f'{100 * regime.scene_share:g} % | {points}'


def _spread(shares: Sequence[float]) -> str:
    """Return mean, standard deviation and, of enough seeds, interval [%]; a dash without any."""
    values = [100 * share for share in shares]
    mean = statistics.fmean(values)
    if math.isnan(mean):
        return '-'
    if len(values) == 1:
        return f'{mean:.2f}'
    with_spread = f'{mean:.2f} ± {statistics.stdev(values):.2f}'
    if len(values) < _LEAST:
        return with_spread
    low, high = interval(values)
    return f'{with_spread} ({low:.2f} .. {high:.2f})'
