"""Crops of images by number: image, and what is drawn for it, follow from the number alone."""

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from concerto_ros.errors import SourceError
from training.datasets.endless_order import EndlessOrder
from training.datasets.images import opened_image
from training.datasets.parts import DataFile
from training.images.config import ImageTrainingConfig
from training.images.crops import Crops, ImageBatch, ImageItem, collate_images, draw_crops

_CROPS = 2  # stream of random numbers; `EndlessOrder` draws from another


class ImageDataset(Dataset[ImageItem]):
    """Items 0, 1, 2, ... without end; each epoch has its own order.

    Args:
        files: At least one image.
        config: Of which `run.seed`, `data.batch_size`, `network.image_size` and `crops` matter.

    Raises:
        SourceError: There is no image.
    """

    def __init__(self, files: Sequence[DataFile], config: ImageTrainingConfig) -> None:
        if len(files) == 0:
            raise SourceError('the splits have no image: name others in data.splits')
        self.config = config
        self._files = files
        self._order = EndlessOrder(len(files), config.run.seed, 'images')

    def __getitem__(self, index: int) -> ImageItem:
        """Return an item; an image that cannot be read is replaced by the next of the epoch.

        Args:
            index: step * data.batch_size + slot.

        Raises:
            SourceError: Many images in a row cannot be read.
        """
        crops, skipped = self._order.read(index, lambda item: self._crops(item, index))
        return ImageItem(index % self.config.data.batch_size, *crops, skipped)

    def collate(self, items: Sequence[ImageItem]) -> ImageBatch:
        """Join items to a batch."""
        return collate_images(items)

    def _crops(self, item: int, index: int) -> tuple[Crops, Crops]:
        rng = np.random.default_rng([self.config.run.seed, _CROPS, index])
        with opened_image(self._files[item]) as image:
            pixels = image.convert('RGB')
        return draw_crops(pixels, self.config.network.image_size, self.config.crops, rng)
