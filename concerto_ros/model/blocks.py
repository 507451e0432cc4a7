"""The layers of Point Transformer V3; attribute names are those of the published checkpoints."""

import torch
from torch import Tensor, nn

from concerto_ros.errors import ConcertoError
from concerto_ros.model.attention import SerializedAttention
from concerto_ros.model.config import BackboneConfig
from concerto_ros.model.plan import StagePlan
from concerto_ros.model.segment_ops import segment_max
from concerto_ros.model.sparse_conv import SubMConv3d
from concerto_ros.model.windows import Windows

_MLP_ROWS = 2048  # per step on a CPU: the four times wider hidden features stay in its cache


class MLP(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden_channels)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C) from (N, C)."""
        parts = torch.split(x, _MLP_ROWS) if x.device.type == 'cpu' else (x,)
        return torch.cat([self.fc2(self.act(self.fc1(part))) for part in parts])


class DropPath(nn.Module):
    """Drops whole rows in training, scaling those that remain."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C) from (N, C)."""
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        return x * x.new_empty(len(x), 1).bernoulli_(keep).div_(keep)


class LayerScale(nn.Module):
    """A learned gain for each channel."""

    def __init__(self, channels: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), initial))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C) from (N, C)."""
        return x * self.gamma


class Block(nn.Module):
    """Positional encoding by convolution, attention, MLP; each added to its input."""

    def __init__(
        self,
        config: BackboneConfig,
        channels: int,
        num_heads: int,
        patch_size: int,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        self.cpe = nn.ModuleList(
            [SubMConv3d(channels, channels), nn.Linear(channels, channels), nn.LayerNorm(channels)]
        )
        self.norm1 = nn.Sequential(nn.LayerNorm(channels))
        self.ls1 = _layer_scale(config, channels)
        self.attn = SerializedAttention(
            channels,
            num_heads,
            qkv_bias=config.qkv_bias,
            rpe_patch_size=patch_size if config.enable_rpe else None,
        )
        self.norm2 = nn.Sequential(nn.LayerNorm(channels))
        self.ls2 = _layer_scale(config, channels)
        self.mlp = nn.Sequential(MLP(channels, int(channels * config.mlp_ratio)))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, plan: StagePlan, windows: Windows) -> Tensor:
        """Return (V, C) from (V, C)."""
        conv, linear, norm = self.cpe
        grid_coord = plan.cells.grid_coord
        x = x + norm(conv(x, plan.neighborhood, linear))
        if self.pre_norm:
            x = x + self.drop_path(self.ls1(self.attn(self.norm1(x), windows, grid_coord)))
            x = x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))
        else:
            x = self.norm1(x + self.drop_path(self.ls1(self.attn(x, windows, grid_coord))))
            x = self.norm2(x + self.drop_path(self.ls2(self.mlp(x))))
        return x


def _layer_scale(config: BackboneConfig, channels: int) -> nn.Sequential:
    if config.layer_scale is None:
        return nn.Sequential()
    return nn.Sequential(LayerScale(channels, config.layer_scale))


class Embedding(nn.Module):
    """Lifts input features to the width of the first stage."""

    mask_token: nn.Parameter | None

    def __init__(self, in_channels: int, channels: int, mask_token: bool) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(1, channels)) if mask_token else None
        self.stem = nn.Sequential()
        self.stem.add_module('linear', nn.Linear(in_channels, channels))
        self.stem.add_module('norm', nn.LayerNorm(channels))
        self.stem.add_module('act', nn.GELU())

    def forward(self, feat: Tensor, mask: Tensor | None) -> Tensor:
        """Return (V, C) from (V, I); rows where `mask` (V,) is true become the mask token."""
        x: Tensor = self.stem(feat.to(next(self.stem.parameters()).dtype))
        if mask is None:
            return x
        if self.mask_token is None:
            raise ConcertoError('a mask needs a network with a mask token: set mask_token')
        return torch.where(mask[:, None], self.mask_token.to(x.dtype), x)


class GridPooling(nn.Module):
    """Takes the maximum of projected features over the members of each coarser cell."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_channels, channels)
        self.norm = nn.Sequential(nn.LayerNorm(channels))
        self.act = nn.GELU()

    def forward(self, x: Tensor, inverse: Tensor, num_cells: int) -> Tensor:
        """Return (V, C) from the (V', I) features of the finer stage."""
        x = segment_max(self.proj(x), inverse, num_cells)
        x = self.act(self.norm(x))
        return x


class GridUnpooling(nn.Module):
    """Adds projected features of coarser cells to those of their members."""

    def __init__(self, in_channels: int, skip_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = _projection(in_channels, channels)
        self.proj_skip = _projection(skip_channels, channels)

    def forward(self, x: Tensor, skip: Tensor, inverse: Tensor) -> Tensor:
        """Return (V', C) from the coarser (V, I) features and the finer (V', S) ones."""
        x = self.proj_skip(skip) + self.proj(x)[inverse]
        return x


def _projection(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_channels, channels), nn.LayerNorm(channels), nn.GELU())


class _Blocks(nn.Module):
    """A row of blocks."""

    def _add_blocks(self, blocks: list[Block]) -> None:
        self.num_blocks = len(blocks)
        for i, block in enumerate(blocks):
            self.add_module(f'block{i}', block)

    def _run_blocks(self, x: Tensor, plan: StagePlan) -> Tensor:
        for i in range(self.num_blocks):
            windows = plan.windows[i % len(plan.windows)]
            x = self.get_submodule(f'block{i}')(x, plan, windows)
        return x


class EncoderStage(_Blocks):
    """Pooling, if the stage is not the first, and a row of blocks."""

    def __init__(self, down: GridPooling | None, blocks: list[Block]) -> None:
        super().__init__()
        self.down = down
        self._add_blocks(blocks)

    def forward(self, x: Tensor, plan: StagePlan) -> Tensor:
        """Return (V, C) from the features of the stage before."""
        if self.down is not None:
            x = self.down(x, plan.cells.inverse, len(plan.cells))
        return self._run_blocks(x, plan)


class DecoderStage(_Blocks):
    """Unpooling and a row of blocks, along the curves and windows of the encoder's stage."""

    def __init__(self, up: GridUnpooling, blocks: list[Block]) -> None:
        super().__init__()
        self.up = up
        self._add_blocks(blocks)

    def forward(self, x: Tensor, skip: Tensor, inverse: Tensor, plan: StagePlan) -> Tensor:
        """Return (V', C) from the coarser (V, I) features and the encoder's (V', S) ones."""
        return self._run_blocks(self.up(x, skip, inverse), plan)
