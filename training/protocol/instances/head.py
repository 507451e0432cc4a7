"""Heads that read the class of a voxel and the way to the centre of its object."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.evaluation.linear_probe import linear_layer
from training.evaluation.training_rows import Scaling


class InstanceHeads(nn.Module):
    """A linear layer to classes, and one or two to offsets, on scaled features.

    Args:
        num_classes: L.
        offset_head: 'linear', or 'mlp' for Linear C to C, batch norm and ReLU before it.
        scaling: Of C channels.
        generator: Of the weights.
    """

    def __init__(
        self, num_classes: int, offset_head: str, scaling: Scaling, generator: torch.Generator
    ) -> None:
        super().__init__()
        num_channels = len(scaling.mean)
        self._scaling = scaling
        self.semantic = linear_layer(num_channels, num_classes, generator)
        self.offset = linear_layer(num_channels, 3, generator)
        self.hidden: nn.Linear | None = None
        if offset_head == 'mlp':
            self.hidden = linear_layer(num_channels, num_channels, generator)
            self.norm = nn.BatchNorm1d(num_channels)

    def forward(self, feat: Tensor) -> tuple[Tensor, Tensor]:
        """Return (R, L) logits and (R, 3) offsets [m] of (R, C) float32 features."""
        logits = self._of_scaled(self.semantic, feat)
        if self.hidden is None:
            return logits, self._of_scaled(self.offset, feat)
        hidden = self.norm(self._of_scaled(self.hidden, feat)).relu()
        return logits, self.offset(hidden)

    def _of_scaled(self, layer: nn.Linear, feat: Tensor) -> Tensor:
        """Return what a layer says of scaled features, without forming them."""
        return functional.linear(feat, *self._scaling.fold(layer.weight, layer.bias))
