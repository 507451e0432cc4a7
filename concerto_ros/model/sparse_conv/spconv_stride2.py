"""Convolution with stride two and its transpose by the optional package spconv, on CUDA.

Take them through `select_backend`, as the other functions of spconv.
"""

from functools import lru_cache
from typing import Any

import torch
from spconv.pytorch import ConvAlgo, SparseConv3d, SparseConvTensor, SparseInverseConv3d
from torch import Tensor
from torch.func import functional_call

from concerto_ros.model.sparse_conv.halving import Halving

_NAME = 'halving'
_MARGIN = 96  # empty cells behind the last one, as the published network leaves; even


def down(x: Tensor, weight: Tensor, bias: Tensor, halving: Halving) -> Tensor:
    """Sum up the voxels of each cell, see `torch_stride2.down`."""
    if len(x) == 0:  # which spconv does not take
        return x @ weight[:, 0, 0, 0].t() + bias
    y = _call(SparseConv3d, _voxels(x, halving), weight)
    return (
        torch.zeros_like(y.features).index_copy(0, _rows(y, halving), y.features).to(x.dtype)
        + bias
    )


def up(x: Tensor, weight: Tensor, bias: Tensor, halving: Halving) -> Tensor:
    """Give every voxel what its cell says of its octant, see `torch_stride2.up`."""
    if len(x) == 0:
        return x @ weight[:, 0, 0, 0].t() + bias
    one = x.new_ones(len(halving.parent), 1)
    with torch.no_grad():  # a convolution that finds the pairs and the order of the cells
        cells = _call(SparseConv3d, _voxels(one, halving), weight.new_ones(1, 2, 2, 2, 1))
    cells = cells.replace_feature(_exact(x[_rows(cells, halving)]))
    y: Tensor = _call(SparseInverseConv3d, cells, weight).features
    return y.to(x.dtype) + bias


def _exact(x: Tensor) -> Tensor:
    """Return what spconv computes with; it knows no bfloat16."""
    return x.float().contiguous() if x.dtype == torch.bfloat16 else x.contiguous()


def _call(kind: type, tensor: Any, weight: Tensor) -> Any:
    out_channels, *_, in_channels = weight.shape
    x = tensor.features
    layer = _layer(kind, in_channels, out_channels, x.is_cuda)
    with torch.autocast(x.device.type, enabled=False):  # it would make float16 of any dtype
        return functional_call(layer, {'weight': weight.to(x.dtype)}, (tensor,))


@lru_cache(maxsize=64)
def _layer(kind: type, in_channels: int, out_channels: int, on_cuda: bool) -> Any:
    """Return a layer that lends its code; weights come with each call."""
    stride = {} if kind is SparseInverseConv3d else {'stride': 2}
    with torch.device('meta'):
        layer = kind(
            in_channels,
            out_channels,
            kernel_size=2,
            bias=False,
            indice_key=_NAME,
            algo=None if on_cuda else ConvAlgo.Native,  # on a CPU: for tests, on one thread
            fp32_accum=True,
            **stride,
        )
    return layer.train()


def _voxels(x: Tensor, halving: Halving) -> Any:
    """Return features of the voxels in a box that begins at an even place."""
    low, high = _low(halving), halving.grid_coord.amax(0)
    indices = torch.cat([halving.batch[:, None], halving.grid_coord - low], dim=1).int()
    shape = ((high - low) // 2 * 2 + 2 + _MARGIN).tolist()
    return SparseConvTensor(_exact(x), indices, shape, int(halving.batch.amax()) + 1)


def _low(halving: Halving) -> Tensor:
    return halving.grid_coord.amin(0) >> 1 << 1


def _rows(tensor: Any, halving: Halving) -> Tensor:
    """Return our (M,) row of each of spconv's cells, which come in an order of its own."""
    ours = torch.cat([halving.batch[:, None], (halving.grid_coord - _low(halving)) >> 1], dim=1)
    size = ours.amax(0) + 1
    keys, voxel = _key(ours, size).sort()
    place = torch.searchsorted(keys, _key(tensor.indices.long(), size))
    return halving.parent[voxel[place]]


def _key(cells: Tensor, size: Tensor) -> Tensor:
    """Return (N,) int64 of cloud and cell (N, 4), all below `size` (4,)."""
    cloud, x, y, z = cells.unbind(1)
    return ((cloud * size[1] + x) * size[2] + y) * size[3] + z
