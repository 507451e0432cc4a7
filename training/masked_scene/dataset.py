"""Full views of scenes by number: the scene and what is drawn for it follow from it alone."""

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from concerto_ros.errors import SourceError
from training.datasets.endless_order import EndlessOrder
from training.datasets.samples import SceneDataset
from training.masked_scene.batch import MaskedBatch
from training.masked_scene.config import MaskedConfig
from training.masked_scene.views import Item, MaskedViews, collate_masked, make_masked_views

_VIEWS = 2  # stream of random numbers; `EndlessOrder` draws from another


class MaskedDataset(Dataset[Item]):
    """Items 0, 1, 2, ... without end; each epoch has its own order.

    Args:
        scenes: At least one.
        config: Of which `run.seed`, `data`, `views` and `target` matter.

    Raises:
        SourceError: There is no scene.
    """

    def __init__(self, scenes: SceneDataset, config: MaskedConfig) -> None:
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
        """
        views, skipped = self._order.read(index, lambda scene: self._views(scene, index))
        return index % self.config.data.batch_size, views, skipped

    def collate(self, items: Sequence[Item]) -> MaskedBatch:
        """Join items to a batch."""
        return collate_masked(items)

    def _views(self, scene: int, index: int) -> MaskedViews:
        rng = np.random.default_rng([self.config.run.seed, _VIEWS, index])
        return make_masked_views(self._scenes.read(scene, rng), self.config, rng)
