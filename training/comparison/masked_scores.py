"""What `training.evaluate` left behind, by probe and set of levels."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from concerto_ros.errors import ConfigError

_TITLES = {'linear': 'linear', 'knn': 'k-NN'}


class Column(NamedTuple):
    """One way to judge features.

    Attributes:
        probe: linear or knn.
        levels: last or all.
    """

    probe: str
    levels: str

    @property
    def title(self) -> str:
        """For people."""
        return f'{_TITLES[self.probe]} {self.levels}'


COLUMNS = tuple(Column(probe, levels) for probe in _TITLES for levels in ('last', 'all'))


class Scores(NamedTuple):
    """What was found.

    Attributes:
        parameters: How many the features need.
        miou: Of each seed [%], by column.
    """

    parameters: int
    miou: Mapping[Column, Sequence[float]]


def read_scores(results: Sequence[Path]) -> Scores:
    """Return what files with results tell, one of each seed.

    Raises:
        ConfigError: A file does not tell a column exactly once.
    """
    by_file = [_read(path) for path in results]
    return Scores(
        parameters=by_file[0].parameters,
        miou={c: [value for one in by_file for value in one.miou[c]] for c in COLUMNS},
    )


def _read(path: Path) -> Scores:
    found = json.loads(path.read_text())
    miou = {column: [_of_column(path, found['entries'], column)] for column in COLUMNS}
    return Scores(parameters=found['encoders'][0]['facts']['parameters'], miou=miou)


def _of_column(path: Path, entries: Sequence[Any], column: Column) -> float:
    """Return what was found with all labels."""
    wanted = (*column, 1.0, 0)
    keys = ('probe', 'levels', 'scene_share', 'points_per_scene')
    found = [entry for entry in entries if tuple(entry[key] for key in keys) == wanted]
    if len(found) != 1:
        raise ConfigError(
            f'{path} holds {len(found)} results of probe "{column.probe}" with levels '
            f'"{column.levels}" instead of one; delete it and run this again'
        )
    return 100 * float(found[0]['scores']['miou_of_present'])
