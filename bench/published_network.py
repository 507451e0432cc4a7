"""The reference for the encoder: the published forward pass, stated plainly and kept slow.

What costs time in the published code is here as well: codes of all curves computed anew at each
level with loops over bits, clusters as unique rows of three columns, pooled cells in the order of
their coordinates, scores of whole windows in memory. The convolution stands for that of spconv on
a CPU: pairs of rows per tap, gathered, multiplied and added into place. State dict names are the
published ones, and the random order of the curves is drawn from the global generator.
"""

from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor, nn

from concerto_ros.model import BackboneConfig, PointBatch
from concerto_ros.model.sparse_conv import find_neighbors

_BATCH_SHIFT = 48  # the number of the cloud stands in these bits of each column of a cluster


@dataclass(kw_only=True)
class Level:
    """One stage of the network: rows, how they are serialised, and what blocks share.

    Attributes:
        feat: (V, C) float32, replaced by each layer.
        grid_coord: (V, 3) int64.
        coord: (V, 3) float32, mean over the members [m].
        batch: (V,) int64.
        depth: Bits per axis of the largest coordinate of the batch.
        code: (4, V) int64 along each curve, in the order in which blocks take them.
        order: (4, V) int64, rows along each curve.
        inverse: (4, V) int64, place of each row along each curve.
        pooling_inverse: (V',) int64, row of this level for each row of the finer one.
    """

    feat: Tensor
    grid_coord: Tensor
    coord: Tensor
    batch: Tensor
    depth: int
    code: Tensor
    order: Tensor
    inverse: Tensor
    pooling_inverse: Tensor | None = None
    shared: dict[str, object] = field(default_factory=dict)


