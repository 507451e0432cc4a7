"""The labelled scenes of some splits, read when they are asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from concerto_ros.errors import ConfigError, SourceError
from training.datasets.labelled import LabelledScene, join_samples, read_labelled
from training.datasets.parts import TokenSource
from training.datasets.patch_grid import PatchGrid
from training.datasets.split_files import SampleFiles, read_split
from training.evaluation.label_budget import choose_scenes, keep_labels
from training.structures import IGNORED

_CLOUD_FILES = ('coord', 'color', 'normal')


class ProbeScenes(Sequence[LabelledScene]):
    """Each scene once, with all its images.

    Args:
        setting: Name of the setting that names the splits, for messages.
        splits: Files, by commas.
        segment: Name of the labels.
        num_classes: Labels are less than that.
        scene_share: Share of the scenes, drawn.
        points_per_scene: Labels kept in each, drawn; 0: all.
        seed: Of what is drawn.

    Raises:
        ConfigError: No split is named, or shards are.
        SourceError: A split cannot be read.
    """

    def __init__(
        self,
        setting: str,
        splits: str,
        segment: str,
        num_classes: int,
        *,
        scene_share: float = 1.0,
        points_per_scene: int = 0,
        seed: int = 0,
    ) -> None:
        paths = _split_files(setting, splits)
        scenes = join_samples([sample for path in paths for sample in read_split(path)])
        self._scenes = choose_scenes(list(enumerate(scenes)), scene_share, seed)
        self._segment, self._num_classes = segment, num_classes
        self._points_per_scene, self._seed = points_per_scene, seed
        self._grid: PatchGrid | None = None
        self._tokens: TokenSource | None = None

    def show_images(self, grid: PatchGrid | None, tokens: TokenSource | None) -> None:
        """From now on, read images for an encoder, or their tokens; None: neither."""
        self._grid, self._tokens = grid, tokens

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: Any) -> Any:
        """Read the scene of an index.

        Raises:
            SourceError: A file cannot be read, or a label names no class.
        """
        number, files = self._scenes[index]
        scene = read_labelled(files, self._segment, self._grid, self._tokens)
        if (highest := scene.segment.max(initial=IGNORED)) >= self._num_classes:
            raise SourceError(
                f'{scene.name}: a point has label {highest}, and data.vocabulary has '
                f'{self._num_classes} classes, from 0 on: data.segment {self._segment} and '
                'data.vocabulary must belong together'
            )
        segment = keep_labels(scene.segment, self._points_per_scene, self._seed, number)
        return replace(scene, segment=segment)

    @property
    def names(self) -> list[str]:
        """ROOT/SPLIT/SCENE of each, without reading it."""
        return [files.name for _, files in self._scenes]

    @property
    def clouds(self) -> list[Path]:
        """Folder of the cloud of each."""
        return [files.cloud for _, files in self._scenes]

    @property
    def images(self) -> list[Path]:
        """Files of all images."""
        return [path for _, files in self._scenes for path in files.images]

    def cloud_files(self) -> Iterator[Path]:
        """Yield the files of points and labels that exist, in order."""
        for _, files in self._scenes:
            yield from _existing(files, self._segment)


def _split_files(setting: str, splits: str) -> list[Path]:
    names = [name.strip() for name in splits.split(',') if name.strip()]
    if not names:
        raise ConfigError(f'"{setting}" must name a split: ROOT/splits/NAME.json')
    for name in names:
        if name.endswith('.tar'):
            raise ConfigError(
                f'"{setting}" names shards, {name}, which probes do not read: name the list they '
                'were packed from, ROOT/splits/NAME.json'
            )
    return [Path(name) for name in names]


def _existing(files: SampleFiles, segment: str) -> Iterator[Path]:
    paths = (files.cloud / f'{name}.npy' for name in (*_CLOUD_FILES, segment))
    return (path for path in paths if path.is_file())
