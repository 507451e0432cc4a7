"""Views of scenes by number: scene, and what is drawn for it, follow from the number alone."""

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset

from concerto_ros.errors import SourceError
from training.datasets.endless_order import EndlessOrder
from training.datasets.samples import SceneDataset
from training.structures import SceneSample

_VIEWS = 2  # stream of random numbers; `EndlessOrder` draws from another


class Item(NamedTuple):
    """One scene of a batch.

    Attributes:
        slot: Its number within the step, over all ranks.
        views: Of the scene, as the objective needs them.
        skipped: One sentence for each scene that could not be read in its place.
    """

    slot: int
    views: Any
    skipped: tuple[str, ...]


class NumberedViews(Dataset[Item]):
    """Items 0, 1, 2, ... without end; each epoch has its own order.

    Args:
        scenes: At least one.
        seed: Of orders and views.
        batch_size: Scenes per step, over all ranks.

    Raises:
        SourceError: There is no scene.
    """

    def __init__(self, scenes: SceneDataset, seed: int, batch_size: int) -> None:
        if len(scenes) == 0:
            raise SourceError('the splits have no sample: name others in data.splits')
        self._scenes, self._seed, self._batch_size = scenes, seed, batch_size
        self._order = EndlessOrder(len(scenes), seed, 'scenes')

    def __getitem__(self, index: int) -> Item:
        """Return an item; a scene that cannot be read is replaced by the next of the epoch.

        Args:
            index: step * batch_size + slot.

        Raises:
            SourceError: Many scenes in a row cannot be read.
            ConfigError: The tokens of an image are not known.
        """
        views, skipped = self._order.read(index, lambda scene: self._draw(scene, index))
        return Item(index % self._batch_size, views, skipped)

    def _draw(self, scene: int, index: int) -> Any:
        rng = np.random.default_rng([self._seed, _VIEWS, index])
        return self._views(self._scenes.read(scene, rng), rng)

    @abstractmethod
    def _views(self, sample: SceneSample, rng: np.random.Generator) -> Any:
        """Make the views of a scene; `rng` draws everything."""
