"""PointBatch: one or more voxelised clouds, the input of the backbone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from concerto_ros.errors import ConcertoError
from concerto_ros.model.serialization import MAX_DEPTH

_MAX_CLOUDS = 2 ** (63 - 3 * MAX_DEPTH)  # their numbers stand above the code in a sort key


@dataclass(frozen=True, slots=True, kw_only=True)
class PointBatch:
    """Clouds with one row per voxel, one after the other; a cloud may be empty.

    Rows of one cloud that share a voxel are averaged and get the same feature.

    Attributes:
        coord: (N, 3) float32 [m].
        grid_coord: (N, 3) int64, voxel of each row, in 0..65534. Pooled cells are its quotients
            by 2, 4, 8 and 16, so its origin must not move by less than 16 voxels between calls.
        feat: (N, C) float32; for published weights C = 9: coordinates [m] with the floor at
            z = 0 and x, y centred; colour in 0..1; unit normal. Zero where unknown.
        offset: (B,) int64, end of each cloud's rows, so `offset[-1] == N`.

    Raises:
        ConcertoError: A shape, dtype, device or value does not fit.
    """

    coord: Tensor
    grid_coord: Tensor
    feat: Tensor
    offset: Tensor

    def __post_init__(self) -> None:
        _check('coord', self.coord, ('N', 3), torch.float32)
        n = len(self.coord)
        _check('grid_coord', self.grid_coord, (n, 3), torch.int64)
        _check('feat', self.feat, (n, 'C'), torch.float32)
        _check('offset', self.offset, ('B',), torch.int64)
        devices = {t.device for t in (self.coord, self.grid_coord, self.feat, self.offset)}
        if len(devices) > 1:
            raise ConcertoError(f'tensors must be on one device, found {devices}')
        self._check_values()

    def _check_values(self) -> None:
        ends = [0, *self.offset.tolist()]
        if sorted(ends) != ends or ends[-1] != len(self):
            raise ConcertoError(
                f'offset must hold growing row counts that end at N = {len(self)}, got {ends[1:]}'
            )
        if len(ends) > _MAX_CLOUDS + 1:
            raise ConcertoError(f'at most {_MAX_CLOUDS} clouds fit, got {len(ends) - 1}')
        if len(self) == 0:
            return
        lowest, highest = (int(v) for v in self.grid_coord.aminmax())
        if lowest < 0 or highest > 2**MAX_DEPTH - 2:
            raise ConcertoError(
                f'grid_coord must be in 0..{2**MAX_DEPTH - 2}, found {lowest}..{highest}: '
                'subtract the origin of the window, a multiple of 16 voxels'
            )
        if not self.feat.isfinite().all():
            raise ConcertoError('feat holds NaN or infinity: put zero where a value is unknown')
        if not self.coord.isfinite().all():
            raise ConcertoError('coord holds NaN or infinity: leave out points without a place')

    @property
    def batch(self) -> Tensor:
        """(N,) int64, number of the cloud of each row."""
        counts = self.offset.diff(prepend=self.offset.new_zeros(1))
        clouds = torch.arange(len(self.offset), device=self.offset.device)
        return clouds.repeat_interleave(counts)

    def to(self, device: torch.device | str) -> 'PointBatch':
        """Return the same clouds on another device."""
        return PointBatch(
            coord=self.coord.to(device),
            grid_coord=self.grid_coord.to(device),
            feat=self.feat.to(device),
            offset=self.offset.to(device),
        )

    def __len__(self) -> int:
        return len(self.coord)


def _check(name: str, value: Tensor, shape: tuple[int | str, ...], dtype: torch.dtype) -> None:
    """Refuse another dtype or shape; a letter stands for any length."""
    fits = value.ndim == len(shape) and all(
        isinstance(expected, str) or expected == found
        for expected, found in zip(shape, value.shape, strict=True)
    )
    if not fits or value.dtype != dtype:
        wanted = ', '.join(str(length) for length in shape)
        raise ConcertoError(
            f'{name} must be ({wanted}) {dtype}, got {tuple(value.shape)} {value.dtype}'
        )
