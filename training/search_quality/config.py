"""Every value of the measurement of searches with its default, unit, range and sentence."""

from dataclasses import dataclass
from typing import Literal

from concerto_ros.config.schema import (
    ConcertoConfig,
    DepthConfig,
    MapConfig,
    SearchConfig,
    SemanticsConfig,
)
from concerto_ros.config.tree import param, section
from concerto_ros.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class RunSection:
    """What is done and what it leaves behind."""

    task: Literal['rooms', 'threshold', 'kitchen'] = param(
        'rooms',
        'rooms: measure on test rooms; threshold: fit search.min_score on validation rooms; '
        'kitchen: measure on a real recording.',
    )
    output: str = param('runs/search_quality', 'Folder of table.md and results.json.')
    seed: int = param(0, 'Of the rooms that are drawn for intervals.', ge=0)
    num_threads: int = param(
        0, 'Threads on a CPU; 0: as torch chooses. 1 where cores are shared.', ge=0
    )


@dataclass(frozen=True, kw_only=True)
class RoomsSection:
    """The synthetic rooms, and how they are walked through."""

    seeds: str = param('2000:2010', 'A:B, rooms A to B - 1; 900000:900050 are for the last word.')
    families: Literal['all', 'train', 'test'] = param('test', 'Which furniture they have.')
    num_frames: int = param(40, 'Frames of a walk.', ge=1)
    width: int = param(320, 'Of the frames, whose ratio is 4:3.', unit='px', ge=8)
    height: int = param(240, 'Of the frames.', unit='px', ge=6)
    least_surface: int = param(
        50, 'Measured 2 cm cells of an object before anything is asked about it.', ge=1
    )

    @property
    def range(self) -> range:
        """The seeds.

        Raises:
            ConfigError: They are not written as A:B.
        """
        first, _, end = self.seeds.partition(':')
        if first.isdecimal() and end.isdecimal() and int(first) < int(end):
            return range(int(first), int(end))
        raise ConfigError(
            f'rooms.seeds must be A:B with A below B, such as 0:50, got {self.seeds}'
        )


@dataclass(frozen=True, kw_only=True)
class TextsSection:
    """How classes are called."""

    classes: str = param('', 'YAML of texts that name classes; empty: class_texts.yaml of ours.')


@dataclass(frozen=True, kw_only=True)
class KitchenSection:
    """The real recording."""

    folder: str = param(
        '../shared/data/sevenscenes', 'Folder of frames, with objects.json and camera.json.'
    )


@dataclass(frozen=True, kw_only=True)
class SearchQualityConfig:
    """All values of a measurement; the last four sections are the node's own."""

    run: RunSection = section(RunSection)
    rooms: RoomsSection = section(RoomsSection)
    texts: TextsSection = section(TextsSection)
    kitchen: KitchenSection = section(KitchenSection)
    depth: DepthConfig = section(DepthConfig)
    map: MapConfig = section(MapConfig)
    semantics: SemanticsConfig = section(SemanticsConfig)
    search: SearchConfig = section(SearchConfig)

    @property
    def node(self) -> ConcertoConfig:
        """The same for a pipeline."""
        return ConcertoConfig(
            depth=self.depth, map=self.map, semantics=self.semantics, search=self.search
        )
