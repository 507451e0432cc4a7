"""Views of scenes for masked scene modelling."""

from collections.abc import Sequence

import numpy as np

from training.datasets.numbered_views import Item, NumberedViews
from training.datasets.samples import SceneDataset
from training.masked_scene.batch import MaskedBatch
from training.masked_scene.config import MaskedConfig
from training.masked_scene.views import MaskedViews, collate_masked, make_masked_views
from training.structures import SceneSample


class MaskedDataset(NumberedViews):
    """Items of `MaskedViews`.

    Args:
        scenes: At least one.
        config: Of which `run.seed`, `data`, `views` and `target` matter.

    Raises:
        SourceError: There is no scene.
    """

    def __init__(self, scenes: SceneDataset, config: MaskedConfig) -> None:
        super().__init__(scenes, config.run.seed, config.data.batch_size)
        self.config = config

    def collate(self, items: Sequence[Item]) -> MaskedBatch:
        """Join items to a batch."""
        return collate_masked(items)

    def _views(self, sample: SceneSample, rng: np.random.Generator) -> MaskedViews:
        return make_masked_views(sample, self.config, rng)
