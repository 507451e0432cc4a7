"""PointTransformerV3: the encoder of Concerto, deterministic, on CPU or CUDA."""

from itertools import count

import torch
from torch import Tensor, nn

from concerto_ros.errors import ConcertoError
from concerto_ros.model.blocks import Block, Embedding, GridPooling, Stage
from concerto_ros.model.config import BackboneConfig
from concerto_ros.model.plan import Plan, StagePlan, make_plan
from concerto_ros.model.point_batch import PointBatch
from concerto_ros.model.pyramid import FeaturePyramid, PyramidLevel
from concerto_ros.model.segment_ops import segment_mean


class PointTransformerV3(nn.Module):
    """Point Transformer V3 (mode 2) as an encoder.

    In eval mode the result is a function of the cloud alone: not of other clouds in the batch,
    the order of rows or the number of threads, but for rounding. State dict names are those of
    the published checkpoints.

    Source: Wu et al., Concerto, arXiv 2510.23607; Wu et al., Sonata, arXiv 2503.16429.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.enc_channels
        self.embedding = Embedding(config.in_channels, channels[0], config.mask_token)
        last = max(sum(config.enc_depths) - 1, 1)
        rates = (config.drop_path * i / last for i in count())
        self.enc = nn.ModuleDict()
        for s, num_blocks in enumerate(config.enc_depths):
            down = GridPooling(channels[s - 1], channels[s]) if s else None
            blocks = [
                Block(channels[s], config.enc_num_head[s], config.mlp_ratio, next(rates))
                for _ in range(num_blocks)
            ]
            self.enc[f'enc{s}'] = Stage(down, blocks)
        self.apply(_initialise)

    def forward(
        self, points: PointBatch, *, plan: Plan | None = None, mask: Tensor | None = None
    ) -> FeaturePyramid:
        """Compute the features of all stages.

        Args:
            points: Clouds on the device of the weights.
            plan: Geometry of these points, from `make_plan`, if the default one is not wanted.
            mask: (N,) bool, points whose feature is hidden behind the mask token; a voxel is
                hidden if any of its points is.

        Returns:
            Features in the dtype of the weights, or of the surrounding autocast.

        Raises:
            ConcertoError: The channels of `feat` or the rows of `plan` do not fit.
        """
        if plan is None:
            plan = make_plan(points.grid_coord, points.offset, self.config)
        self._check(points, plan)
        voxels = plan.stages[0].cells
        x = segment_mean(points.feat, voxels.inverse, len(voxels))
        if mask is not None:
            mask = mask.new_zeros(len(voxels)).index_put((voxels.inverse[mask],), mask[mask])
        x = self.embedding(x, mask)
        feats = []
        for stage, stage_plan in zip(self.enc.values(), plan.stages, strict=True):
            x = stage(x, stage_plan)
            feats.append(x)
        return _pyramid(points, plan, feats)

    def _check(self, points: PointBatch, plan: Plan) -> None:
        expected, found = self.config.in_channels, points.feat.shape[1]
        if found != expected:
            raise ConcertoError(f'feat must have {expected} channels, got {found}')
        num_rows = len(plan.stages[0].cells.inverse)
        if num_rows != len(points):
            raise ConcertoError(f'plan was made for {num_rows} points, got {len(points)}')


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def _pyramid(points: PointBatch, plan: Plan, feats: list[Tensor]) -> FeaturePyramid:
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
    return FeaturePyramid(tuple(levels))


def _offset(stage: StagePlan, num_clouds: int) -> Tensor:
    return stage.cells.batch.bincount(minlength=num_clouds).cumsum(0)
