"""PointTransformerV3: the network of Concerto, deterministic, on CPU or CUDA."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from concerto_ros.errors import ConcertoError
from concerto_ros.model.blocks import (
    Block,
    DecoderStage,
    Embedding,
    EncoderStage,
    GridPooling,
    GridUnpooling,
)
from concerto_ros.model.config import BackboneConfig
from concerto_ros.model.plan import Plan, StagePlan, make_plan
from concerto_ros.model.point_batch import PointBatch
from concerto_ros.model.pyramid import FeaturePyramid, PyramidLevel
from concerto_ros.model.segment_ops import segment_mean


class PointTransformerV3(nn.Module):
    """Point Transformer V3 (mode 2): an encoder, and a decoder if the config asks for one.

    In eval mode the result is a function of the cloud alone: not of other clouds in the batch,
    the order of rows or the number of threads, but for rounding. State dict names are those of
    the published checkpoints.

    Wrap a call in `precision('bf16', device)` for half precision: on a CPU that multiplies
    bfloat16 it takes 0.63 of the time (base, 60,000 points), with the errors stated there.
    `to(torch.bfloat16)` takes 5 % less than that and half the memory for weights, but also rounds
    what is added up between layers: its errors are a tenth larger.

    Source: Wu et al., Concerto, arXiv 2510.23607; Wu et al., Sonata, arXiv 2503.16429.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config.in_channels, config.enc_channels[0], config.mask_token)
        self.enc = _encoder(config)
        self.dec = nn.ModuleDict() if config.enc_mode else _decoder(config)
        self.apply(_initialise)

    def forward(
        self,
        points: PointBatch,
        *,
        plan: Plan | None = None,
        mask: Tensor | None = None,
        reference: bool = False,
    ) -> FeaturePyramid:
        """Compute the features of all stages.

        Args:
            points: Clouds on the device of the weights.
            plan: Geometry of these points, from `make_plan`, if the default one is not wanted.
            mask: (N,) bool, points whose feature is hidden behind the mask token; a voxel is
                hidden if any of its points is.
            reference: Without a plan: choose curves and their depth as the published network
                does, see `make_plan`.

        Returns:
            Features in the dtype of the weights, or of the surrounding autocast.

        Raises:
            ConcertoError: The channels of `feat`, or `plan` or `mask` do not fit.
        """
        if plan is None:
            plan = make_plan(points.grid_coord, points.offset, self.config, reference=reference)
        self._check(points, plan, mask)
        voxels = plan.stages[0].cells
        x = segment_mean(points.feat, voxels.inverse, len(voxels))
        if mask is not None:
            mask = mask.new_zeros(len(voxels)).index_put((voxels.inverse[mask],), mask[mask])
        x = self.embedding(x, mask)
        feats = []
        for stage, stage_plan in zip(self.enc.values(), plan.stages, strict=True):
            x = stage(x, stage_plan)
            feats.append(x)
        return _pyramid(points, plan, feats, self._decode(feats, plan))

    def _decode(self, feats: list[Tensor], plan: Plan) -> Tensor | None:
        """Return the (V, D) features of the finest voxels, if there is a decoder."""
        if not self.dec:
            return None
        x = feats[-1]
        for s in reversed(range(len(feats) - 1)):
            inverse = plan.stages[s + 1].cells.inverse
            x = self.dec[f'dec{s}'](x, feats[s], inverse, plan.stages[s])
        return x

    def _check(self, points: PointBatch, plan: Plan, mask: Tensor | None) -> None:
        expected, found = self.config.in_channels, points.feat.shape[1]
        if found != expected:
            raise ConcertoError(f'feat must have {expected} channels, got {found}')
        num_rows = len(plan.stages[0].cells.inverse)
        if num_rows != len(points):
            raise ConcertoError(f'plan was made for {num_rows} points, got {len(points)}')
        if len(plan.stages) != self.config.num_stages:
            raise ConcertoError(
                f'plan must have the {self.config.num_stages} stages of this network, '
                f'got {len(plan.stages)}'
            )
        if mask is not None and (mask.shape != (num_rows,) or mask.dtype != torch.bool):
            raise ConcertoError(
                f'mask must be {(num_rows,)} torch.bool, got {tuple(mask.shape)} {mask.dtype}'
            )


def _encoder(config: BackboneConfig) -> nn.ModuleDict:
    channels = config.enc_channels
    rates = _drop_rates(config.drop_path, config.enc_depths)
    stages = nn.ModuleDict()
    for s in range(config.num_stages):
        down = GridPooling(channels[s - 1], channels[s]) if s else None
        heads, patch_size = config.enc_num_head[s], config.enc_patch_size[s]
        blocks = [Block(config, channels[s], heads, patch_size, rate) for rate in rates[s]]
        stages[f'enc{s}'] = EncoderStage(down, blocks)
    return stages


def _decoder(config: BackboneConfig) -> nn.ModuleDict:
    channels = (*config.dec_channels, config.enc_channels[-1])
    rates = _drop_rates(config.drop_path, config.dec_depths)
    stages = nn.ModuleDict()
    for s in reversed(range(config.num_stages - 1)):
        up = GridUnpooling(channels[s + 1], config.enc_channels[s], channels[s])
        heads, patch_size = config.dec_num_head[s], config.dec_patch_size[s]
        blocks = [
            Block(config, channels[s], heads, patch_size, rate) for rate in reversed(rates[s])
        ]
        stages[f'dec{s}'] = DecoderStage(up, blocks)
    return stages


def _drop_rates(highest: float, depths: Sequence[int]) -> list[list[float]]:
    """Return the rates of the blocks of each stage, which rise from block to block."""
    rates = torch.linspace(0, highest, sum(depths), device='cpu')
    return [part.tolist() for part in torch.split(rates, list(depths))]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _pyramid(
    points: PointBatch, plan: Plan, feats: list[Tensor], decoded: Tensor | None
) -> FeaturePyramid:
    """Return to the order of the points at level 0; coarser levels keep their z-order."""
    to_voxel = plan.stages[0].cells.inverse
    levels = [
        PyramidLevel(
            feat=feats[0][to_voxel],
            grid_coord=points.grid_coord,
            offset=points.offset,
            inverse=torch.arange(len(points), device=to_voxel.device),
        )
    ]
    for stage, feat in zip(plan.stages[1:], feats[1:], strict=True):
        inverse = stage.cells.inverse
        levels.append(
            PyramidLevel(
                feat=feat,
                grid_coord=stage.cells.grid_coord,
                offset=_offset(stage, plan.num_clouds),
                inverse=inverse[to_voxel] if len(levels) == 1 else inverse,
            )
        )
    return FeaturePyramid(tuple(levels), None if decoded is None else decoded[to_voxel])


def _offset(stage: StagePlan, num_clouds: int) -> Tensor:
    return stage.cells.batch.bincount(minlength=num_clouds).cumsum(0)
