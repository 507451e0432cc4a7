"""Layers that own the weights of sparse convolutions, in checkpoint layout."""

import torch
from torch import Tensor, nn

from concerto_ros.model.sparse_conv.halving import Halving
from concerto_ros.model.sparse_conv.neighborhood import Neighborhood
from concerto_ros.model.sparse_conv.selection import Backend, Convolution, Stride2
from concerto_ros.model.sparse_conv.torch_backend import convolve
from concerto_ros.model.sparse_conv.torch_stride2 import down, up


class SubMConv3d(nn.Module):
    """A convolution whose outputs exist at occupied voxels only.

    Attributes:
        weight: (O, k, k, k, I), axes 1..3 follow the grid's x, y, z.
        bias: (O,); zeros that are no parameter where there shall be none.
        convolve: What computes it; see `use_backend`.
    """

    bias: Tensor
    convolve: Convolution

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, *, bias: bool = True
    ) -> None:
        super().__init__()
        k = kernel_size
        self.weight = nn.Parameter(torch.empty(out_channels, k, k, k, in_channels))
        zeros = torch.zeros(out_channels)
        if bias:
            self.bias = nn.Parameter(zeros)
        else:
            self.register_buffer('bias', zeros, persistent=False)
        self.convolve = convolve
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(
        self, x: Tensor, neighborhood: Neighborhood, then: nn.Linear | None = None
    ) -> Tensor:
        """Return (N, O) features from (N, I); under autocast computed in its dtype.

        Args:
            x: Features of the voxels.
            neighborhood: Of the voxels.
            then: A map of the result, joined with the weights if that is less work.
        """
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        is_joined = then is not None and len(x) > weight[0].numel()
        if then is not None and is_joined:
            weight = (then.weight @ weight.flatten(1)).view(-1, *weight.shape[1:])
            bias = then(bias)
        y = self._convolve(x, weight, bias, neighborhood)
        return y if then is None or is_joined else then(y)

    def _convolve(
        self, x: Tensor, weight: Tensor, bias: Tensor, neighborhood: Neighborhood
    ) -> Tensor:
        x, weight = _autocast(x, weight)
        return self.convolve(x, weight, bias, neighborhood)


class _Stride2(nn.Module):
    """A convolution between voxels and cells twice as wide.

    Attributes:
        weight: (O, 2, 2, 2, I), axes 1..3 follow the grid's x, y, z.
        bias: (O,).
        compute: What computes it; see `use_backend`.
    """

    compute: Stride2

    def __init__(self, in_channels: int, out_channels: int, num_summed: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, 2, 2, 2, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))
        bound = (num_summed * in_channels) ** -0.5
        for tensor in (self.weight, self.bias):
            nn.init.uniform_(tensor, -bound, bound)

    def forward(self, x: Tensor, halving: Halving) -> Tensor:
        """Return (rows, O) features from (rows, I); under autocast computed in its dtype."""
        x, weight = _autocast(x, self.weight)
        return self.compute(x, weight, self.bias, halving)


class DownConv3d(_Stride2):
    """Sums up the voxels of each cell: (N, I) to (M, O)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, num_summed=8)
        self.compute = down


class UpConv3d(_Stride2):
    """Gives every voxel what its cell says of its octant: (M, I) to (N, O)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, num_summed=1)
        self.compute = up


def _autocast(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in the dtype of the surrounding autocast, if there is one."""
    if not torch.is_autocast_enabled(x.device.type):
        return x, weight
    dtype = torch.get_autocast_dtype(x.device.type)
    return x.to(dtype), weight.to(dtype)


def use_backend(network: nn.Module, backend: Backend) -> None:
    """Have all convolutions of a network computed by one backend."""
    for layer in network.modules():
        if isinstance(layer, SubMConv3d):
            layer.convolve = backend.convolve
        elif isinstance(layer, DownConv3d):
            layer.compute = backend.down
        elif isinstance(layer, UpConv3d):
            layer.compute = backend.up
