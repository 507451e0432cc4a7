"""Masked scene modelling, as the trainer runs it."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import torch

from training.datasets.loader import make_loader, rank_batches
from training.datasets.open_scenes import open_scenes
from training.datasets.patch_grid import PatchGrid
from training.distributed import rank, world_size
from training.masked_scene.batch import MaskedBatch
from training.masked_scene.config import MaskedConfig
from training.masked_scene.dataset import MaskedDataset
from training.masked_scene.objective import MaskedSceneObjective
from training.masked_scene.schedule import masked_values
from training.networks.backends import use_backends
from training.networks.concerto_unet import ConcertoUNet
from training.networks.make import make_network
from training.networks.unet import UNet
from training.optimizer import adamw
from training.structures import StepValues

_log = logging.getLogger(__name__)
_NO_IMAGE = PatchGrid(image_size=1, patch_size=1)


class MaskedTask:
    """Full views of scenes for a `MaskedSceneObjective`; a `Task`.

    Args:
        config: All settings.
        device: Of the objective.

    Raises:
        BackendUnavailable: What shall compute the network cannot run on the device.
        ConfigError: Settings disagree with each other or with the network.
        SourceError: A split cannot be read.
    """

    def __init__(self, config: MaskedConfig, device: torch.device) -> None:
        self.config = config
        rank_batches(config.data, range(0), rank(), world_size())  # raises if it cannot divide
        scenes = open_scenes(replace(config.data, max_images=0), _NO_IMAGE)
        self._dataset = MaskedDataset(scenes, config)
        torch.manual_seed(config.run.seed)  # of the first weights, alike on all ranks
        objective = MaskedSceneObjective(config, lambda: make_network(config.network))
        chosen = use_backends(
            objective,
            config.network.convolution,
            config.network.attention,
            device=device,
            number_format=config.run.precision,
        )
        _log.info('%s', '; '.join(backend.notice for backend in chosen))
        self.objective = objective.to(device)
        self.network_config = encoder_config(objective.student)
        betas = config.optimizer.beta1, config.optimizer.beta2
        self.optimizer = adamw(self.objective, config.optimizer.lr, betas=betas)

    def values(self, step: int) -> StepValues:
        """Return what changes with the step."""
        config = self.config
        return masked_values(step, config.run.num_steps, config.optimizer, config.teacher)

    def batches(self, first_step: int) -> Iterator[MaskedBatch]:
        """Return the batches of this rank from a step on."""
        data = self.config.data
        steps = range(first_step, self.config.run.num_steps)
        batches = rank_batches(data, steps, rank(), world_size())
        return make_loader(self._dataset, batches, data.num_workers)


def encoder_config(network: UNet) -> dict[str, Any]:
    """Return the shape of a Concerto encoder for `load_checkpoint`; empty for other networks."""
    if not isinstance(network, ConcertoUNet):
        return {}
    values = asdict(network.backbone.config)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
