"""The linear probe of the protocol: a linear map of frozen features to classes."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn, optim
from torch.nn import functional

from concerto_ros.errors import ConcertoError
from training.evaluation.linear_probe import linear_layer
from training.evaluation.training_rows import Scaling, draw_rows, measure_scaling, no_scaling
from training.protocol.config import LinearSection
from training.protocol.feature_rows import LevelRows
from training.protocol.level_set import LevelSet
from training.protocol.rows import CachedRows, LabelledRows
from training.schedules import cosine, linear
from training.structures import IGNORED


class LinearTraining:
    """A linear map that learns by AdamW, its learning rate on half a cosine after a warm-up.

    Args:
        num_channels: C.
        num_classes: L.
        config: Of the optimiser.
        steps_per_epoch: Of which the epochs of `config` consist.
        seed: Of the first weights.
        device: Where it learns.
        scaling: Of the features, measured before; None: as they are.

    Source: Masked Scene Modeling, arXiv 2504.06719, table 15.
    """

    def __init__(
        self,
        num_channels: int,
        num_classes: int,
        config: LinearSection,
        steps_per_epoch: int,
        seed: int,
        device: torch.device,
        scaling: Scaling | None = None,
    ) -> None:
        self._config, self._steps_per_epoch = config, steps_per_epoch
        self._step = self._num_labels = 0
        generator = torch.Generator().manual_seed(seed)
        self._scaling = scaling or no_scaling(num_channels)
        self._layer: nn.Linear = linear_layer(num_channels, num_classes, generator).to(device)
        if not config.bias:
            nn.init.zeros_(self._layer.bias).requires_grad_(False)
        learning = [p for p in self._layer.parameters() if p.requires_grad]
        betas = (config.beta1, config.beta2)
        self._optimizer = optim.AdamW(learning, betas=betas, weight_decay=config.weight_decay)

    def add(self, feat: Tensor, label: Tensor) -> None:
        """Add the gradients of a part of a step; the loss is the mean over all its labels.

        Args:
            feat: (R, C) float.
            label: (R,) int64; `IGNORED` takes no part.
        """
        x = feat.to(self._layer.weight)
        logits = functional.linear(x, *self._scaling.fold(self._layer.weight, self._layer.bias))
        loss = functional.cross_entropy(logits, label, ignore_index=IGNORED, reduction='sum')
        loss.backward()  # type: ignore[no-untyped-call]
        self._num_labels += int((label != IGNORED).sum())

    def step(self) -> None:
        """Learn from what was added, and forget it.

        Raises:
            ConcertoError: The weights are not finite any more.
        """
        for group in self._optimizer.param_groups:
            group['lr'] = learning_rate(self._step, self._steps_per_epoch, self._config)
            for parameter in group['params']:
                if parameter.grad is not None:
                    parameter.grad /= max(self._num_labels, 1)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._step, self._num_labels = self._step + 1, 0
        if not self._layer.weight.isfinite().all():
            raise ConcertoError(f'the loss is not finite at step {self._step}: lower linear.lr')

    def classifier(self) -> 'LinearClassifier':
        """Return what was learned."""
        weight, bias = self._layer.weight.detach(), self._layer.bias.detach()
        return LinearClassifier(*self._scaling.fold(weight, bias))


class LinearClassifier:
    """Gives each feature the class of the highest logit.

    Args:
        weight: (L, C) float.
        bias: (L,) float.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, feat: Tensor) -> Tensor:
        """Return the (R,) int64 classes of (R, C) features."""
        return functional.linear(feat.to(self._weight), self._weight, self._bias).argmax(1)


def learning_rate(step: int, steps_per_epoch: int, config: LinearSection) -> float:
    """Return the learning rate: straight up in the warm-up, then half a cosine down to zero."""
    warm, last = config.warmup_epochs * steps_per_epoch, config.epochs * steps_per_epoch
    if step < warm:
        return linear((step + 1) / warm, 0.0, config.lr)
    return cosine((step - warm) / max(last - warm, 1), config.lr, 0.0)


def train_on_cache(
    rows: CachedRows,
    labelled: LabelledRows,
    levels: LevelSet,
    num_classes: int,
    config: LinearSection,
    seed: int,
    device: torch.device,
) -> LinearClassifier:
    """Train a linear map on cached features; the same seed gives the same map on a CPU.

    Args:
        rows: Features of all levels, which stay on the CPU.
        labelled: Those to learn from.
        levels: To read.
        num_classes: L.
        config: Epochs, batch, optimiser.
        seed: Of weights and order.
        device: Where to train.

    Raises:
        ConcertoError: The weights are not finite any more.
    """
    feat = LevelRows(rows.feat, labelled.row, levels, device)
    scaling = measure_scaling(feat) if config.standardize else None
    generator = torch.Generator().manual_seed(seed)
    batches = _Batches(labelled.scene, config.batch_size, config.max_points, generator)
    training = LinearTraining(
        levels.num_channels, num_classes, config, len(batches), seed, device, scaling
    )
    for _ in range(config.epochs):
        for batch in batches:
            training.add(feat[batch], labelled.label[batch].to(device))
            training.step()
    return training.classifier()


class _Batches:
    """Rows of some scenes at once, scenes in an order drawn anew for each pass."""

    def __init__(
        self, scene: Tensor, batch_size: int, max_points: int, generator: torch.Generator
    ) -> None:
        rows = torch.arange(len(scene))
        counts = torch.unique_consecutive(scene, return_counts=True)[1].tolist()
        self._scenes = torch.split(rows, counts)
        self._batch_size, self._max_points = batch_size, max_points
        self._generator = generator

    def __len__(self) -> int:
        return math.ceil(len(self._scenes) / self._batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self._scenes), generator=self._generator)
        for picked in torch.split(order, self._batch_size):
            yield torch.cat([self._drawn(self._scenes[i]) for i in picked.tolist()])

    def _drawn(self, rows: Tensor) -> Tensor:
        if len(rows) <= self._max_points:
            return rows
        return draw_rows(rows, self._max_points, self._generator)
