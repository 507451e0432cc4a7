"""Views of scenes for the joint objective."""

from collections.abc import Sequence

import numpy as np

from training.config import TrainingConfig
from training.datasets.numbered_views import Item, NumberedViews
from training.datasets.samples import SceneDataset
from training.structures import SceneSample, SceneViews, ViewBatch
from training.views.collate import collate
from training.views.multi_view import make_views


class ViewDataset(NumberedViews):
    """Items of `SceneViews`.

    Args:
        scenes: At least one.
        config: Of which `run.seed`, `data`, `views` and `augmentation` matter.

    Raises:
        SourceError: There is no scene.
    """

    def __init__(self, scenes: SceneDataset, config: TrainingConfig) -> None:
        super().__init__(scenes, config.run.seed, config.data.batch_size)
        self.config = config

    def collate(self, items: Sequence[Item]) -> ViewBatch:
        """Join items to a batch."""
        return collate(items, self.config.data.voxel_size)

    def _views(self, sample: SceneSample, rng: np.random.Generator) -> SceneViews:
        return make_views(sample, self.config, rng)
