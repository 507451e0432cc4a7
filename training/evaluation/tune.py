"""The training loop of decoder probe, LoRA, full fine-tuning and augmented linear probe."""

from collections.abc import Sequence
from itertools import islice

import torch

from concerto_ros.model import precision
from training.datasets.labelled import LabelledScene
from training.evaluation.config import ProbeConfig
from training.evaluation.head_optimizer import HeadOptimizer
from training.evaluation.lovasz import segmentation_loss
from training.evaluation.scene_crops import SceneCrops, crop_batches
from training.evaluation.segmentation_network import SegmentationNetwork
from training.evaluation.tuning_progress import TuningProgress


def tune(
    network: SegmentationNetwork,
    scenes: Sequence[LabelledScene],
    config: ProbeConfig,
    device: torch.device,
) -> None:
    """Train a network on crops of scenes, in place; leaves it in eval mode.

    Seeds torch's global generator, from which dropout and dropped paths are drawn.

    Args:
        network: What of it learns requires gradients.
        scenes: Labelled.
        config: Steps, crops, learning rate, seed.
        device: Where the network is.

    Raises:
        ConcertoError: The loss is not finite, or a scene cannot be used.
    """
    section, seed = config.tuning, config.run.seed
    torch.manual_seed(seed)
    steps = HeadOptimizer(network.named_parameters(), config.optimizer, section.num_steps)
    crops = SceneCrops(scenes, section, config.data.voxel_size, seed)
    progress = TuningProgress(section.num_steps, config.run.log_every)
    batches = progress.timed(crop_batches(crops, section))
    network.train()
    for step in range(section.num_steps):
        steps.zero_grad()
        total = torch.zeros((), device=device)
        for batch in islice(batches, section.accumulation):
            with precision(config.run.precision, device):
                logits = network(batch.points.to(device))
            loss = segmentation_loss(logits, batch.label.to(device)) / section.accumulation
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        steps.step(total)
        progress.step_done(step, total)
    network.eval()
