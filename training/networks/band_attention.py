"""Attention along a sorted cloud, in which every row sees those within a number of places.

Unlike windows, which cut a cloud in pieces, the band slides: there is no border to fall on.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

# Called as `attend_sdpa`.
Attend = Callable[[Tensor, Sequence[int], int, float], Tensor]

_HALF = (torch.float16, torch.bfloat16)


def attend_sdpa(qkv: Tensor, counts: Sequence[int], reach: int, dropout: float) -> Tensor:
    """Let every row attend to the rows of its cloud within `reach` places.

    Memory and time grow with the rows, not with their square.

    Args:
        qkv: (V, 3, H, D), query, key and value of each row, sorted, cloud after cloud.
        counts: Rows of each cloud.
        reach: Places, 0 or more; a row sees up to `2 * reach + 1`.
        dropout: Share of the weights that is dropped, in the sequence of global random numbers.

    Returns:
        (V, H, D) in the dtype of `qkv`.
    """
    clouds = torch.split(qkv, list(counts))
    with torch.autocast(qkv.device.type, enabled=False):
        found = [part for cloud in clouds for part in _attend_cloud(cloud, reach, dropout)]
    return torch.cat(found) if found else qkv[:, 0]


def _attend_cloud(qkv: Tensor, reach: int, dropout: float) -> list[Tensor]:
    """Return the results of (N, 3, H, D) in parts, one after the other."""
    num_rows, chunk = len(qkv), max(reach, 1)
    q, k, v = qkv.permute(1, 2, 0, 3)  # each (H, N, D)
    place = torch.arange(num_rows, device=qkv.device)
    found = []
    for start in range(0, num_rows, chunk):
        rows = slice(start, min(start + chunk, num_rows))
        near = slice(max(0, start - reach), min(start + chunk + reach, num_rows))
        seen = (place[rows, None] - place[near]).abs() <= reach if num_rows > reach + 1 else None
        y = functional.scaled_dot_product_attention(
            q[None, :, rows], k[None, :, near], v[None, :, near], seen, dropout
        )
        found.append(y[0].transpose(0, 1))
    return found


def attend_flash(qkv: Tensor, counts: Sequence[int], reach: int, dropout: float) -> Tensor:
    """Do as `attend_sdpa` by flash_attn, in half precision: float16 if `qkv` is not."""
    if len(qkv) == 0:
        return qkv[:, 0]
    from flash_attn import flash_attn_varlen_qkvpacked_func

    ends = torch.tensor([0, *counts], device=qkv.device).cumsum(0).int()
    half = qkv if qkv.dtype in _HALF else qkv.half()
    y: Tensor = flash_attn_varlen_qkvpacked_func(
        half.contiguous(), ends, max(counts), dropout_p=dropout, window_size=(reach, reach)
    )
    return y.to(qkv.dtype)


# By the name of what `select_attention` chooses.
BAND_ATTENTION: dict[str, Attend] = {'sdpa': attend_sdpa, 'flash': attend_flash}
