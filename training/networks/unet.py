"""What objective and evaluation ask of a U-Net on sparse voxels."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from concerto_ros.model import BackboneConfig, Plan, PointBatch, make_plan


class UNet(nn.Module):
    """An encoder and a decoder whose levels are cells of a shared plan.

    Attributes:
        geometry: Strides and curves, for `make_plan`, and nothing else.
        encoder_parts: Names of the modules that `encode` needs; `decode` has the others.
        encoder_channels: Of the encoder's output at each level, finest first.
        channels: Of the decoder's output at each level, finest first.
        token_channels: Of the encoder's output at the coarsest level.
        mean_voxels: A voxel to be judged by is the mean of its points, and not one of them.
        depth: Of the curves at each stage, for `make_plan`; None: as every cloud needs.
    """

    geometry: BackboneConfig
    encoder_parts: tuple[str, ...]
    encoder_channels: tuple[int, ...]
    channels: tuple[int, ...]
    token_channels: int
    mean_voxels: bool = False
    depth: tuple[int, ...] | None = None

    @property
    def inference(self) -> str:
        """How it computes in eval mode, for results."""
        return 'deterministic'

    @abstractmethod
    def encode(self, points: PointBatch, plan: Plan) -> list[Tensor]:
        """Return the (M_l, E_l) features of all stages, finest first.

        Args:
            points: One row per voxel, in the order of `plan.stages[0].cells`.
            plan: Of these points.
        """

    @abstractmethod
    def decode(
        self, feats: Sequence[Tensor], rows: Sequence[Tensor] | None, token: Tensor, plan: Plan
    ) -> tuple[Tensor, ...]:
        """Return the (M_l, C_l) features of all levels, finest first, at every cell of a plan.

        Args:
            feats: From `encode`, of the visible part.
            rows: At each level the (V_l,) int64 rows of `plan` which `feats` belong to, growing;
                None: all. Other cells start from the token at the coarsest level, and take what
                comes from the coarser level without a skip at the others.
            token: (token_channels,) float.
            plan: Of the visible and the hidden part together.
        """

    def forward(
        self,
        points: PointBatch,
        plan: Plan,
        token: Tensor,
        hidden: Tensor | None = None,
        permutations: Sequence[Sequence[int]] | None = None,
    ) -> tuple[Tensor, ...]:
        """Encode what is visible and decode everything.

        Args:
            points: One row per voxel, in the order of `plan.stages[0].cells`.
            plan: Of these points.
            token: As for `decode`.
            hidden: (V,) bool, voxels that the encoder is not shown; None: it sees all.
            permutations: Of the curves, for the plan of what is visible, see `make_plan`.
        """
        if hidden is None:
            return self.decode(self.encode(points, plan), None, token, plan)
        visible = take_rows(points, ~hidden)
        part = make_plan(
            visible.grid_coord,
            visible.offset,
            self.geometry,
            depth=self.depth,
            permutations=permutations,
        )
        return self.decode(self.encode(visible, part), rows_within(part, plan), token, plan)


def in_plan_order(points: PointBatch, plan: Plan) -> PointBatch:
    """Return one row per voxel, sorted as the plan has them; of several rows the first counts."""
    cells = plan.stages[0].cells
    first = torch.full_like(cells.key, len(points))
    rows = torch.arange(len(points), device=first.device)
    first = first.scatter_reduce(0, cells.inverse, rows, 'amin')
    return PointBatch(
        coord=points.coord[first],
        grid_coord=points.grid_coord[first],
        feat=points.feat[first],
        offset=cells.batch.bincount(minlength=plan.num_clouds).cumsum(0),
    )


def take_rows(points: PointBatch, kept: Tensor) -> PointBatch:
    """Return the rows where (N,) bool is true; the lattice stays where it is."""
    counts = points.batch[kept].bincount(minlength=len(points.offset))
    return PointBatch(
        coord=points.coord[kept],
        grid_coord=points.grid_coord[kept],
        feat=points.feat[kept],
        offset=counts.cumsum(0),
    )


def rows_within(part: Plan, plan: Plan) -> list[Tensor]:
    """Return at each level the row of `plan` that is each cell of a part of it, int64."""
    return [
        torch.searchsorted(whole.cells.key, some.cells.key)
        for some, whole in zip(part.stages, plan.stages, strict=True)
    ]
