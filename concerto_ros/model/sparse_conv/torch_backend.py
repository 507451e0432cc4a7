"""Submanifold convolution in plain PyTorch, forward and backward, on any device."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from concerto_ros.model.sparse_conv.neighborhood import Neighborhood, Pairs

_NARROW = 64  # channels up to which gathering all taps beats pairs in half precision
_CHUNK_ROWS = 512  # gathered at a time on a CPU: stays in its cache
_CHUNK_BYTES = 2**28  # likewise on other devices: fills them


def convolve(x: Tensor, weight: Tensor, bias: Tensor, neighborhood: Neighborhood) -> Tensor:
    """Convolve the features of occupied voxels; empty neighbours count as zero.

    Args:
        x: (N, I) float.
        weight: (O, k, k, k, I), the checkpoint's layout; axes 1..3 follow x, y, z, unflipped.
        bias: (O,).
        neighborhood: Of the N voxels, for kernel size k.

    Returns:
        (N, O): `bias + sum over r of weight[:, r] @ x[voxel + r - k // 2]`.
    """
    y: Tensor = _Convolution.apply(x, weight.flatten(1, 3), bias.to(x.dtype), neighborhood)  # type: ignore[no-untyped-call]
    return y


class _Convolution(torch.autograd.Function):
    """Keeps only its inputs for the backward pass, not the 27 times wider gathered rows."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, neighborhood: Neighborhood
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.neighborhood = neighborhood
        taps = [tap.t() for tap in weight.unbind(1)]
        return _convolve(x, taps, bias, neighborhood)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            # If q is p's neighbour under tap t, p is q's under the tap opposite to t.
            taps = weight.unbind(1)[::-1]
            grad_x = _convolve(grad, taps, grad.new_zeros(()), ctx.neighborhood)
        if ctx.needs_input_grad[1]:
            grad_weight = _weight_gradient(x, grad, ctx.neighborhood)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum(0)
        return grad_x, grad_weight, grad_bias, None


def _convolve(
    x: Tensor, taps: Sequence[Tensor], bias: Tensor, neighborhood: Neighborhood
) -> Tensor:
    """Return (N, O) from x (N, I), an (I, O) matrix per tap and bias (O,) or ()."""
    if _is_by_pairs(x):
        return _multiply_pairs(x, taps, bias, neighborhood.pairs)
    y = x.new_empty(len(x), taps[0].shape[1])
    matrix = torch.cat(tuple(taps))
    for rows, gathered in _gather_chunks(x, neighborhood.table):
        torch.addmm(bias, gathered, matrix, out=y[rows])
    return y


def _is_by_pairs(x: Tensor) -> bool:
    """Tell whether only taps with a neighbour are multiplied; on a GPU that costs launches."""
    return x.device.type == 'cpu' and (x.shape[1] > _NARROW or x.element_size() >= 4)


def _multiply_pairs(
    x: Tensor, taps: Sequence[Tensor], bias: Tensor, pairs: tuple[Pairs, ...]
) -> Tensor:
    """Add up products of one tap at a time, in float32 also for half precision."""
    y = torch.addmm(bias, x, taps[len(taps) // 2])
    total = y if y.element_size() >= 4 else y.float()
    longest = max((len(p.rows) for p in pairs), default=0)
    gathered, product = x.new_empty(longest, x.shape[1]), x.new_empty(longest, y.shape[1])
    for p in pairs:
        both = (p.tap, p.rows, p.neighbors), (-1 - p.tap, p.neighbors, p.rows)
        for tap, rows, neighbors in both:
            found = torch.index_select(x, 0, neighbors, out=gathered[: len(rows)])
            result = torch.mm(found, taps[tap], out=product[: len(rows)])
            total.index_add_(0, rows, result.to(total.dtype))
    return total.to(y.dtype)


def _weight_gradient(x: Tensor, grad: Tensor, neighborhood: Neighborhood) -> Tensor:
    """Return (O, T, I)."""
    num_taps = neighborhood.table.shape[1]
    gradient = x.new_zeros(grad.shape[1], num_taps, x.shape[1])
    if not _is_by_pairs(x):
        for rows, gathered in _gather_chunks(x, neighborhood.table):
            gradient.flatten(1).addmm_(grad[rows].t(), gathered)
        return gradient
    gradient[:, num_taps // 2].addmm_(grad.t(), x)
    for p in neighborhood.pairs:
        gradient[:, p.tap].addmm_(grad[p.rows].t(), x[p.neighbors])
        gradient[:, -1 - p.tap].addmm_(grad[p.neighbors].t(), x[p.rows])
    return gradient


def _gather_chunks(x: Tensor, table: Tensor) -> Any:
    """Yield (slice of rows, (rows, T * I) features under all taps); the buffer is reused."""
    num_taps, channels = table.shape[1], x.shape[1]
    padded = torch.cat([x, x.new_zeros(1, channels)])  # row N stands for "no neighbour"
    row_bytes = num_taps * channels * x.element_size()
    chunk = _CHUNK_ROWS if x.device.type == 'cpu' else max(1, _CHUNK_BYTES // row_bytes)
    buffer = x.new_empty(min(chunk, len(x)) * num_taps, channels)
    for start in range(0, len(x), chunk):
        index = table[start : start + chunk].reshape(-1)
        gathered = torch.index_select(padded, 0, index, out=buffer[: len(index)])
        yield slice(start, start + chunk), gathered.view(-1, num_taps * channels)
