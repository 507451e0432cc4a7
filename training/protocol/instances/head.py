"""Heads that read the class of a voxel and the way to the centre of its object."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_linear_bn_eval

from training.evaluation.features import VoxelFeatures
from training.evaluation.linear_probe import linear_layer
from training.evaluation.training_rows import Scaling

_HIDDEN_AT_ONCE = 256  # channels; bounds the memory of large scenes


class InstanceLayers(nn.Module):
    """A linear layer to classes, and one or two to offsets.

    Args:
        num_channels: C.
        num_classes: L.
        offset_head: 'linear', or 'mlp' for Linear C to C, batch norm and ReLU before it.
        generator: Of the weights.
    """

    def __init__(
        self, num_channels: int, num_classes: int, offset_head: str, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.semantic = linear_layer(num_channels, num_classes, generator)
        self.offset = linear_layer(num_channels, 3, generator)
        self.hidden: nn.Linear | None = None
        if offset_head == 'mlp':
            self.hidden = linear_layer(num_channels, num_channels, generator)
            self.norm = nn.BatchNorm1d(num_channels)

    def forward(self, feat: Tensor, scaling: Scaling) -> tuple[Tensor, Tensor]:
        """Return (R, L) logits and (R, 3) offsets [m] of (R, C) float32 features, to be scaled."""
        logits = _scaled(self.semantic, scaling, feat)
        if self.hidden is None:
            return logits, _scaled(self.offset, scaling, feat)
        hidden = self.norm(_scaled(self.hidden, scaling, feat)).relu()
        return logits, self.offset(hidden)

    def frozen(self, scaling: Scaling) -> 'InstanceHead':
        """Return the head, on the CPU, that does on plain features what this does on scaled."""
        semantic = _folded(self.semantic, scaling)
        if self.hidden is None:
            return InstanceHead(
                semantic=semantic, hidden=None, offset=_folded(self.offset, scaling)
            )
        hidden = _folded(fuse_linear_bn_eval(self.hidden.eval(), self.norm.eval()), scaling)
        last = Affine(self.offset.weight.detach().cpu(), self.offset.bias.detach().cpu())
        return InstanceHead(semantic=semantic, hidden=hidden, offset=last)


class Affine(NamedTuple):
    """A linear map.

    Attributes:
        weight: (O, I) float32.
        bias: (O,) float32.
    """

    weight: Tensor
    bias: Tensor

    def to(self, device: torch.device) -> 'Affine':
        """Return the same map on another device."""
        return Affine(self.weight.to(device), self.bias.to(device))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InstanceHead:
    """Trained heads, for features as the source gives them.

    Attributes:
        semantic: C to L.
        hidden: C to H, followed by ReLU; None: offsets are a linear map of the features.
        offset: H (or C) to 3.
    """

    semantic: Affine
    hidden: Affine | None
    offset: Affine

    @torch.no_grad()
    def __call__(self, features: VoxelFeatures, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return (V, L) logits and (V, 3) offsets [m], float32.

        Args:
            features: (V, C).
            device: Where they are.
        """
        semantic, offset = self.semantic.to(device), self.offset.to(device)
        if self.hidden is None:
            both = [torch.cat(parts) for parts in zip(semantic, offset, strict=True)]
            found = features.linear(*both).float()
            return found[:, :-3], found[:, -3:]
        moved = offset.bias.expand(features.num_points, 3).clone()
        for part, columns in self._hidden_parts(device):
            moved += features.linear(*part).float().relu() @ offset.weight[:, columns].t()
        return features.linear(*semantic).float(), moved

    def _hidden_parts(self, device: torch.device) -> Iterator[tuple[Affine, slice]]:
        assert self.hidden is not None
        weight, bias = self.hidden.to(device)
        for start in range(0, len(bias), _HIDDEN_AT_ONCE):
            part = slice(start, start + _HIDDEN_AT_ONCE)
            yield Affine(weight[part], bias[part]), part


def _scaled(layer: nn.Linear, scaling: Scaling, feat: Tensor) -> Tensor:
    return functional.linear(feat, *scaling.fold(layer.weight, layer.bias))


def _folded(layer: nn.Linear, scaling: Scaling) -> Affine:
    return Affine(*scaling.fold(layer.weight.detach().cpu(), layer.bias.detach().cpu()))
