"""FeaturePyramid: features stored at the resolution where they vary."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from concerto_ros.errors import CheckpointError


@dataclass(frozen=True, slots=True, kw_only=True)
class PyramidLevel:
    """The features of one stage.

    Attributes:
        feat: (N_s, C_s) float.
        grid_coord: (N_s, 3) int64, cell of each row; cell // 2 is the cell of the next level.
        offset: (B,) int64, end of each cloud's rows.
        inverse: (N_{s-1},) int64, row of this level that holds each row of the finer one; at
            level 0 each row is its own.
    """

    feat: Tensor
    grid_coord: Tensor
    offset: Tensor
    inverse: Tensor


@dataclass(frozen=True, slots=True)
class FeaturePyramid:
    """What the backbone knows about each point: its own feature and those of its parent cells.

    Attributes:
        levels: Finest first; the rows of level 0 are the points in the order they were given,
            those of other levels are cells in z-order.
        decoded: (N, D) float, what the decoder made of them for each point; None: no decoder.
    """

    levels: tuple[PyramidLevel, ...]
    decoded: Tensor | None = None

    @property
    def num_points(self) -> int:
        """Rows of level 0."""
        return len(self.levels[0].feat)

    @property
    def num_channels(self) -> int:
        """Channels of the feature concatenated over all levels."""
        return sum(level.feat.shape[1] for level in self.levels)

    def upcast(self, num_concats: int | None = None, to_level: int = 0) -> Tensor:
        """Carry coarse features to the rows of a finer level.

        Args:
            num_concats: Steps, from the coarsest level on, that put the finer feature before the
                coarse one; later steps copy. By default all steps concatenate, which gives the
                input of a linear head; 2 gives the feature published for similarity.
            to_level: Level whose rows are returned.

        Returns:
            (N_s, C) float, finest level first in C.
        """
        levels = self.levels[to_level:]
        if num_concats is None:
            num_concats = len(levels) - 1
        x = levels[-1].feat
        for step, (fine, coarse) in enumerate(zip(levels[-2::-1], levels[:0:-1], strict=True)):
            x = x[coarse.inverse]
            if step < num_concats:
                x = torch.cat([fine.feat, x], dim=1)
        return x

    def linear(
        self,
        weight: Tensor,
        bias: Tensor,
        *,
        num_concats: int | None = None,
        to_level: int = 0,
    ) -> Tensor:
        """Apply a linear map to the feature of `upcast` without forming it.

        Each cell is mapped once, at its own level: `W f = W0 f0 + W1 f1 + ...`.

        Args:
            weight: (L, C) float, C as of `upcast(num_concats, to_level)`.
            bias: (L,) float.
            num_concats: As of `upcast`.
            to_level: Level whose rows are returned.

        Returns:
            (N_s, L) float, equal to `upcast(num_concats, to_level) @ weight.T + bias`.

        Raises:
            CheckpointError: C does not fit.
        """
        levels = self.levels[to_level:]
        last = len(levels) - 1
        first = 0 if num_concats is None else max(last - num_concats, 0)
        widths = [level.feat.shape[1] for level in levels[first:]]
        if weight.shape[1] != sum(widths):
            raise CheckpointError(
                f'expected a linear map from {sum(widths)} channels, as this backbone has, got '
                f'one from {weight.shape[1]}: use weights that were trained on this backbone'
            )
        finest = levels[first].feat
        x = _add_up(levels[first:], torch.split(weight.to(finest), widths, dim=1))
        x = x + bias.to(finest)
        for coarse in levels[first:0:-1]:
            x = x[coarse.inverse]
        return x


def _add_up(levels: Sequence[PyramidLevel], parts: Sequence[Tensor]) -> Tensor:
    total = levels[-1].feat @ parts[-1].t()
    for fine, coarse, part in zip(levels[-2::-1], levels[:0:-1], parts[-2::-1], strict=True):
        total = (fine.feat @ part.t()).add_(total[coarse.inverse])
    return total
