"""Some levels of features that hold all levels side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional

from training.protocol.sampling import Normalize


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelSet:
    """Levels that are judged together.

    Attributes:
        name: For the table, such as 'last', 'all' or '0,2'.
        levels: Their indices, growing.
        slices: Their channels among those of all levels.
        is_unit: Give each row length 1.
    """

    name: str
    levels: tuple[int, ...]
    slices: tuple[slice, ...]
    is_unit: bool = False

    @property
    def num_channels(self) -> int:
        """C of these levels."""
        return sum(part.stop - part.start for part in self.slices)

    def take(self, feat: Tensor) -> Tensor:
        """Return the (R, C) features of these levels from the (R, sum C) of all."""
        taken = torch.cat([feat[:, part] for part in self.slices], dim=1)
        return functional.normalize(taken.float(), dim=1) if self.is_unit else taken

    def normalize(self, feat: Tensor, kind: Normalize) -> Tensor:
        """Return (R, C) features of these levels, of unit length as `kind` says, as float32."""
        feat = feat.float()
        if kind in ('level', 'both'):
            widths = [part.stop - part.start for part in self.slices]
            parts = torch.split(feat, widths, dim=1)
            feat = torch.cat([functional.normalize(part, dim=1) for part in parts], dim=1)
        return functional.normalize(feat, dim=1) if kind in ('whole', 'both') else feat


def make_level_set(
    name: str, levels: Sequence[int], num_channels: Sequence[int], *, is_unit: bool
) -> LevelSet:
    """Return a set of levels of an encoder.

    Args:
        name: For the table.
        levels: Indices, growing.
        num_channels: C of each level of the encoder.
        is_unit: Give each row length 1.
    """
    ends = list(accumulate(num_channels))
    slices = tuple(slice(ends[i] - num_channels[i], ends[i]) for i in levels)
    return LevelSet(name=name, levels=tuple(levels), slices=slices, is_unit=is_unit)
