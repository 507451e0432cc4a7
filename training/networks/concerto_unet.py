"""ConcertoUNet: the Concerto encoder, and a decoder that only training needs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from concerto_ros.model import BackboneConfig, Plan, PointBatch, PointTransformerV3
from concerto_ros.model.blocks import Block
from training.networks.unet import UNet

_LEAST_CHANNELS = 32  # of a level of the decoder
_HEAD_CHANNELS = 16


class ConcertoUNet(UNet):
    """Point Transformer V3 under a decoder of the same blocks.

    The decoder of the published network has no blocks at the coarsest level, where hidden cells
    would be nothing but the token; this one begins with a stage of blocks there.

    Attributes:
        backbone: The encoder, in the published format.

    Args:
        config: Of the encoder. It gets no mask token: what is hidden does not enter it.
        depth: Blocks of the decoder at each level.
    """

    encoder_parts = ('backbone',)
    mean_voxels = True  # as the node feeds the encoder

    def __init__(self, config: BackboneConfig, depth: int = 1) -> None:
        super().__init__()
        encoder = replace(config, enc_mode=True, mask_token=False)
        widths = tuple(max(c, _LEAST_CHANNELS) for c in encoder.enc_channels[:-1])
        self.geometry = replace(
            encoder,
            enc_mode=False,
            dec_depths=(depth,) * len(widths),
            dec_channels=widths,
            dec_num_head=tuple(c // _HEAD_CHANNELS for c in widths),
            dec_patch_size=encoder.enc_patch_size[:-1],
        )
        self.encoder_channels = encoder.enc_channels
        self.token_channels = self.encoder_channels[-1]
        self.channels = (*widths, self.token_channels)
        self.backbone = PointTransformerV3(encoder)
        self.bottom = nn.LayerNorm(self.token_channels)
        heads = (*self.geometry.dec_num_head, encoder.enc_num_head[-1])
        rates = torch.linspace(0, encoder.drop_path, encoder.num_stages).tolist()
        self.blocks = nn.ModuleList(
            _stage(self.geometry, level, self.channels[level], heads[level], rates[level], depth)
            for level in range(encoder.num_stages)
        )
        self.ups = nn.ModuleList(
            _Up(coarse, skip, fine)
            for fine, coarse, skip in zip(
                self.channels, self.channels[1:], encoder.enc_channels, strict=False
            )
        )

    def encode(self, points: PointBatch, plan: Plan) -> list[Tensor]:
        """Return the (M_l, E_l) features of all stages, see `UNet`."""
        return [level.feat for level in self.backbone(points, plan=_of_its_cells(plan)).levels]

    def decode(
        self, feats: Sequence[Tensor], rows: Sequence[Tensor] | None, token: Tensor, plan: Plan
    ) -> tuple[Tensor, ...]:
        """Return the (M_l, C_l) features of all levels, see `UNet`."""
        x = feats[-1]
        if rows is not None:
            hidden = token.to(x.dtype).expand(len(plan.stages[-1].cells), -1)
            x = hidden.index_copy(0, rows[-1], x)
        x = self._run(-1, self.bottom(x), plan)
        found = [x]
        for level in reversed(range(len(self.ups))):
            inverse = plan.stages[level + 1].cells.inverse
            x = self.ups[level](x, inverse, feats[level], None if rows is None else rows[level])
            x = self._run(level, x, plan)
            found.append(x)
        return tuple(reversed(found))

    def _run(self, level: int, x: Tensor, plan: Plan) -> Tensor:
        stage = plan.stages[level]
        for i, block in enumerate(cast(nn.ModuleList, self.blocks[level])):
            x = block(x, stage, stage.windows[i % len(stage.windows)])
        return x


def _of_its_cells(plan: Plan) -> Plan:
    """Return the plan of the same voxels for points that come in the order of its cells."""
    voxels = plan.stages[0].cells
    cells = replace(voxels, inverse=torch.arange(len(voxels), device=voxels.key.device))
    return replace(plan, stages=(replace(plan.stages[0], cells=cells), *plan.stages[1:]))


class _Up(nn.Module):
    """Adds features of coarser cells to those of the encoder, where there are any."""

    def __init__(self, channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.coarse = _projection(channels, out_channels)
        self.skip = _projection(skip_channels, out_channels)

    def forward(self, x: Tensor, inverse: Tensor, skip: Tensor, rows: Tensor | None) -> Tensor:
        """Return (V, O) from coarser (M, C) features and (R, S) ones of `rows`, None: all."""
        x, skip = self.coarse(x)[inverse], self.skip(skip)
        return x + skip if rows is None else x.index_add(0, rows, skip)


def _stage(
    geometry: BackboneConfig, level: int, channels: int, heads: int, drop_path: float, depth: int
) -> nn.ModuleList:
    patch_size = geometry.enc_patch_size[level]
    return nn.ModuleList(
        Block(geometry, channels, heads, patch_size, drop_path) for _ in range(depth)
    )


def _projection(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_channels, channels), nn.LayerNorm(channels), nn.GELU())