class PublishedNetwork(nn.Module):
    """The encoder, without the options that no published checkpoint uses."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.serialise = Serialisation(config.order, config.shuffle_orders)
        channels = config.enc_channels
        self.embedding = Embedding(config.in_channels, channels[0], config.mask_token)
        self.enc = nn.ModuleDict()
        for s, depth in enumerate(config.enc_depths):
            stage = nn.Sequential()
            if s:
                stage.add_module('down', Pooling(channels[s - 1], channels[s], config, s))
            for i in range(depth):
                stage.add_module(f'block{i}', Block(config, s, i % len(config.order)))
            self.enc[f'enc{s}'] = stage

    @torch.no_grad()
    def forward(self, points: PointBatch, mask: Tensor | None = None) -> list[Level]:
        """Return the levels, finest first."""
        return self.levels(points, mask)

    def levels(self, points: PointBatch, mask: Tensor | None = None) -> list[Level]:
        """Return the same with gradients, as far as the layers have them."""
        feat = self.embedding(points.feat, mask)
        grid, batch = points.grid_coord, points.batch
        serialised = self.serialise(grid, batch)
        level = Level(feat=feat, grid_coord=grid, coord=points.coord, batch=batch, **serialised)
        levels = []
        for stage in self.enc.values():
            level = stage(level)
            levels.append(level)
        return levels


class Embedding(nn.Module):
    """The stem, and the token that stands for hidden rows."""

    def __init__(self, in_channels: int, channels: int, mask_token: bool) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(1, channels)) if mask_token else None
        self.stem = nn.Sequential()
        self.stem.add_module('linear', nn.Linear(in_channels, channels))
        self.stem.add_module('norm', nn.LayerNorm(channels))
        self.stem.add_module('act', nn.GELU())

    def forward(self, feat: Tensor, mask: Tensor | None) -> Tensor:
        """Return (V, C) from (V, I); `mask` (V,) is true for hidden rows."""
        feat = self.stem(feat)
        if mask is not None:
            feat = torch.where(mask[:, None], self.mask_token, feat)
        return feat


class Pooling(nn.Module):
    """Halves the resolution and serialises the coarser cells from the start."""

    def __init__(
        self, in_channels: int, channels: int, config: BackboneConfig, stage: int
    ) -> None:
        super().__init__()
        self.stride = config.stride[stage - 1]
        self.serialise = Serialisation(config.order, shuffle=True)  # whatever the config says
        self.proj = nn.Linear(in_channels, channels)
        self.norm = nn.Sequential(nn.LayerNorm(channels))
        self.act = nn.GELU()

    def forward(self, level: Level) -> Level:
        """Return the coarser level."""
        grid = torch.div(level.grid_coord, self.stride, rounding_mode='trunc')
        cells, inverse, counts = torch.unique(
            grid | (level.batch << _BATCH_SHIFT)[:, None],
            sorted=True, return_inverse=True, return_counts=True, dim=0,
        )  # fmt: skip
        members = torch.sort(inverse).indices
        first = members[counts.cumsum(0) - counts]
        feat = self.largest(self.proj(level.feat), members, inverse, counts)
        grid, batch = cells & ((1 << _BATCH_SHIFT) - 1), level.batch[first]
        return Level(
            feat=self.act(self.norm(feat)),
            grid_coord=grid,
            coord=torch.segment_reduce(level.coord[members], 'mean', lengths=counts),
            batch=batch,
            pooling_inverse=inverse,
            **self.serialise(grid, batch),
        )

    def largest(self, x: Tensor, members: Tensor, inverse: Tensor, counts: Tensor) -> Tensor:
        """Return the maximum over the members of each cell; they are listed cell by cell."""
        return torch.segment_reduce(x[members], 'max', lengths=counts)


class Block(nn.Module):
    """Positional encoding by convolution, attention and MLP, each added to its input."""

    def __init__(self, config: BackboneConfig, stage: int, curve: int) -> None:
        super().__init__()
        channels, hidden = config.enc_channels[stage], config.enc_channels[stage] * 4
        self.cpe = nn.Sequential(
            Convolution(channels), nn.Linear(channels, channels), nn.LayerNorm(channels)
        )
        self.norm1 = nn.Sequential(nn.LayerNorm(channels))
        self.attn = Attention(
            channels, config.enc_num_head[stage], config.enc_patch_size[stage], curve
        )
        self.norm2 = nn.Sequential(nn.LayerNorm(channels))
        mlp = nn.Sequential()
        mlp.add_module('fc1', nn.Linear(channels, hidden))
        mlp.add_module('act', nn.GELU())
        mlp.add_module('fc2', nn.Linear(hidden, channels))
        self.mlp = nn.Sequential(mlp)

    def forward(self, level: Level) -> Level:
        """Replace the features of a level."""
        convolution, linear, norm = self.cpe
        level.feat = level.feat + norm(linear(convolution(level)))
        shortcut = level.feat
        level.feat = self.norm1(level.feat)
        level.feat = shortcut + self.attn(level)
        level.feat = level.feat + self.mlp(self.norm2(level.feat))
        return level


class Convolution(nn.Module):
    """A submanifold convolution of 3 x 3 x 3 taps; `weight` is (O, 3, 3, 3, I)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 3, 3, 3, channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, level: Level) -> Tensor:
        """Return (V, O)."""
        if 'pairs' not in level.shared:
            level.shared['pairs'] = pairs_of_taps(level)
        pairs, x = level.shared['pairs'], level.feat
        most = max((len(rows) for _, rows, _ in pairs), default=0)
        gathered, products = x.new_empty(most, x.shape[1]), x.new_empty(most, len(self.weight))
        y = x @ self.weight[:, 1, 1, 1].t()
        for (a, b, c), rows, neighbors in pairs:
            taken = torch.index_select(x, 0, neighbors, out=gathered[: len(rows)])
            result = torch.mm(taken, self.weight[:, a, b, c].t(), out=products[: len(rows)])
            y.index_add_(0, rows, result)
        return y + self.bias


def pairs_of_taps(level: Level) -> list[tuple[tuple[int, int, int], Tensor, Tensor]]:
    """Return each tap but the central one with the rows that have a neighbour there, and these."""
    table = find_neighbors(level.grid_coord, level.batch).table.long()
    pairs = []
    for tap, neighbor in zip(product(range(3), repeat=3), table.t(), strict=True):
        rows = (neighbor < len(table)).nonzero().squeeze(1)
        if tap != (1, 1, 1) and len(rows):
            pairs.append((tap, rows, neighbor[rows]))
    return pairs


