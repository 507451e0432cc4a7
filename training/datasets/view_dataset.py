"""Views of scenes by number: scene, and what is drawn for it, follow from the number alone."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from concerto_ros.errors import SourceError
from training.config import TrainingConfig
from training.datasets.endless_order import EndlessOrder
from training.datasets.samples import SceneDataset
from training.structures import SceneViews, ViewBatch
from training.views.collate import collate
from training.views.multi_view import make_views

_VIEWS = 2  # stream of random numbers; `EndlessOrder` draws from another


class Item(NamedTuple):
    """One scene of a batch.

    Attributes:
        slot: Its number within the step, over all ranks.
        views: Of the scene.
        skipped: One sentence for each scene that could not be read in its place.
    """

    slot: int
    views: SceneViews
    skipped: tuple[str, ...]


class ViewDataset(Dataset[Item]):
    """Items 0, 1, 2, ... without end; each epoch has its own order.

    Args:
        scenes: At least one.
        config: Of which `run.seed`, `data`, `views` and `augmentation` matter.

    Raises:
        SourceError: There is no scene.
    """

    def __init__(self, scenes: SceneDataset, config: TrainingConfig) -> None:
        if len(scenes) == 0:
            raise SourceError('the splits have no sample: name others in data.splits')
        self.config = config
        self._scenes = scenes
        self._order = EndlessOrder(len(scenes), config.run.seed, 'scenes')

    def __getitem__(self, index: int) -> Item:
        """Return an item; a scene that cannot be read is replaced by the next of the epoch.

        Args:
            index: step * data.batch_size + slot.

        Raises:
            SourceError: Many scenes in a row cannot be read.
            ConfigError: The tokens of an image are not known.
        """
        views, skipped = self._order.read(index, lambda scene: self._views(scene, index))
        return Item(index % self.config.data.batch_size, views, skipped)

    def collate(self, items: Sequence[Item]) -> ViewBatch:
        """Join items to a batch."""
        return collate(items, self.config.data.voxel_size)

    def _views(self, scene: int, index: int) -> SceneViews:
        rng = np.random.default_rng([self.config.run.seed, _VIEWS, index])
        return make_views(self._scenes.read(scene, rng), self.config, rng)
