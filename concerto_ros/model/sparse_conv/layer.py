"""SubMConv3d: owns the weights of a submanifold convolution, in checkpoint layout."""

import torch
from torch import Tensor, nn

from concerto_ros.model.sparse_conv.neighborhood import Neighborhood
from concerto_ros.model.sparse_conv.selection import Backend, Convolution
from concerto_ros.model.sparse_conv.torch_backend import convolve


class SubMConv3d(nn.Module):
    """A convolution whose outputs exist at occupied voxels only.

    Attributes:
        weight: (O, k, k, k, I), axes 1..3 follow the grid's x, y, z.
        bias: (O,).
        convolve: What computes it; see `use_backend`.
    """

    convolve: Convolution

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        k = kernel_size
        self.weight = nn.Parameter(torch.empty(out_channels, k, k, k, in_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
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
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight = x.to(dtype), weight.to(dtype)
        return self.convolve(x, weight, bias, neighborhood)


def use_backend(network: nn.Module, backend: Backend) -> None:
    """Have all convolutions of a network computed by one backend."""
    for layer in network.modules():
        if isinstance(layer, SubMConv3d):
            layer.convolve = backend.convolve
