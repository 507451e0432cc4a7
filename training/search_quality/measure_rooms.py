"""The figures on test rooms."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from concerto_ros.rooms.classes import ROOM_CLASSES
from training.search_quality.config import SearchQualityConfig
from training.search_quality.frozen_rooms import check_reserved
from training.search_quality.outcomes import (
    GROUPS,
    MEASURES,
    Outcome,
    Share,
    right_and_asked,
    share,
)
from training.search_quality.record import record, write
from training.search_quality.tour import Tour


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomsReport:
    """What was measured on rooms.

    Attributes:
        outcomes: Of all questions.
        shares: By group of classes and title of the measure.
        num_rooms: Rooms.
        seconds: By stage.
        slack: How far outside a true box a centre may be [m].
        made_by: Settings, versions, weights.
    """

    outcomes: tuple[Outcome, ...]
    shares: Mapping[str, Mapping[str, Share]]
    num_rooms: int
    seconds: Mapping[str, float]
    slack: float
    made_by: Mapping[str, Any]

    def table(self) -> str:
        """Return shares in percent of groups with intervals, of classes, and the time."""
        titles = [measure.title for measure in MEASURES]
        lines = [_row('', titles), _row('---', ['---'] * len(titles))]
        lines += [
            _row(group, [str(of_group[title]) for title in titles])
            for group, of_group in self.shares.items()
        ]
        lines += ['', _row('right of asked', titles), _row('---', ['---'] * len(titles))]
        lines += [_row(name, counts) for name, counts in self._classes()]
        time = ', '.join(f'{stage} {s / self.num_rooms:.2f}' for stage, s in self.seconds.items())
        threshold = self.made_by['min_score']
        return '\n'.join(lines) + (
            f'\n\nPercent of questions answered rightly (95 % interval over {self.num_rooms} '
            f'rooms), with the threshold {threshold:g} (0: not fitted). A hit is a centre inside '
            f'the true box of an object of the right class, or at most {self.slack:g} m outside. '
            f'Seconds per room: {time}.\n'
        )

    def for_the_node(self) -> str:
        """Return nothing: what was measured is how the node is set already."""
        return ''

    def content(self) -> dict[str, Any]:
        """Return what results.json holds."""
        return {
            'shares': {
                group: {title: asdict(s) for title, s in of_group.items()}
                for group, of_group in self.shares.items()
            },
            'num_rooms': self.num_rooms,
            'seconds': dict(self.seconds),
            'slack': self.slack,
            **self.made_by,
            'outcomes': [
                [o.room, o.kind.value, o.name, o.text, o.verdict, o.rank, round(o.score, 4)]
                for o in self.outcomes
            ],
        }

    def _classes(self) -> list[tuple[str, list[str]]]:
        rows = []
        for name in ROOM_CLASSES:
            mine = [o for o in self.outcomes if o.name == name]
            counts = [right_and_asked(mine, measure) for measure in MEASURES]
            if mine:
                rows.append((name, [f'{r} of {n}' if n else '-' for r, n in counts]))
        return rows


def measure_rooms(config: SearchQualityConfig, tour: Tour, folder: Path) -> RoomsReport:
    """Ask about every room of the settings, and write table.md and results.json.

    Raises:
        ConfigError: Reserved rooms have changed.
    """
    seeds, made_by = config.rooms.range, record(config)
    check_reserved(seeds)
    outcomes: list[Outcome] = []
    for seed in tqdm(seeds, desc='rooms', disable=None):
        outcomes += tour.ask(tour.visit(seed))
    report = RoomsReport(
        outcomes=tuple(outcomes),
        shares={
            group: {m.title: share(outcomes, m, names, config.run.seed) for m in MEASURES}
            for group, names in GROUPS.items()
        },
        num_rooms=len(seeds),
        seconds=dict(tour.seconds),
        slack=tour.slack,
        made_by=made_by,
    )
    write(folder, report.table(), report.content())
    return report


def _row(name: str, cells: list[str]) -> str:
    return f'| {" | ".join([name, *cells])} |'
