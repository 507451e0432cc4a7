"""The linear map to the space of texts, and what it is trained for."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from training.evaluation.config import HeadOptimizerSection
from training.evaluation.head_optimizer import HeadOptimizer
from training.evaluation.training_rows import measure_scaling
from training.translation.config import TranslatorSection

_START_SCALE = 20.0  # of cosines to logits


class Objective(nn.Module):
    """What is asked of translated features.

    Attributes:
        start: (D,) float32, the direction of every feature before training.
    """

    start: Tensor

    def forward(self, translated: Tensor, rows: Tensor) -> Tensor:
        """Return the () loss.

        Args:
            translated: (B, D) float32 unit vectors.
            rows: (B,) int64, which rows of the training set they are; on the CPU.
        """
        raise NotImplementedError

    @property
    def logit_scale(self) -> float:
        """Factor from cosine to logit, as far as training knows it."""
        raise NotImplementedError


class NameClasses(Objective):
    """Points are nearer to every text of their class than to any text of the others.

    The loss is the mean, over the texts of the right class, of the cross-entropy of that text
    against all texts of other classes; texts of one class do not compete. The scale of cosines is
    learned with the map.

    Args:
        texts: For each class (T, D) float32 unit vectors.
        label: (R,) int64 class of each row of the training set.
    """

    texts: Tensor
    class_of_text: Tensor

    def __init__(self, texts: Sequence[Tensor], label: Tensor) -> None:
        super().__init__()
        self._label = label
        counts = torch.tensor([len(own) for own in texts])
        class_of_text = torch.arange(len(texts)).repeat_interleave(counts)
        mean = torch.stack([own.mean(0) for own in texts]).mean(0)
        self.register_buffer('texts', torch.cat(list(texts)), persistent=False)
        self.register_buffer('class_of_text', class_of_text, persistent=False)
        self.register_buffer('start', mean, persistent=False)
        self.log_scale = nn.Parameter(torch.tensor(_START_SCALE).log())

    def forward(self, translated: Tensor, rows: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        logits = self.log_scale.exp() * translated @ self.texts.t()
        is_own = self._label[rows].to(logits.device)[:, None] == self.class_of_text
        others = logits.masked_fill(is_own, float('-inf')).logsumexp(1, keepdim=True)
        losses = functional.softplus(others - logits) * is_own
        return (losses.sum(1) / is_own.sum(1)).mean()

    @property
    def logit_scale(self) -> float:
        """The learned one."""
        return float(self.log_scale.detach().exp())


class FollowImages(Objective):
    """Points have the direction of what images show of them.

    Args:
        target: (R, D) float, unit vectors, for each row of the training set.

    Source: Concerto, arXiv 2510.23607, section 4.1: a linear layer maps frozen point features to
        text-aligned features of pixels. Its loss is not told; cosine distance is our choice.
    """

    def __init__(self, target: Tensor) -> None:
        super().__init__()
        self._target = target  # stays on the CPU, because it may be large
        self.register_buffer('start', target.float().mean(0), persistent=False)

    def forward(self, translated: Tensor, rows: Tensor) -> Tensor:
        """Return the mean of `1 - cosine`."""
        target = self._target[rows].to(translated)
        return (1 - functional.cosine_similarity(translated, target)).mean()

    @property
    def logit_scale(self) -> float:
        """A usual one; images say nothing of it."""
        return _START_SCALE


class LinearMap(NamedTuple):
    """`weight @ feature + bias`, on the CPU.

    Attributes:
        weight: (D, C) float32.
        bias: (D,) float32.
    """

    weight: Tensor
    bias: Tensor


def train_map(
    feat: Tensor,
    objective: Objective,
    config: TranslatorSection,
    optimizer: HeadOptimizerSection,
    seed: int,
    device: torch.device,
) -> LinearMap:
    """Train a map of plain features; its channels are standardised on the way.

    It starts at the mean of what it is to give, so that it never leaves what the texts (or the
    images) of training span: random weights would add directions that no training takes away.

    Args:
        feat: (R, C) float, on the CPU.
        objective: With as many rows; trained, too, and moved to `device`.
        config: Steps and batch.
        optimizer: Learning rate and the like.
        seed: Of the order.
        device: Where to train.

    Raises:
        ConcertoError: The loss is not finite.
    """
    scaling = measure_scaling(feat)
    objective = objective.to(device)
    layer = nn.Linear(feat.shape[1], len(objective.start)).to(device)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(objective.start)
    learning = nn.ModuleDict({'layer': layer, 'objective': objective})
    steps = HeadOptimizer(learning.named_parameters(), optimizer, config.num_steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in tqdm(range(config.num_steps), desc='training', disable=None):
        rows = torch.randint(len(feat), (config.batch_size,), generator=generator)
        scaled = scaling(feat.index_select(0, rows).to(device))
        loss = objective(functional.normalize(layer(scaled), dim=1), rows)
        steps.zero_grad()
        loss.backward()
        steps.step(loss.detach())
    return LinearMap(*scaling.fold(layer.weight.detach().cpu(), layer.bias.detach().cpu()))
