"""Submanifold convolution by the optional package spconv, forward and backward, on CUDA.

Take it through `select_backend`, which refuses builds and devices on which it fails. Its sums are
not bit-reproducible.
"""

from functools import lru_cache
from typing import Any

import torch
from spconv.pytorch import ConvAlgo, SparseConvTensor
from spconv.pytorch import SubMConv3d as SpconvLayer
from torch import Tensor
from torch.func import functional_call

from concerto_ros.model.sparse_conv.neighborhood import Neighborhood

_NAME = 'spconv'
_MARGIN = 96  # empty cells behind the last one, as the published network leaves


def convolve(x: Tensor, weight: Tensor, bias: Tensor, neighborhood: Neighborhood) -> Tensor:
    """Convolve the features of occupied voxels, see `torch_backend.convolve`.

    Spconv knows no bfloat16: such features are computed in float32 and rounded once.
    """
    if len(x) == 0:  # which spconv does not take
        return x @ weight[:, 0, 0, 0].t() + bias
    dtype = torch.float32 if x.dtype == torch.bfloat16 else x.dtype
    out_channels, kernel_size, *_, in_channels = weight.shape
    layer = _layer(in_channels, out_channels, kernel_size, x.is_cuda)
    cells = neighborhood.rulebooks.get(_NAME) or _cells(neighborhood)
    tensor = SparseConvTensor(x.to(dtype).contiguous(), *cells[:3])
    tensor.indice_dict = cells[3]
    with torch.autocast(x.device.type, enabled=False):  # it would make float16 of any dtype
        result = functional_call(layer, {'weight': weight.to(dtype)}, (tensor,))
    neighborhood.rulebooks[_NAME] = (*cells[:3], result.indice_dict)
    y: Tensor = result.features
    return y.to(x.dtype) + bias


@lru_cache(maxsize=64)
def _layer(in_channels: int, out_channels: int, kernel_size: int, on_cuda: bool) -> Any:
    """Return a layer that lends its code; weights come with each call.

    It stays in training mode and without bias: in eval mode spconv adds the bias inside the
    kernel, which some builds refuse, and has no gradient.
    """
    with torch.device('meta'):
        layer = SpconvLayer(
            in_channels,
            out_channels,
            kernel_size,
            bias=False,
            indice_key=_NAME,
            algo=None if on_cuda else ConvAlgo.Native,  # on a CPU: for tests, on one thread
            fp32_accum=True,
        )
    return layer.train()


def _cells(neighborhood: Neighborhood) -> tuple[Tensor, list[int], int, dict[str, Any]]:
    """Return indices (N, 4) int32, shape of the box, number of clouds, and no rulebook yet."""
    grid, batch = neighborhood.grid_coord, neighborhood.batch
    low, high = grid.amin(0), grid.amax(0)
    indices = torch.cat([batch[:, None], grid - low], dim=1).int()
    return indices, (high - low + 1 + _MARGIN).tolist(), int(batch[-1]) + 1, {}
