"""The networks of an objective: a backbone and the prototype heads on it."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from concerto_ros.model import BackboneConfig, FeaturePyramid, PointTransformerV3
from training.config import DistillationConfig


class PrototypeHead(nn.Module):
    """Says how much a feature is like each of K learned directions.

    Names in the state dict are those of the published training checkpoints.

    Source: Concerto, arXiv 2510.23607, and its published configuration; Sonata, arXiv 2503.16429.
    """

    def __init__(self, in_channels: int, config: DistillationConfig) -> None:
        super().__init__()
        first = nn.Linear(in_channels, config.hidden)
        last = nn.Linear(config.hidden, config.embed)
        for layer in (first, last):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        self.mlp = nn.Sequential(first, nn.GELU(), last)
        self.prototype = weight_norm(nn.Linear(config.embed, config.prototypes, bias=False))
        length = self.get_parameter('prototype.parametrizations.weight.original0')
        nn.init.ones_(length).requires_grad_(False)

    def forward(self, pyramid: FeaturePyramid, level: int, rows: Tensor) -> Tensor:
        """Compute cosines with the prototypes.

        The first layer maps every coarser cell once, and cells of the level if asked for.

        Args:
            pyramid: Features; those of `level` and all coarser ones count.
            level: Whose rows are meant.
            rows: (R,) int64.

        Returns:
            (R, K) float in -1..1.
        """
        first = cast(nn.Linear, self.mlp[0])
        x = self.mlp[1:](_map_rows(pyramid, level, rows, first))
        logits: Tensor = self.prototype(functional.normalize(x.float(), dim=1))
        return logits


def _map_rows(pyramid: FeaturePyramid, level: int, rows: Tensor, layer: nn.Linear) -> Tensor:
    """Return the layer's (R, O) values of some rows of `pyramid.upcast(to_level=level)`."""
    fine, coarser = pyramid.levels[level], pyramid.levels[level + 1 :]
    feat = fine.feat[rows]
    if not coarser:
        return functional.linear(feat, layer.weight, layer.bias)
    channels = feat.shape[1]
    coarse_weight, weight = layer.weight[:, channels:], layer.weight[:, :channels]
    mapped = pyramid.linear(coarse_weight, layer.bias, to_level=level + 1)
    return torch.addmm(mapped[coarser[0].inverse[rows]], feat, weight.t())


class Branch(nn.Module):
    """A backbone and the heads that are in use on it: the student, or the teacher.

    Args:
        backbone: Its config.
        heads: Names of the heads.
        level: Whose rows the heads see, with all coarser ones.
        config: Of the heads.
    """

    def __init__(
        self,
        backbone: BackboneConfig,
        heads: Iterable[str],
        level: int,
        config: DistillationConfig,
    ) -> None:
        super().__init__()
        self.backbone = PointTransformerV3(backbone)
        for name in heads:
            self.add_module(name, PrototypeHead(sum(backbone.enc_channels[level:]), config))

    def head(self, name: str) -> PrototypeHead:
        """Return a head by its name."""
        return cast(PrototypeHead, self.get_submodule(name))