class Attention(nn.Module):
    """Attention in windows along one curve, with the scores of all windows in memory."""

    def __init__(self, channels: int, num_heads: int, patch_size: int, curve: int) -> None:
        super().__init__()
        self.num_heads, self.patch_size, self.curve = num_heads, patch_size, curve
        self.scale = (channels // num_heads) ** -0.5
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, level: Level) -> Tensor:
        """Return (V, C)."""
        counts = level.batch.bincount().tolist()
        size = min(self.patch_size, *counts)
        if 'padding' not in level.shared:
            level.shared['padding'] = padding(counts, size)
        pad, unpad = level.shared['padding']
        order, inverse = level.order[self.curve][pad], unpad[level.inverse[self.curve]]
        qkv, channels = self.qkv(level.feat)[order], level.feat.shape[1]
        heads = (-1, size, 3, self.num_heads, channels // self.num_heads)
        q, k, v = qkv.reshape(heads).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q * self.scale) @ k.transpose(-2, -1)
        scores = scores.softmax(dim=-1).to(qkv.dtype)
        feat = (scores @ v).transpose(1, 2).reshape(-1, channels)
        return self.proj(feat[inverse])


def padding(counts: list[int], size: int) -> tuple[Tensor, Tensor]:
    """Fill the last window of each cloud with rows of the window before it.

    Returns:
        pad: (P,) int64, place along the curve in each slot.
        unpad: (N,) int64, slot of each place.
    """
    pad, unpad, start, slot = [], [], 0, 0
    for n in counts:
        places = torch.arange(start, start + n)
        missing = -n % size if n > size else 0
        pad += [places, places[n - size : n - size + missing]]
        unpad.append(torch.arange(slot, slot + n))
        start, slot = start + n, slot + n + missing
    return torch.cat(pad), torch.cat(unpad)


class Serialisation(nn.Module):
    """Codes and orders along all curves, which change places at random if asked to."""

    def __init__(self, curves: tuple[str, ...], shuffle: bool) -> None:
        super().__init__()
        self.curves, self.shuffle = curves, shuffle

    def forward(self, grid: Tensor, batch: Tensor) -> dict[str, object]:
        """Return depth, code, order and inverse of a level."""
        depth = (int(grid.max()) + 1).bit_length()
        cloud = batch << (3 * depth)
        code = torch.stack([cloud | curve_code(curve, grid, depth) for curve in self.curves])
        order = torch.argsort(code)
        places = torch.arange(code.shape[1]).repeat(len(code), 1)
        inverse = torch.zeros_like(order).scatter_(1, order, places)
        if self.shuffle:
            turn = torch.randperm(len(self.curves))
            code, order, inverse = code[turn], order[turn], inverse[turn]
        return {'depth': depth, 'code': code, 'order': order, 'inverse': inverse}


def curve_code(curve: str, grid: Tensor, depth: int) -> Tensor:
    """Return the (N,) int64 code of (N, 3) cells along a curve."""
    if curve.endswith('-trans'):
        grid = grid[:, [1, 0, 2]]
    return hilbert_code(grid, depth) if curve.startswith('hilbert') else z_code(grid, depth)


def z_code(grid: Tensor, depth: int) -> Tensor:
    """Interleave the bits of x, y, z."""
    code = torch.zeros_like(grid[:, 0])
    for bit in range(depth):
        for axis in range(3):
            code |= ((grid[:, axis] >> bit) & 1) << (3 * bit + 2 - axis)
    return code


def hilbert_code(grid: Tensor, depth: int) -> Tensor:
    """Run Skilling's transform on a tensor that holds one bit per element."""
    places = torch.arange(63, -1, -1)  # of all bits, though only the lowest are used
    bits = ((grid[:, :, None] >> places) & 1).bool()[:, :, -depth:]  # (N, axis, bit)
    for bit in range(depth):
        for axis in range(3):
            is_set, lower = bits[:, axis, bit, None], bits[:, :, bit + 1 :]
            lower[:, 0] ^= is_set
            exchanged = (lower[:, 0] ^ lower[:, axis]) & ~is_set
            lower[:, axis] ^= exchanged
            lower[:, 0] ^= exchanged
    gray = bits.transpose(1, 2).flatten(1)
    binary = gray.long().cumsum(1) & 1  # each bit is the parity of those before it and itself
    return (binary << torch.arange(3 * depth - 1, -1, -1)).sum(1)
