"""Crops of images by number: which image, and what is drawn for it, follow from the number alone.

So the order does not depend on processes, ranks or interruptions.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from concerto_ros.errors import SourceError
from training.datasets.parts import REPAIR, DataFile
from training.images.config import ImageTrainingConfig
from training.images.crops import Crops, ImageBatch, ImageItem, collate_images, draw_crops

_MOST_SKIPPED = 20  # broken images in a row that are no accident
_ORDER, _CROPS = 1, 2  # streams of random numbers
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


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

    def __getitem__(self, index: int) -> ImageItem:
        """Return an item; an image that cannot be read is replaced by the next of the epoch.

        Args:
            index: step * data.batch_size + slot.

        Raises:
            SourceError: Many images in a row cannot be read.
        """
        epoch, place = divmod(index, len(self._files))
        order = np.random.default_rng([self.config.run.seed, _ORDER, epoch]).permutation(
            len(self._files)
        )
        skipped: list[str] = []
        for number in range(min(_MOST_SKIPPED, len(order))):
            file = self._files[order[(place + number) % len(order)]]
            try:
                crops = self._crops(file, index)
            except SourceError as err:
                skipped.append(str(err))
            else:
                return ImageItem(index % self.config.data.batch_size, *crops, tuple(skipped))
        raise SourceError(f'{len(skipped)} images in a row cannot be read; first: {skipped[0]}')

    def collate(self, items: Sequence[ImageItem]) -> ImageBatch:
        """Join items to a batch."""
        return collate_images(items)

    def _crops(self, file: DataFile, index: int) -> tuple[Crops, Crops]:
        rng = np.random.default_rng([self.config.run.seed, _CROPS, index])
        try:
            with file.open('rb') as stream, Image.open(stream) as image:
                pixels = image.convert('RGB')
        except _DAMAGED as err:
            raise SourceError(f'{file} is no image that can be read ({err}); {REPAIR}') from err
        return draw_crops(pixels, self.config.network.image_size, self.config.crops, rng)
