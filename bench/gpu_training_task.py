"""Pretraining with an image encoder of random weights, and its steps by part."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from bench.stages import Stages
from concerto_ros.model import precision
from concerto_ros.torchvision_beside_cpu import declare_operators
from training.config import CrossModalConfig, TrainingConfig
from training.image_encoders import ImageEncoder, PixelStatistics
from training.image_encoders.timm_encoder import trunk_encoder
from training.joint_task import JointTask
from training.objectives.cross_modal import encode
from training.structures import ViewBatch

PARTS = ('waiting', 'copy', 'image encoder', 'forward', 'backward', 'optimiser')


class GivenEncoderTask(JointTask):
    """Pretraining as it is, but for an image encoder that is given instead of loaded.

    Args:
        config: Of the training.
        device: Of the networks.
        image_encoder: Of `config.cross_modal.image_size`.
    """

    def __init__(
        self, config: TrainingConfig, device: torch.device, image_encoder: ImageEncoder
    ) -> None:
        self.device, self.image_encoder = device, image_encoder
        super().__init__(config, device)
        self.fill_cache()
        if config.cross_modal.token_cache:
            self.image_encoder.cpu()  # its work is done

    def _encoder(self, device: torch.device) -> ImageEncoder:
        return self.image_encoder.to(device)


def random_image_encoder(config: CrossModalConfig, shape: dict[str, Any]) -> ImageEncoder:
    """Return a model of timm with random weights, which need no download.

    Args:
        config: Its image encoder is timm:MODEL or timm:MODEL.TAG.
        shape: Arguments of the model, to make it smaller.
    """
    declare_operators()
    import timm

    name = config.image_encoder.removeprefix('timm:').partition('.')[0]
    torch.manual_seed(0)  # so that a cache of tokens knows it again
    network = timm.create_model(
        name, pretrained=False, img_size=config.image_size, num_classes=0, **shape
    )
    settings = network.pretrained_cfg
    return trunk_encoder(name, network, PixelStatistics(settings['mean'], settings['std']))


def run_steps(
    task: GivenEncoderTask, batches: Iterator[ViewBatch], num_steps: int, stages: Stages
) -> int:
    """Train some steps as the trainer does; return the points of all views.

    Args:
        task: What is trained.
        batches: Of it.
        num_steps: How many.
        stages: Get a round per step.
    """
    num_points = 0
    for _ in range(num_steps):
        stages.next_round()
        with stages.stage('waiting'):
            batch = next(batches)
        num_points += batch.num_points
        _step(task, batch, stages)
    return num_points


def _step(task: GivenEncoderTask, batch: ViewBatch, stages: Stages) -> None:
    device = task.device
    values = task.values(task.config.run.num_steps // 2)
    task.optimizer.zero_grad(set_to_none=True)
    with stages.stage('copy'):
        batch = batch.to(device)
    with precision(task.config.run.precision, device):
        with stages.stage('image encoder'):
            tokens = encode(task.image_encoder, batch)
            batch = replace(batch, images=batch.images[:0], tokens=tokens)
        with stages.stage('forward'):
            terms = task.objective(batch, values)
    with stages.stage('backward'):
        torch.autograd.backward(terms.total)
    with stages.stage('optimiser'):
        nn.utils.clip_grad_norm_(task.objective.parameters(), task.config.optimizer.clip)
        terms.total.isfinite().item()  # as the trainer asks, before it steps
        task.optimizer.step()
        task.objective.update_teacher(values.momentum)
