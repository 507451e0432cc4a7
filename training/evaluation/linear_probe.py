"""The linear probe: a linear map of frozen features to classes."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from concerto_ros.semantics import ClassHead
from training.evaluation.class_lists import ClassList
from training.evaluation.config import HeadOptimizerSection, LinearSection
from training.evaluation.head_optimizer import HeadOptimizer
from training.evaluation.lovasz import segmentation_loss
from training.evaluation.training_rows import (
    Scaling,
    TrainingRows,
    measure_scaling,
    no_scaling,
)


def train_linear(
    rows: TrainingRows,
    classes: ClassList,
    config: LinearSection,
    optimizer: HeadOptimizerSection,
    seed: int,
    device: torch.device,
) -> ClassHead:
    """Train a head on cached features.

    Args:
        rows: Features and labels.
        classes: What is to be told apart.
        config: Steps, batch, scaling.
        optimizer: Learning rate and the like.
        seed: Of weights and order.
        device: Where to train; the rows stay on the CPU.

    Returns:
        A head for the features as the source gives them, on the CPU.

    Source: published linear probe: cross-entropy plus Lovász-softmax, AdamW on one cycle.
    """
    width = rows.feat.shape[1]
    scaling = measure_scaling(rows.feat) if config.standardize else no_scaling(width)
    generator = torch.Generator().manual_seed(seed)
    layer = linear_layer(width, len(classes.names), generator).to(device)
    steps = HeadOptimizer(layer.named_parameters(), optimizer, config.num_steps)
    batches = _Batches(len(rows), config.batch_size, generator)
    for _ in range(config.num_steps):
        picked = batches.next()
        x = rows.feat.index_select(0, picked).to(device).float()
        logits = functional.linear(x, *scaling.fold(layer.weight, layer.bias))
        loss = segmentation_loss(logits, rows.label[picked].to(device))
        steps.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        steps.step(loss.detach())
    return make_head(layer, scaling, classes)


def linear_layer(num_channels: int, num_classes: int, generator: torch.Generator) -> nn.Linear:
    """Return a layer with weights from a generator, spread as torch would."""
    layer = nn.Linear(num_channels, num_classes)
    bound = num_channels**-0.5
    with torch.no_grad():
        for p in (layer.weight, layer.bias):
            p.uniform_(-bound, bound, generator=generator)
    return layer


def make_head(layer: nn.Linear, scaling: Scaling, classes: ClassList) -> ClassHead:
    """Return the head, on the CPU, that does on plain features what the layer does on scaled."""
    weight, bias = scaling.fold(layer.weight.detach().cpu(), layer.bias.detach().cpu())
    return ClassHead(weight=weight, bias=bias, names=classes.names, vocabulary=classes.vocabulary)


class _Batches:
    """Rows in an order drawn anew for each pass; those that fill no batch sit it out."""

    def __init__(self, num_rows: int, batch_size: int, generator: torch.Generator) -> None:
        self._num_rows, self._generator = num_rows, generator
        self._batch_size = min(batch_size, num_rows)
        self._left = torch.zeros(0, dtype=torch.int64)

    def next(self) -> Tensor:
        if len(self._left) < self._batch_size:
            self._left = torch.randperm(self._num_rows, generator=self._generator)
        batch, self._left = self._left[: self._batch_size], self._left[self._batch_size :]
        return batch
