"""HUNet: the network of Masked Scene Modeling, sparse convolutions with attention below them."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from concerto_ros.errors import ConcertoError
from concerto_ros.model import Plan, PointBatch
from concerto_ros.model.plan import StagePlan
from concerto_ros.model.sparse_conv import DownConv3d, Halving, UpConv3d
from training.networks.band_attention import Attend, attend_sdpa
from training.networks.hunet_blocks import Clouds, Gain, ResFormer, ResNet, norm
from training.networks.hunet_config import HUNetConfig
from training.networks.unet import UNet

_IN_CHANNELS = 6


class HUNet(UNet):
    """The hybrid U-Net; names and shapes of its tensors are those of the released checkpoint.

    In eval mode the result is a function of the cloud alone, but for rounding: not of the order
    of rows or of other clouds. The blocks of a level take the curves of the plan in turn, those
    of the decoder beginning where the encoder's have ended.

    Source: Hermosilla, Stippel, Sick, Masked Scene Modeling, arXiv 2504.06719, and the inference
    code of its authors.

    Attributes:
        config: Its numbers.
        attend: What computes attention, a function of `BAND_ATTENTION`.
        noise: Generator on the CPU that draws the order of the curves anew at every level, with
            attention dropout also in eval mode: so does the released inference, which therefore
            never repeats itself. None: neither. Dropout takes global random numbers.
    """

    attend: Attend
    encoder_parts = ('init_transform', 'down', 'resnet_enc', 'att_enc')

    def __init__(self, config: HUNetConfig) -> None:
        super().__init__()
        self.config = config
        self.geometry, self.depth = config.geometry, config.depth
        self.encoder_channels, self.channels = config.encoder, config.decoder
        self.token_channels = config.encoder[-1]
        self.attend = attend_sdpa
        self.noise: torch.Generator | None = None
        wide, narrow = config.encoder, config.decoder[::-1]
        self.init_transform = nn.Sequential(nn.Linear(_IN_CHANNELS, wide[0]), norm(wide[0]))
        self.down = nn.ModuleList(
            nn.ModuleList([DownConv3d(fine, coarse), norm(coarse)])
            for fine, coarse in pairwise(wide)
        )
        levels = range(len(wide))
        self.resnet_enc, self.att_enc = _stages(config, config.encoder, levels)
        self.decoder_init_norm = norm(wide[-1])
        self.up = nn.ModuleList(
            nn.ModuleList([norm(coarse), UpConv3d(coarse, fine)])
            for coarse, fine in pairwise(narrow)
        )
        self.linears_skip = nn.ModuleList(
            nn.Sequential(norm(skip), nn.Linear(skip, fine))
            for skip, fine in zip(wide[-2::-1], narrow[1:], strict=True)
        )
        self.skip = nn.ModuleList(Gain(fine, 1.0) for fine in narrow[1:])
        self.resnet_dec, self.att_dec = _stages(config, config.decoder, levels[::-1])

    @property
    def inference(self) -> str:
        """How it computes in eval mode, for results."""
        if self.noise is None:
            return super().inference
        return f'as released: attention dropout, curves drawn from {self.noise.initial_seed()}'

    def encode(self, points: PointBatch, plan: Plan) -> list[Tensor]:
        """Return the (M_l, E_l) features of all stages, see `UNet`.

        Raises:
            ConcertoError: Rows or channels of the points, or the plan, do not fit.
        """
        self._check(points, plan)
        x = self.init_transform(color_and_normal(points.feat))
        feats = []
        for level, stage in enumerate(plan.stages):
            if level:
                x = self._down(level - 1, x, plan)
            blocks = self.resnet_enc[level], self.att_enc[level]
            x = self._run(blocks, x, stage, plan.num_clouds, first_curve=0)
            feats.append(x)
        return feats

    def decode(
        self, feats: Sequence[Tensor], rows: Sequence[Tensor] | None, token: Tensor, plan: Plan
    ) -> tuple[Tensor, ...]:
        """Return the (M_l, C_l) features of all levels, see `UNet`."""
        x = feats[-1]
        if rows is not None:
            hidden = token.to(x.dtype).expand(len(plan.stages[-1].cells), -1)
            x = hidden.index_copy(0, rows[-1], x)
        x = self.decoder_init_norm(x)
        found: list[Tensor] = []
        for step, level in enumerate(reversed(range(len(feats)))):
            if step:
                kept = None if rows is None else rows[level]
                x = self._up(step - 1, x, feats[level], kept, plan)
            blocks = self.resnet_dec[step], self.att_dec[step]
            first = self.config.attention[level]
            x = self._run(blocks, x, plan.stages[level], plan.num_clouds, first_curve=first)
            found.append(x)
        return tuple(reversed(found))

    def _down(self, i: int, x: Tensor, plan: Plan) -> Tensor:
        layers: Any = self.down[i]
        convolution, scale = layers
        y: Tensor = scale(convolution(x, _halving(plan, i)))
        return y

    def _up(self, i: int, x: Tensor, feat: Tensor, rows: Tensor | None, plan: Plan) -> Tensor:
        """Return the features of the next finer level before its blocks; `rows` have a skip."""
        layers: Any = self.up[i]
        scale, convolution = layers
        halving = _halving(plan, len(self.up) - 1 - i)
        x = self.skip[i](convolution(scale(x), halving))
        skip = self.linears_skip[i](feat).to(x.dtype)
        return x + skip if rows is None else x.index_add(0, rows, skip)

    def _run(
        self,
        blocks: tuple[Any, Any],
        x: Tensor,
        stage: StagePlan,
        num_clouds: int,
        *,
        first_curve: int,
    ) -> Tensor:
        """Pass the blocks of convolutions and of attention of one level."""
        convolutions, attentions = blocks
        batch = stage.cells.batch
        clouds = Clouds(batch=batch, counts=batch.bincount(minlength=num_clouds).tolist())
        for block in convolutions:
            x = block(x, clouds, stage.neighborhood)
        orders = stage.orders
        if self.noise is not None:
            drawn = torch.randperm(len(orders), generator=self.noise).tolist()
            orders = tuple(orders[i] for i in drawn)
        for i, block in enumerate(attentions.values(), first_curve):
            x = block(x, clouds, orders[i % len(orders)], partial(self._attend, clouds))
        return x

    def _attend(self, clouds: Clouds, qkv: Tensor) -> Tensor:
        is_dropping = self.training or self.noise is not None
        dropout = self.config.attention_dropout if is_dropping else 0.0
        return self.attend(qkv, clouds.counts, self.config.reach, dropout)

    def _check(self, points: PointBatch, plan: Plan) -> None:
        if len(plan.stages) != len(self.channels):
            raise ConcertoError(
                f'plan must have the {len(self.channels)} levels of this network, '
                f'got {len(plan.stages)}'
            )
        expected = (len(plan.stages[0].cells), 9)
        if points.feat.shape != expected:
            raise ConcertoError(
                f'feat must be {expected}, one row per voxel of the plan, '
                f'got {tuple(points.feat.shape)}'
            )


def color_and_normal(feat: Tensor) -> Tensor:
    """Return the (N, 6) input of the network, colour in -1..1 and normal, zero where it is NaN.

    Args:
        feat: (N, 9) float: coordinates, which count for nothing, colour in 0..1, unit normal.
    """
    return torch.cat([feat[:, 3:6] * 2 - 1, feat[:, 6:9].nan_to_num(0.0)], dim=1)


def _stages(
    config: HUNetConfig, channels: Sequence[int], levels: Sequence[int]
) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Return the blocks of convolutions and of attention of all levels, as they are passed.

    Blocks of attention are counted from 1.
    """
    last = max(1, sum(config.convolution) + sum(config.attention) - 1)
    rates = [config.drop_path * i / last for i in range(last + 1)]
    rate = iter(rates if levels[0] == 0 else reversed(rates))
    convolutions, attentions = nn.ModuleList(), nn.ModuleList()
    for level in levels:
        width, heads = channels[level], config.heads[level]
        convolutions.append(
            nn.ModuleList(ResNet(width, next(rate)) for _ in range(config.convolution[level]))
        )
        blocks = (ResFormer(width, heads, next(rate)) for _ in range(config.attention[level]))
        attentions.append(nn.ModuleDict({str(i): block for i, block in enumerate(blocks, 1)}))
    return convolutions, attentions


def _halving(plan: Plan, level: int) -> Halving:
    """Return the cells of a level within those of the next coarser one."""
    fine, coarse = (stage.cells for stage in plan.stages[level : level + 2])
    return Halving(
        grid_coord=fine.grid_coord,
        batch=fine.batch,
        parent=coarse.inverse,
        num_parents=len(coarse),
    )
