"""The layers of the paper's network; attribute names are those of its released checkpoint."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from concerto_ros.model.sparse_conv import Neighborhood, SubMConv3d

_EPSILON = 1e-4
_GAIN = 0.1  # of a branch at first
_MLP_RATIO = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Clouds:
    """Which rows of a level belong together.

    Attributes:
        batch: (V,) int64, cloud of each row, growing.
        counts: Rows of each cloud.
    """

    batch: Tensor
    counts: list[int]


class RMSNorm(nn.Module):
    """Divides each row by its root mean square, to which a little is added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return (V, C) from (V, C)."""
        size = torch.linalg.vector_norm(x, dim=1, keepdim=True) * x.shape[1] ** -0.5
        y: Tensor = self.scale * (x / (size + _EPSILON))
        return y


def norm(channels: int) -> nn.Sequential:
    """Return a norm under the name that it has in the checkpoint."""
    return nn.Sequential(OrderedDict(norm=RMSNorm(channels)))


class Gain(nn.Module):
    """A learned factor for each channel."""

    def __init__(self, channels: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((1, channels), initial))

    def forward(self, x: Tensor) -> Tensor:
        """Return (V, C) from (V, C)."""
        return x * self.gamma


class Branch(Gain):
    """Adds the result of a branch, which in training skips whole clouds by chance."""

    def __init__(self, channels: int, drop_path: float) -> None:
        super().__init__(channels, _GAIN)
        self.keep = 1 - drop_path

    def add(self, x: Tensor, branch: Tensor, clouds: Clouds) -> Tensor:
        """Return (V, C), `x` and the (V, C) result of a branch."""
        y: Tensor = self(branch)
        if self.training and self.keep < 1:
            kept = y.new_empty(len(clouds.counts), 1).bernoulli_(self.keep)
            y = y * (kept / self.keep)[clouds.batch]
        return x + y


class ResNet(nn.Module):
    """Two submanifold convolutions."""

    def __init__(self, channels: int, drop_path: float) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.conv1 = SubMConv3d(channels, channels, bias=False)
        self.conv2 = SubMConv3d(channels, channels, bias=False)
        self.norm_post_layer = norm(channels)
        self.skip_path = Branch(channels, drop_path)

    def forward(self, x: Tensor, clouds: Clouds, neighborhood: Neighborhood) -> Tensor:
        """Return (V, C) from (V, C)."""
        y = functional.gelu(self.conv1(self.norm(x), neighborhood))
        y = self.norm_post_layer(self.conv2(y, neighborhood))
        return self.skip_path.add(x, y, clouds)


class ResFormer(nn.Module):
    """Attention along a curve, and a gated MLP; there are no positional encodings."""

    def __init__(self, channels: int, num_heads: int, drop_path: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        hidden = _MLP_RATIO * channels
        self.norm = norm(channels)
        self.linear_in = nn.Linear(channels, 3 * channels, bias=False)
        self.linear_out = nn.Linear(channels, channels, bias=False)
        self.skip_path_1 = Branch(channels, drop_path)
        self.mlp_norm = norm(channels)
        self.mlp_lin_1 = nn.Linear(channels, 2 * hidden, bias=False)
        self.mlp_lin_2 = nn.Linear(hidden, channels, bias=False)
        self.skip_path_2 = Branch(channels, drop_path)

    def forward(
        self, x: Tensor, clouds: Clouds, order: Tensor, attend: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Return (V, C) from (V, C).

        Args:
            x: Features of the cells.
            clouds: Of the cells.
            order: (V,) int64, cells along a curve, cloud after cloud.
            attend: Gives (V, H, D) for (V, 3, H, D) in this order.
        """
        heads = (len(x), 3, self.num_heads, x.shape[1] // self.num_heads)
        qkv = self.linear_in(self.norm(x).index_select(0, order))
        y = attend(qkv.view(heads)).flatten(1)
        y = self.linear_out(torch.empty_like(y).index_copy(0, order, y))
        x = self.skip_path_1.add(x, y, clouds)
        value, gate = self.mlp_lin_1(self.mlp_norm(x)).chunk(2, dim=1)
        y = self.mlp_lin_2(functional.gelu(value) * gate)
        return self.skip_path_2.add(x, y, clouds)
