"""The restated published network as it is trained, on the weights of one of ours.

It is `bench.published_network` but for three layers. Its convolution has a gradient: as spconv
does, it gathers, multiplies and scatters tap by tap in the backward pass, too, so nothing but its
input is kept. Its attention is ours, on the same windows: scores in memory would be kept for the
backward pass, where the published code has flash attention. The maximum of its pooling is ours.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bench.published_network import (
    Attention,
    Block,
    Convolution,
    Level,
    Pooling,
    PublishedNetwork,
    pairs_of_taps,
)
from concerto_ros.model import FeaturePyramid, PointBatch, PointTransformerV3, make_plan
from concerto_ros.model.attention import SerializedAttention
from concerto_ros.model.plan import draw_permutations
from concerto_ros.model.pyramid import PyramidLevel
from concerto_ros.model.segment_ops import segment_max
from concerto_ros.model.windows import make_windows

# From points and the mask of hidden ones to features; the order of curves is random.
Backbone = Callable[[PointBatch, Tensor | None], FeaturePyramid]
MakeBackbone = Callable[[PointTransformerV3], Backbone]
Pairs = list[tuple[tuple[int, int, int], Tensor, Tensor]]


class TrainedNetwork(PublishedNetwork):
    """The published network with gradients; its weights are those of the model, not copies."""

    def __init__(self, model: PointTransformerV3) -> None:
        super().__init__(model.config)
        for module in self.modules():
            if isinstance(module, Block):
                module.cpe[0] = TapConvolution(module.cpe[1].in_features)
                module.attn = WindowAttention(module.attn)
            elif isinstance(module, Pooling):
                module.__class__ = TrainedPooling
        self.requires_grad_(any(p.requires_grad for p in model.parameters()))
        self.load_state_dict(dict(model.named_parameters()), assign=True)

    def forward(self, points: PointBatch, mask: Tensor | None = None) -> FeaturePyramid:
        """Return the features; rows of coarser levels are in the order of their coordinates."""
        return _pyramid(self.levels(points, mask))


def on_our_backbone(model: PointTransformerV3) -> Backbone:
    """Return our network with the same random order of curves."""

    def run(points: PointBatch, mask: Tensor | None) -> FeaturePyramid:
        order = draw_permutations(model.config)
        plan = make_plan(points.grid_coord, points.offset, model.config, permutations=order)
        return model(points, plan=plan, mask=mask)

    return run


class WindowAttention(SerializedAttention):
    """Our attention in the windows of the published network; padding makes them alike."""

    def __init__(self, published: Attention) -> None:
        super().__init__(published.qkv.in_features, published.num_heads)
        self.patch_size, self.curve = published.patch_size, published.curve

    def forward(self, level: Level) -> Tensor:
        """Return (V, C)."""
        if 'windows' not in level.shared:
            counts = level.batch.bincount().tolist()
            level.shared['windows'] = make_windows(counts, self.patch_size, level.feat.device)
        windows = level.shared['windows'].along(level.order[self.curve])
        return super().forward(level.feat, windows, level.grid_coord)


class TrainedPooling(Pooling):
    """The published pooling with our maximum.

    The gradient of segment_reduce is wrong where members are equal, as hidden ones often are.
    """

    def largest(self, x: Tensor, members: Tensor, inverse: Tensor, counts: Tensor) -> Tensor:
        """Return the maximum over the members of each cell."""
        return segment_max(x, inverse, len(counts))


class TapConvolution(Convolution):
    """The published convolution with its gradient."""

    def forward(self, level: Level) -> Tensor:
        """Return (V, O)."""
        if 'pairs' not in level.shared:
            level.shared['pairs'] = pairs_of_taps(level)
        return _Taps.apply(level.feat, self.weight, level.shared['pairs']) + self.bias


class _Taps(torch.autograd.Function):
    """Gather, multiply, scatter; one tap after the other, and in buffers that are reused."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, pairs: Pairs) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.pairs = pairs
        y = x @ weight[:, 1, 1, 1].t()
        gathered, products = _buffer(pairs, x), _buffer(pairs, y)
        for (a, b, c), rows, neighbors in pairs:
            taken = torch.index_select(x, 0, neighbors, out=gathered[: len(rows)])
            result = torch.mm(taken, weight[:, a, b, c].t(), out=products[: len(rows)])
            y.index_add_(0, rows, result)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad_x, grad_weight = grad @ weight[:, 1, 1, 1], torch.zeros_like(weight)
        grad_weight[:, 1, 1, 1] = grad.t() @ x
        gathered, grads, products = (_buffer(ctx.pairs, like) for like in (x, grad, x))
        for (a, b, c), rows, neighbors in ctx.pairs:
            taken = torch.index_select(x, 0, neighbors, out=gathered[: len(rows)])
            taken_grad = torch.index_select(grad, 0, rows, out=grads[: len(rows)])
            grad_weight[:, a, b, c] = taken_grad.t() @ taken
            result = torch.mm(taken_grad, weight[:, a, b, c], out=products[: len(rows)])
            grad_x.index_add_(0, neighbors, result)
        return grad_x, grad_weight, None


def _buffer(pairs: Pairs, like: Tensor) -> Tensor:
    return like.new_empty(max((len(rows) for _, rows, _ in pairs), default=0), like.shape[1])


def _pyramid(levels: list[Level]) -> FeaturePyramid:
    num_clouds = int(levels[0].batch[-1]) + 1
    return FeaturePyramid(
        tuple(
            PyramidLevel(
                feat=level.feat,
                grid_coord=level.grid_coord,
                offset=level.batch.bincount(minlength=num_clouds).cumsum(0),
                inverse=torch.arange(len(level.feat))
                if level.pooling_inverse is None
                else level.pooling_inverse,
            )
            for level in levels
        )
    )
