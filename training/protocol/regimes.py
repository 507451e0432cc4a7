"""Few scenes, or few labelled points of each: what there is to learn from."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from concerto_ros.errors import ConfigError, SourceError
from training.evaluation.label_budget import choose_scenes, keep_labels
from training.protocol.config import RegimesSection
from training.protocol.scene_names import SceneNames
from training.structures import IGNORED

Segment = NDArray[np.int64]


class Regime(NamedTuple):
    """What a probe may learn from.

    Attributes:
        scene_share: Of the training scenes.
        points_per_scene: Labelled points of each; 0: all.
    """

    scene_share: float
    points_per_scene: int

    @property
    def title(self) -> str:
        """For people."""
        points = f'points of each: {self.points_per_scene or "all"}'
        return f'{100 * self.scene_share:g} % of the scenes, {points}'


class Regimes:
    """The regimes of one seed: which scenes, and which of their labels.

    Args:
        config: Shares, counts and lists.
        paths: Folders of the training scenes, as for `SceneNames`.
        seed: Of what is drawn.

    Attributes:
        all: Shares with all labels, then all scenes with few.

    Raises:
        ConfigError: A list cannot be read, names scenes that are not there or one of several, or
            has not as many points of each scene as it should.
    """

    def __init__(self, config: RegimesSection, paths: Sequence[str], seed: int) -> None:
        shares = [Regime(share, 0) for share in config.shares]
        few = [Regime(1.0, count) for count in config.counts]
        self.all = tuple(dict.fromkeys(shares + few))
        self._names, self._seed = SceneNames(paths), seed
        self._scenes = {share: self._choose(share, config.scene_list) for share, _ in self.all}
        self._points = {
            count: self._listed_points(config.point_list.replace('{count}', str(count)), count)
            for _, count in self.all
            if count and config.point_list
        }
        self._kept: dict[int, dict[str, list[int]]] = {}

    @property
    def counts(self) -> tuple[int, ...]:
        """Numbers of labelled points that occur; 0: all."""
        return tuple(dict.fromkeys(regime.points_per_scene for regime in self.all))

    @property
    def scenes_needed(self) -> list[int]:
        """Numbers of the scenes that any regime learns from, growing."""
        return sorted(set().union(*self._scenes.values()))

    def scenes(self, regime: Regime) -> list[int]:
        """Return the numbers of its scenes, growing."""
        return self._scenes[regime.scene_share]

    def keep(self, segment: Segment, count: int, scene: int) -> Segment:
        """Return the labels of a scene that a number of labelled points leaves.

        Args:
            segment: (N,) int64.
            count: Labelled points; 0: all.
            scene: Its number.

        Raises:
            SourceError: The list of points does not fit the scene.
        """
        few = (
            self._listed(segment, count, scene)
            if count in self._points
            else keep_labels(segment, count, self._seed, scene)
        )
        if count:
            name = self._names.short[scene]
            self._kept.setdefault(count, {})[name] = np.flatnonzero(few != IGNORED).tolist()
        return few

    def lists(self) -> dict[str, Any]:
        """Return names of the scenes of each share, and the points whose labels were kept."""
        scenes = {
            f'{share:g}': [self._names.short[number] for number in numbers]
            for share, numbers in self._scenes.items()
        }
        return {'scenes': scenes, 'points': {str(n): kept for n, kept in self._kept.items()}}

    def _listed_points(self, path: str, count: int) -> Mapping[int, NDArray[np.int64]]:
        """Return the points of each training scene by its number."""
        listed = {self._names.number(name): rows for name, rows in _read_points(path).items()}
        names = self._names.short
        lacking = [name for number, name in enumerate(names) if number not in listed]
        if lacking:
            raise ConfigError(
                f'"regimes.point_list" {path} has no points of {len(lacking)} of {len(names)} '
                f'scenes in data.train, such as {lacking[0]}: choose the list that was made for '
                'data.train'
            )
        most = max(len(rows) for rows in listed.values())  # small scenes may have fewer
        if most != count:
            raise ConfigError(
                f'"regimes.point_list" {path} has {most} points of a scene, and '
                f'regimes.points_per_scene names {count}: choose the list of that number, with '
                '{count} in its name'
            )
        return {number: listed[number] for number in range(len(names))}

    def _listed(self, segment: Segment, count: int, scene: int) -> Segment:
        chosen = self._points[count][scene]
        if chosen.max(initial=0) >= len(segment):
            raise SourceError(
                f'{self._names.short[scene]}: "regimes.point_list" names point {chosen.max()}, '
                f'and this scene has {len(segment)}: choose the list that was made for this data'
            )
        few = np.full_like(segment, IGNORED)
        few[chosen] = segment[chosen]
        return few

    def _choose(self, share: float, pattern: str) -> list[int]:
        scenes = range(len(self._names.short))
        if not pattern or share == 1:
            return choose_scenes(scenes, share, self._seed)
        path = Path(pattern.replace('{percent}', f'{100 * share:g}'))
        listed = _read_names(path)
        numbers = {self._names.number(name) for name in listed}
        chosen = [number for number in scenes if number in numbers]
        if not chosen or None in numbers:
            strange = [name for name in listed if self._names.number(name) is None]
            raise ConfigError(
                f'"regimes.scene_list" {path}: {len(listed) - len(strange)} of {len(listed)} '
                f'listed scenes are in data.train: {"".join(f"{n} is not, " for n in strange[:1])}'
                f'choose the list that was made for its scenes, such as {self._names.short[0]}'
            )
        return chosen


def _read_points(path: str) -> Mapping[str, NDArray[np.int64]]:
    """Return the points of each scene by its name, as the official lists hold them.

    Raises:
        ConfigError: It is no such list.
    """
    rebuild: Any = np.array(0).__reduce__()[0]
    old = (rebuild, 'numpy.core.multiarray._reconstruct')  # its name before NumPy 2
    types = [type(np.dtype(code)) for code in ('i4', 'i8')]
    arrays = [np.ndarray, np.dtype, *types, rebuild, old]
    with _unreadable_told('regimes.point_list', path):
        data = Path(path).read_bytes()
    try:
        with torch.serialization.safe_globals(arrays):
            found = torch.load(io.BytesIO(data), weights_only=True)
        return {str(name): np.asarray(rows, dtype=np.int64) for name, rows in found.items()}
    except Exception as err:  # whatever foreign bytes bring about
        raise ConfigError(
            f'"regimes.point_list" {path} is no list of points as the benchmark gives it: '
            'download it again'
        ) from err


def _read_names(path: Path) -> list[str]:
    with _unreadable_told('regimes.scene_list', path):
        return path.read_text().split()


@contextmanager
def _unreadable_told(setting: str, path: Path | str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as err:
        raise ConfigError(f'"{setting}" {path} cannot be read: {err}') from err
