"""Pretraining of the backbone on scenes, as the trainer runs it."""

import logging
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from concerto_ros.errors import CheckpointError, ConfigError
from concerto_ros.model import load_checkpoint
from training.backbone_sizes import backbone_config
from training.checkpoint import tensor_difference
from training.config import TrainingConfig
from training.datasets.loader import make_loader, rank_batches
from training.datasets.open_scenes import open_scenes
from training.datasets.parts import DataFile
from training.datasets.patch_grid import PatchGrid
from training.datasets.view_dataset import ViewDataset
from training.distributed import rank, wait_for_all, world_size
from training.image_encoders import ImageEncoder, TokenCache, fill_cache, make_image_encoder
from training.objectives.joint import JointObjective
from training.optimizer import make_optimizer
from training.schedules import step_values
from training.structures import DistillationValues, ViewBatch

_log = logging.getLogger(__name__)
_FILL_BATCH = 32  # images that are encoded at a time


class JointTask:
    """Views of scenes for a `JointObjective`; a `Task`.

    Args:
        config: All settings.
        device: Of the objective and the image encoder.

    Whatever is wrong with the settings is told before the first image is encoded for a cache.

    Raises:
        ConfigError: Settings disagree with each other or with the data.
        CheckpointError: Weights of the image encoder or the first weights cannot be used.
        SourceError: A split cannot be read.
    """

    def __init__(self, config: TrainingConfig, device: torch.device) -> None:
        self.config = config
        rank_batches(config.data, range(0), rank(), world_size())  # raises if it cannot divide
        network = backbone_config(config.backbone)
        self.network_config: dict[str, Any] = {
            k: list(v) if isinstance(v, tuple) else v for k, v in asdict(network).items()
        }
        encoder = self._encoder(device)
        grid = self._grid(encoder)
        cache = self._cache(encoder, grid)
        self._unfilled = (cache, encoder) if cache and encoder else None
        tokens = cache if encoder else NoTokens()
        self._scenes = open_scenes(config.data, grid, tokens)
        self._dataset = ViewDataset(self._scenes, config)
        torch.manual_seed(config.run.seed)  # of the first weights, alike on all ranks
        self.objective = JointObjective(
            config,
            encoder if tokens is None else None,
            encoder.num_channels if encoder else 1,
            grid.num_patches,
        ).to(device)
        if config.backbone.initial:
            load_initial(self.objective, config.backbone.initial)
        self.optimizer = make_optimizer(self.objective, network.enc_depths, config.optimizer)

    def values(self, step: int) -> DistillationValues:
        """Return what changes with the step."""
        config = self.config
        return step_values(step, config.run.num_steps, config.optimizer, config.distillation)

    def fill_cache(self) -> None:
        """Encode the images of which no tokens are known, if there is a cache; only once.

        Raises:
            ConfigError: The cache cannot be written.
        """
        if self._unfilled is None:
            return
        cache, encoder = self._unfilled
        self._unfilled = None  # nobody else holds the encoder
        files = self._scenes.image_files()[rank() :: world_size()]
        size = self.config.cross_modal.image_size
        for sentence in fill_cache(cache, files, encoder, size, _FILL_BATCH):
            _log.warning('%s', sentence)
        wait_for_all()

    def batches(self, first_step: int) -> Iterator[ViewBatch]:
        """Return the batches of this rank from a step on, after filling the cache."""
        self.fill_cache()
        data = self.config.data
        steps = range(first_step, self.config.run.num_steps)
        batches = rank_batches(data, steps, rank(), world_size())
        return make_loader(self._dataset, batches, data.num_workers)

    def _encoder(self, device: torch.device) -> ImageEncoder | None:
        cross_modal = self.config.cross_modal
        if cross_modal.weight == 0:
            return None
        return make_image_encoder(cross_modal.image_encoder, cross_modal.image_size).to(device)

    def _grid(self, encoder: ImageEncoder | None) -> PatchGrid:
        """Return the patches of the encoder; without one the whole image is a patch."""
        size = self.config.cross_modal.image_size
        return PatchGrid(image_size=size, patch_size=encoder.patch_size if encoder else size)

    def _cache(self, encoder: ImageEncoder | None, grid: PatchGrid) -> TokenCache | None:
        """Return where tokens are kept; None: there are none, or they are encoded anew."""
        folder = self.config.cross_modal.token_cache
        if encoder is None or not folder:
            return None
        if self.config.augmentation.image:
            raise ConfigError(
                '"cross_modal.token_cache" holds tokens of plain images: set '
                '"augmentation.image" to false, or leave the cache empty'
            )
        return TokenCache(folder, encoder, grid.image_size)


class NoTokens:
    """Stands for the tokens where no image is read, as without a cross-modal term.

    Links are still read: they say where the principal view lies.
    """

    def get(self, file: DataFile) -> NDArray[np.float16]:
        """Return one token of one channel."""
        return np.zeros((1, 1), dtype=np.float16)


def load_initial(objective: JointObjective, name_or_path: str) -> None:
    """Start student and teacher from the encoder of a checkpoint.

    Raises:
        CheckpointError: It cannot be read, or is of another shape.
    """
    model, _ = load_checkpoint(name_or_path)
    found = {k: t for k, t in model.state_dict().items() if not k.startswith('dec.')}
    token = 'embedding.mask_token'
    if token not in found:
        _log.info('"backbone.initial" %s holds no mask token: it starts anew', name_or_path)
        found[token] = objective.student.backbone.state_dict()[token]
    if difference := tensor_difference(objective.student.backbone.state_dict(), found):
        raise CheckpointError(
            f'"backbone.initial" {name_or_path} is of another shape than the backbone of the '
            f'settings ({difference}): set "backbone.size" to that of the checkpoint'
        )
    for branch in filter(None, (objective.student, objective.teacher)):
        branch.backbone.load_state_dict(found)
