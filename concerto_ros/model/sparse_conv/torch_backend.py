"""Submanifold convolution in plain PyTorch, forward and backward, on any device."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from concerto_ros.model.sparse_conv.neighborhood import Neighborhood

_NARROW = 64  # channels up to which, on a CPU, gathering all taps beats one product per tap
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
    y: Tensor = _Convolution.apply(x, weight.flatten(1, 3), neighborhood)  # type: ignore[no-untyped-call]
    return y + bias


class _Convolution(torch.autograd.Function):
    """Keeps only its inputs for the backward pass, not the 27 times wider gathered rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, neighborhood: Neighborhood) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.neighborhood = neighborhood
        return _gather_and_multiply(x, weight, neighborhood)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            # If q is p's neighbour under tap t, p is q's under the tap opposite to t.
            opposite = weight.flip(1).transpose(0, 2).contiguous()
            grad_x = _gather_and_multiply(grad, opposite, ctx.neighborhood)
        if ctx.needs_input_grad[1]:
            grad_weight = _weight_gradient(x, grad, ctx.neighborhood)
        return grad_x, grad_weight, None


def _gather_and_multiply(x: Tensor, weight: Tensor, neighborhood: Neighborhood) -> Tensor:
    """Return (N, O) from x (N, I) and weight (O, T, I)."""
    if _is_per_tap(x):
        return _multiply_per_tap(x, weight, neighborhood)
    y = x.new_empty(len(x), weight.shape[0])
    matrix = weight.flatten(1).t()
    for rows, gathered in _gather_chunks(x, neighborhood.table):
        torch.mm(gathered, matrix, out=y[rows])
    return y


def _is_per_tap(x: Tensor) -> bool:
    """Tell whether each tap is a product of its own; on a GPU that costs launches and waiting."""
    return x.device.type == 'cpu' and x.shape[1] > _NARROW


def _multiply_per_tap(x: Tensor, weight: Tensor, neighborhood: Neighborhood) -> Tensor:
    num_taps = weight.shape[1]
    y = x @ weight[:, num_taps // 2].t()
    for tap, (rows, neighbors) in enumerate(neighborhood.pairs):
        if tap != num_taps // 2 and len(rows):
            y.index_add_(0, rows, x.index_select(0, neighbors) @ weight[:, tap].t())
    return y


def _weight_gradient(x: Tensor, grad: Tensor, neighborhood: Neighborhood) -> Tensor:
    """Return (O, T, I)."""
    num_taps = neighborhood.table.shape[1]
    gradient = x.new_zeros(grad.shape[1], num_taps, x.shape[1])
    if _is_per_tap(x):
        for tap, (rows, neighbors) in enumerate(neighborhood.pairs):
            gradient[:, tap] = grad.index_select(0, rows).t() @ x.index_select(0, neighbors)
        return gradient
    for rows, gathered in _gather_chunks(x, neighborhood.table):
        gradient.flatten(1).addmm_(grad[rows].t(), gathered)
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
