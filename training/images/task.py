"""Training of our image encoder, as the trainer runs it."""

from collections.abc import Iterator
from typing import Any

import torch

from training.config import DataConfig
from training.datasets.loader import make_loader, rank_batches
from training.datasets.open_scenes import open_scenes
from training.datasets.patch_grid import PatchGrid
from training.distributed import rank, world_size
from training.image_encoders.small_vit import vit_settings
from training.images.config import ImageTrainingConfig
from training.images.crops import ImageBatch
from training.images.dataset import ImageDataset
from training.images.distillation import ImageDistillation
from training.optimizer import make_optimizer
from training.schedules import step_values
from training.structures import DistillationValues


class ImageTask:
    """Crops of images for an `ImageDistillation`; a `Task`.

    Args:
        config: All settings.
        device: Of the objective.

    Raises:
        ConfigError: Settings disagree with each other or with the data.
        SourceError: A split cannot be read, or has no image.
    """

    def __init__(self, config: ImageTrainingConfig, device: torch.device) -> None:
        self.config = config
        self.network_config: dict[str, Any] = vit_settings(config.network)
        grid = PatchGrid(
            image_size=config.network.image_size, patch_size=config.network.patch_size
        )
        scenes = open_scenes(DataConfig(splits=config.data.splits), grid)
        self._dataset = ImageDataset(scenes.image_files(), config)
        torch.manual_seed(config.run.seed)  # of the first weights, alike on all ranks
        self.objective = ImageDistillation(config).to(device)
        self.optimizer = make_optimizer(self.objective, (), config.optimizer)

    def values(self, step: int) -> DistillationValues:
        """Return what changes with the step."""
        distillation = self.config.distillation.points()
        return step_values(step, self.config.run.num_steps, self.config.optimizer, distillation)

    def batches(self, first_step: int) -> Iterator[ImageBatch]:
        """Return the batches of this rank from a step on."""
        data = self.config.data
        steps = range(first_step, self.config.run.num_steps)
        batches = rank_batches(data.batches(), steps, rank(), world_size())
        return make_loader(self._dataset, batches, data.num_workers)
