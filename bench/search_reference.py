"""What a query costs maps that keep one vector per voxel: torch's fastest product with a text."""

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Product = Callable[[Tensor, Tensor], Tensor]

_NUM_TRIED = 100_000  # vectors that decide which product is the fastest: more than caches hold
_NUM_TRIES = 7


def fastest(
    vectors: Tensor, clock: Callable[[], float] = time.perf_counter
) -> tuple[str, Callable[[Tensor], Tensor]]:
    """Choose the fastest product, also with copies of the vectors in other types.

    Args:
        vectors: (N, D) float16.
        clock: Tells the time [s].

    Returns:
        Its name, and a function from a text (D,) to its products (N,) with all vectors.
    """
    some = vectors[:_NUM_TRIED]
    seconds = {}
    for name, (dtype, product) in _PRODUCTS.items():
        copy = some.to(dtype)
        text = copy[0].clone()
        times = []
        for _ in range(_NUM_TRIES):
            started = clock()
            product(copy, text)
            times.append(clock() - started)
        seconds[name] = sorted(times)[_NUM_TRIES // 2]
    best = min(seconds, key=lambda name: seconds[name])
    dtype, product = _PRODUCTS[best]
    kept = vectors.to(dtype)
    return best, lambda text: product(kept, text.to(dtype))


def in_float32(vectors: Tensor, text: Tensor) -> Tensor:
    """Return (N,) float32 products, in parts that stay in the cache as float32."""
    single, result = text.float(), torch.empty(len(vectors))
    for start in range(0, len(vectors), 512):
        rows = slice(start, start + 512)
        torch.mv(vectors[rows].float(), single, out=result[rows])
    return result


def _linear(vectors: Tensor, text: Tensor) -> Tensor:
    return functional.linear(text[None], vectors)


_PRODUCTS: dict[str, tuple[torch.dtype, Product]] = {
    'torch.mv': (torch.float16, torch.mv),
    'a linear layer': (torch.float16, _linear),
    'torch.mm': (torch.float16, lambda vectors, text: torch.mm(vectors, text[:, None])),
    'torch.mv in float32, part by part,': (torch.float16, in_float32),
    'torch.mv of a float32 copy': (torch.float32, torch.mv),
    'torch.mv of a bfloat16 copy': (torch.bfloat16, torch.mv),
    'a linear layer of a bfloat16 copy': (torch.bfloat16, _linear),
}
