"""The attention layer: rows attend to the rows of their window."""

from functools import partial

import torch
from torch import Tensor, nn

from concerto_ros.errors import BackendUnavailable
from concerto_ros.model.attention_backend import (
    NO_POSITIONS,
    Attend,
    AttentionBackend,
    attend_sdpa,
)
from concerto_ros.model.windows import Windows


class SerializedAttention(nn.Module):
    """Multi-head attention in which every row attends to the rows of its window.

    Attributes:
        attend: What computes it; see `use_attention`.
    """

    attend: Attend

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        qkv_bias: bool = True,
        rpe_patch_size: int | None = None,
    ) -> None:
        """Relative positions count if `rpe_patch_size`, the rows of a window, is given."""
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)
        self.rpe = None if rpe_patch_size is None else RelativePosition(rpe_patch_size, num_heads)
        self.attend = attend_sdpa

    def forward(self, x: Tensor, windows: Windows, grid_coord: Tensor) -> Tensor:
        """Return (N, C) from (N, C) and the (N, 3) cells of the rows."""
        parts = list(windows.parts()) if x.device.type == 'cpu' else []
        if len(parts) > 1:
            y = torch.cat([self._attend(x, part, grid_coord) for part in parts])
        else:
            y = self._attend(x, windows, grid_coord)
        x = self.proj(y.index_select(0, windows.slot))
        return x

    def _attend(self, x: Tensor, windows: Windows, grid_coord: Tensor) -> Tensor:
        """Return the (P, C) result of each slot."""
        qkv = self.qkv(x.index_select(0, windows.gather))
        bias = None
        if self.rpe is not None:
            bias = partial(_bias, self.rpe, grid_coord, windows.gather)
        heads = (len(qkv), 3, self.num_heads, x.shape[1] // self.num_heads)
        return self.attend(qkv.view(heads), windows, bias).flatten(1)


def _bias(rpe: 'RelativePosition', grid_coord: Tensor, gather: Tensor, slots: Tensor) -> Tensor:
    score: Tensor = rpe(grid_coord[gather[slots]])
    return score


class RelativePosition(nn.Module):
    """A learned score for each distance along each axis, in cells of the stage."""

    def __init__(self, patch_size: int, num_heads: int) -> None:
        super().__init__()
        self.bound = int((4 * patch_size) ** (1 / 3) * 2)
        self.rpe_table = nn.Parameter(torch.empty(3 * (2 * self.bound + 1), num_heads))
        nn.init.trunc_normal_(self.rpe_table, std=0.02)

    def forward(self, grid_coord: Tensor) -> Tensor:
        """Return the (W, H, S, S) score of query by key from (W, S, 3) cells."""
        distance = grid_coord[:, :, None] - grid_coord[:, None]
        place = distance.clamp(-self.bound, self.bound) + self.bound
        x, y, z = self.rpe_table.chunk(3)
        score: Tensor = x[place[..., 0]] + y[place[..., 1]] + z[place[..., 2]]
        return score.permute(0, 3, 1, 2)


def use_attention(network: nn.Module, backend: AttentionBackend) -> None:
    """Have all attention of a network computed by one backend.

    Raises:
        BackendUnavailable: The network has relative positions, and the backend does not.
    """
    layers = [m for m in network.modules() if isinstance(m, SerializedAttention)]
    if backend.name == 'flash' and any(layer.rpe is not None for layer in layers):
        raise BackendUnavailable(NO_POSITIONS)
    for layer in layers:
        layer.attend = backend.attend
