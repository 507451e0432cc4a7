"""Which function computes attention inside windows: PyTorch's own, or the package flash_attn."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from concerto_ros.errors import BackendUnavailable
from concerto_ros.model.windows import Windows

# Adds to the scores of one window: (W, S) slots to (W, H, S, S).
Bias = Callable[[Tensor], Tensor]
Attend = Callable[[Tensor, Windows, Bias | None], Tensor]

NAMES = ('auto', 'sdpa', 'flash')
NO_POSITIONS = 'attention by flash knows no relative positions (enable_rpe): choose sdpa'
_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionBackend:
    """A way to compute attention.

    Attributes:
        name: 'sdpa' or 'flash'.
        attend: The function, called as `attend_sdpa`.
        notice: What was taken and why, one sentence for people.
    """

    name: str
    attend: Attend
    notice: str


def select_attention(name: str, device: torch.device, dtype: torch.dtype) -> AttentionBackend:
    """Choose how attention is computed.

    Args:
        name: 'sdpa' is PyTorch's and runs everywhere. 'flash' needs CUDA and the package
            flash_attn, and rounds to half precision. 'auto' takes flash where it can run and
            the network is in half precision anyway, else sdpa.
        device: Where the network runs.
        dtype: Of the network, or of the autocast around it.

    Raises:
        BackendUnavailable: There is no backend of this name, or flash was asked for by name and
            cannot run here; the message says what would help.
    """
    if name not in NAMES:
        raise BackendUnavailable(f'attention is one of {", ".join(NAMES)}, got "{name}"')
    if name == 'sdpa':
        return _sdpa('as configured')
    obstacle = _obstacle(device)
    if name == 'flash':
        if obstacle:
            raise BackendUnavailable(f'attention by flash is not possible: {obstacle}')
        return _flash('as configured')
    if not obstacle and dtype not in _HALF:
        obstacle = f'flash_attn would round {dtype} to half precision'
    return _sdpa(obstacle) if obstacle else _flash('it is installed')


def _obstacle(device: torch.device) -> str:
    """Say why flash cannot run; empty if it can."""
    if device.type != 'cuda':
        return f'flash_attn is for CUDA, the network runs on {device.type}: choose sdpa'
    if importlib.util.find_spec('flash_attn') is None:
        return 'flash_attn is not installed: pip install flash-attn, or choose sdpa'
    return ''


def _sdpa(reason: str) -> AttentionBackend:
    return AttentionBackend(name='sdpa', attend=attend_sdpa, notice=f'attention by sdpa: {reason}')


def _flash(reason: str) -> AttentionBackend:
    return AttentionBackend(
        name='flash', attend=attend_flash, notice=f'attention by flash: {reason}'
    )


def attend_sdpa(qkv: Tensor, windows: Windows, bias: Bias | None) -> Tensor:
    """Let every slot attend to its window.

    On a CPU scores are computed in float32 also for half precision: as fast, and exact.

    Args:
        qkv: (P, 3, H, D), query, key and value of each slot.
        windows: Which slots see each other.
        bias: What is added to the scores, if anything.

    Returns:
        (P, H, D) in the dtype of `qkv`; anything in the slots that all full windows spare.
    """
    num_slots = windows.num_full * windows.size
    results = []
    if num_slots:
        spare = min(windows.spare) if bias is None else 0
        results.append(_attend(qkv[:num_slots], windows.size, 0, None, bias, spare))
    if windows.short_size:
        short, mask = qkv[num_slots:], windows.short_mask
        results.append(_attend(short, windows.short_size, num_slots, mask, bias))
    if not results:
        return qkv[:, 0]
    return results[0] if len(results) == 1 else torch.cat(results)


def _attend(
    qkv: Tensor,
    size: int,
    first_slot: int,
    key_mask: Tensor | None,
    bias: Bias | None,
    spare: int = 0,
) -> Tensor:
    """Return (P, H, D) from (P, 3, H, D), P a multiple of `size`, of which some are not needed."""
    dtype = qkv.dtype
    if qkv.device.type == 'cpu' and dtype in _HALF:
        qkv = qkv.float()
    q, k, v = qkv.view(-1, size, *qkv.shape[1:]).permute(2, 0, 3, 1, 4)  # each (W, H, size, D)
    with torch.autocast(qkv.device.type, enabled=False):
        if bias is None:
            y = functional.scaled_dot_product_attention(q[:, :, spare:], k, v, key_mask)
            y = functional.pad(y, (0, 0, spare, 0)) if spare else y
        else:
            y = _attend_with_bias(q, k, v, first_slot, key_mask, bias)
    return y.transpose(1, 2).flatten(0, 1).to(dtype)


def _attend_with_bias(
    q: Tensor, k: Tensor, v: Tensor, first_slot: int, key_mask: Tensor | None, bias: Bias
) -> Tensor:
    """Go window by window, for the biases of all would fill the memory."""
    num_windows, _, size, _ = q.shape
    slots = first_slot + torch.arange(len(q) * size, device=q.device).view(num_windows, 1, size)
    results = []
    for w in range(num_windows):
        score = bias(slots[w]).to(q.dtype)
        if key_mask is not None:
            score = score.masked_fill(~key_mask[w], float('-inf'))
        one = slice(w, w + 1)
        results.append(functional.scaled_dot_product_attention(q[one], k[one], v[one], score))
    return torch.cat(results)


def attend_flash(qkv: Tensor, windows: Windows, bias: Bias | None) -> Tensor:
    """Do as `attend_sdpa`, in half precision: float16 if `qkv` is not.

    Raises:
        BackendUnavailable: There is a bias, which flash_attn does not know.
    """
    if bias is not None:
        raise BackendUnavailable(NO_POSITIONS)
    if len(qkv) == 0:
        return qkv[:, 0]
    from flash_attn import flash_attn_varlen_qkvpacked_func

    longest = max(windows.size if windows.num_full else 0, windows.short_size)
    half = qkv if qkv.dtype in _HALF else qkv.half()
    y: Tensor = flash_attn_varlen_qkvpacked_func(half.contiguous(), windows.starts, longest)
    return y.to(qkv.dtype)
