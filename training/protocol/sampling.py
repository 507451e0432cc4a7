"""Features of all levels of a hierarchy at any positions, side by side."""

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from concerto_ros.errors import ConcertoError, ConfigError
from training.protocol.cell_table import CellTable
from training.protocol.hierarchy import Hierarchy, Level
from training.protocol.nearest_places import PlaceSearch
from training.protocol.stencils import (
    Stencil,
    between_points,
    in_chunks,
    nearest,
    released,
    trilinear,
    trilinear_occupied,
)

Mode = Literal['nearest', 'trilinear', 'trilinear_occupied', 'released']
Search = CellTable | PlaceSearch
Normalize = Literal['none', 'level', 'whole', 'both']
_LATTICE = {
    'nearest': nearest, 'trilinear': trilinear, 'trilinear_occupied': trilinear_occupied,
}  # fmt: skip
_CHUNK = 1 << 14  # rows that are formed at once where a linear map needs them normalised


class SampledFeatures:
    """The features of all levels at V positions, finest first; formed only where asked for.

    Memory grows with positions and occupied cells, not with the box around them.

    Args:
        hierarchy: Of a scene, on any device; positions are moved there.
        position: (V, 3) float64 [base voxels]; voxel g has its centre at g + 0.5.
        mode: How to read a level that has a stride. nearest: the cell that holds the position,
            else the nearest occupied one of the 26 around it, else zeros. trilinear: between
            the centres of cells; empty ones are zero. trilinear_occupied: the same without the
            empty ones. released: with the arithmetic of the released code of masked scene
            modelling, at the centre of the base voxel. Levels without a stride give the mean of
            the three nearest places by inverse distance, in every mode.
        unit_levels: Give each level length 1; zeros stay zeros.

    Raises:
        ConfigError: There is no such mode.
        ConcertoError: Two cells of a level are equal.
    """

    def __init__(
        self,
        hierarchy: Hierarchy,
        position: Tensor,
        mode: Mode,
        *,
        unit_levels: bool = False,
    ) -> None:
        if mode not in get_args(Mode):
            raise ConfigError(f'features are sampled by {get_args(Mode)}, got {mode!r}')
        self._hierarchy = hierarchy
        self._position = position.to(hierarchy.levels[0].coord.device)
        self._mode = mode
        self._unit_levels = unit_levels
        self._searches = [_search(level) for level in hierarchy.levels]

    @property
    def num_points(self) -> int:
        """V."""
        return len(self._position)

    @property
    def layout(self) -> tuple[tuple[str, slice], ...]:
        """Name and channels of each level."""
        parts = []
        start = 0
        for level in self._hierarchy.levels:
            stop = start + level.feat.shape[1]
            parts.append((level.name, slice(start, stop)))
            start = stop
        return tuple(parts)

    @torch.no_grad()
    def select(self, rows: Tensor) -> Tensor:
        """Return the (R, C) features of positions rows (R,) int64, without forming others."""
        parts = []
        for level, stencil in self._stencils(self._position[rows]):
            part = stencil.apply(level.feat)
            parts.append(functional.normalize(part, dim=1) if self._unit_levels else part)
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def unread(self, rows: Tensor) -> Tensor:
        """Return the (levels,) float32 shares of positions rows (R,) that read no cell at all."""
        stencils = self._stencils(self._position[rows])
        return torch.stack([(s.weight == 0).all(1).float().mean() for _, s in stencils])

    @torch.no_grad()
    def linear(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Return (V, L) from weight (L, C) and bias (L,).

        Interpolation is linear, so each cell is mapped once, before it is read; not so where
        rows are normalised.
        """
        if self._unit_levels:
            return self._linear_of_rows(weight, bias)
        feat = self._hierarchy.levels[0].feat
        total = bias.to(feat).expand(self.num_points, -1).clone()
        widths = [level.feat.shape[1] for level in self._hierarchy.levels]
        parts = torch.split(weight.to(feat), widths, dim=1)
        stencils = self._stencils(self._position)
        for (level, stencil), part in zip(stencils, parts, strict=True):
            total += stencil.apply(level.feat @ part.t())
        return total

    def _linear_of_rows(self, weight: Tensor, bias: Tensor) -> Tensor:
        rows = torch.arange(self.num_points, device=self._position.device)
        feats = (self.select(part) for part in torch.split(rows, _CHUNK))
        return torch.cat([torch.addmm(bias.to(x), x, weight.to(x).t()) for x in feats])

    def _stencils(self, position: Tensor) -> Iterator[tuple[Level, Stencil]]:
        """Yield each level, and where it is read for some positions (R, 3)."""
        for level, search in zip(self._hierarchy.levels, self._searches, strict=True):
            yield level, self._stencil(level, search, position)

    def _stencil(self, level: Level, search: Search, position: Tensor) -> Stencil:
        if isinstance(search, PlaceSearch):
            place = position * self._hierarchy.voxel_size
            return between_points(search, place + self._hierarchy.origin.to(place))
        assert level.stride is not None  # its cells would not be searched
        if self._mode != 'released':
            read = _LATTICE[self._mode]
            return in_chunks(lambda index: read(search, index), position / level.stride)
        extent = level.coord.amax(0) + 1 if len(level.coord) else level.coord.new_ones(3)
        center = (position.floor() + 0.5) / level.stride
        return in_chunks(lambda index: released(search, index, extent), center)


def _search(level: Level) -> Search:
    """Return what finds the rows of a level."""
    if level.stride is None:
        return PlaceSearch(level.coord.double())
    try:
        return CellTable(level.coord)
    except ConcertoError as err:
        raise ConcertoError(f'level "{level.name}": {err}') from err
