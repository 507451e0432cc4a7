"""Views of scenes by number: which scene, and what is drawn for it, follow from the number alone.

So the order does not depend on processes, ranks or interruptions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from concerto_ros.errors import SourceError
from training.config import TrainingConfig
from training.datasets.samples import SceneDataset
from training.structures import SceneViews, ViewBatch
from training.views.collate import collate
from training.views.multi_view import make_views

_MOST_SKIPPED = 20  # broken scenes in a row that are no accident
_ORDER, _VIEWS = 1, 2  # streams of random numbers


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
        self._epoch, self._order = -1, np.zeros(0, dtype=np.int64)  # of the item last asked for

    def __getitem__(self, index: int) -> Item:
        """Return an item; a scene that cannot be read is replaced by the next of the epoch.

        Args:
            index: step * data.batch_size + slot.

        Raises:
            SourceError: Many scenes in a row cannot be read.
            ConfigError: The tokens of an image are not known.
        """
        epoch, place = divmod(index, len(self._scenes))
        order = self._order_of(epoch)
        skipped: list[str] = []
        for number in range(min(_MOST_SKIPPED, len(order))):
            scene = int(order[(place + number) % len(order)])
            try:
                views = self._views(scene, index)
            except SourceError as err:
                skipped.append(str(err))
            else:
                return Item(index % self.config.data.batch_size, views, tuple(skipped))
        raise SourceError(
            f'{len(skipped)} scenes in a row cannot be read; the first: {skipped[0]}'
        )

    def collate(self, items: Sequence[Item]) -> ViewBatch:
        """Join items to a batch."""
        return collate(items, self.config.data.voxel_size)

    def _views(self, scene: int, index: int) -> SceneViews:
        rng = np.random.default_rng([self.config.run.seed, _VIEWS, index])
        return make_views(self._scenes.read(scene, rng), self.config, rng)

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        """Return the scenes of an epoch in their order."""
        if epoch != self._epoch:
            rng = np.random.default_rng([self.config.run.seed, _ORDER, epoch])
            self._epoch, self._order = epoch, rng.permutation(len(self._scenes))
        return self._order
