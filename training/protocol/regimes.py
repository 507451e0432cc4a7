"""Few scenes, or few labelled points of each: what there is to learn from."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from concerto_ros.errors import ConfigError, SourceError
from training.evaluation.label_budget import choose_scenes, keep_labels
from training.protocol.config import RegimesSection
from training.protocol.scene_names import SceneNames
from training.structures import IGNORED

T = TypeVar('T')
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
        points = f'{self.points_per_scene} points each' if self.points_per_scene else 'all points'
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
        ConfigError: A list cannot be read, or names none of the scenes, or one of several.
    """

    def __init__(self, config: RegimesSection, paths: Sequence[str], seed: int) -> None:
        shares = [Regime(share, 0) for share in config.shares]
        few = [Regime(1.0, count) for count in config.counts]
        self.all = tuple(dict.fromkeys(shares + few))
        self._names, self._seed = SceneNames(paths), seed
        self._scenes = {share: self._choose(share, config.scene_list) for share, _ in self.all}
        self._points = {
            count: self._by_number(config.point_list.replace('{count}', str(count)))
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
            SourceError: The list of points does not know the scene, or does not fit it.
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

    def _by_number(self, path: str) -> Mapping[int | None, NDArray[np.int64]]:
        return {self._names.number(name): rows for name, rows in _read_points(path).items()}

    def _listed(self, segment: Segment, count: int, scene: int) -> Segment:
        chosen = self._points[count].get(scene)
        if chosen is None or chosen.max(initial=0) >= len(segment):
            raise SourceError(
                f'{self._names.short[scene]}: "regimes.point_list" names no points of this scene, '
                f'or more than its {len(segment)}: choose the list that was made for this data'
            )
        few = np.full_like(segment, IGNORED)
        few[chosen] = segment[chosen]
        return few

    def _choose(self, share: float, pattern: str) -> list[int]:
        scenes = range(len(self._names.short))
        if not pattern or share == 1:
            return choose_scenes(scenes, share, self._seed)
        path = Path(pattern.replace('{percent}', f'{100 * share:g}'))
        listed = _told('regimes.scene_list', path, lambda: path.read_text().split())
        numbers = {self._names.number(name) for name in listed}
        chosen = [number for number in scenes if number in numbers]
        if not chosen:
            raise ConfigError(
                f'"regimes.scene_list" {path} names none of the training scenes, such as '
                f'{self._names.short[0]}: choose the list that was made for data.train'
            )
        return chosen


def _read_points(path: str) -> Mapping[str, NDArray[np.int64]]:
    """Return the points of each scene by its name, as the official lists hold them."""
    rebuild: Any = np.array(0).__reduce__()[0]
    old = (rebuild, 'numpy.core.multiarray._reconstruct')  # its name before NumPy 2
    arrays = [np.ndarray, np.dtype, np.dtypes.Int64DType, np.dtypes.Int32DType, rebuild, old]

    def read() -> Mapping[str, NDArray[np.int64]]:
        with torch.serialization.safe_globals(arrays):
            found = torch.load(path, weights_only=True)
        return {str(name): np.asarray(rows, dtype=np.int64) for name, rows in found.items()}

    return _told('regimes.point_list', Path(path), read)


def _told(setting: str, path: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except (OSError, ValueError, RuntimeError, AttributeError, UnpicklingError) as err:
        raise ConfigError(f'"{setting}" {path} cannot be read: {err}') from err
