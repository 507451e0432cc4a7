"""StoredFeatures: what a pyramid knows, in half the memory, for linear maps only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from concerto_ros.errors import CheckpointError
from concerto_ros.model.pyramid import FeaturePyramid

_LARGEST = 1000.0  # of the stored numbers; float16 ends at 65504
_MAX_NUMBERS = 2**19  # that are turned into float32 at once: they stay in the cache


@dataclass(frozen=True, slots=True, eq=False)
class StoredLevel:
    """The features of one stage.

    Attributes:
        feat: (N_s, C_s) float16, divided by `scale`.
        scale: What they were divided by.
        inverse: (N_{s-1},) int32, row of this level that holds each row of the finer one.
    """

    feat: Tensor
    scale: float
    inverse: Tensor

    def product(self, weight: Tensor) -> Tensor:
        """Return (N_s, L) float32, the features times `weight` (L, C_s), summed in float32."""
        weight = (weight.float() * self.scale).t()
        result = torch.empty(len(self.feat), weight.shape[1], device=self.feat.device)
        for rows in self._parts():
            torch.mm(self.feat[rows].float(), weight, out=result[rows])
        return result

    def squares(self, own: Tensor, twice_others: Tensor, row: Tensor) -> Tensor:
        """Return (N_s,) float32, what this level adds to the squared lengths of a linear map.

        Args:
            own: (L, C_s), the columns of the map for this level.
            twice_others: (R, C_s) float32, twice the product of `own` and what all coarser levels
                make of it.
            row: (N_s,) row of the latter for each of this level.
        """
        own = own.float() * self.scale
        gram, twice_others = own.t() @ own, twice_others * self.scale
        result = torch.empty(len(self.feat), device=self.feat.device)
        for rows in self._parts():
            feat = self.feat[rows].float()
            products = torch.addmm(twice_others.index_select(0, row[rows]), feat, gram)
            torch.sum(products.mul_(feat), 1, out=result[rows])
        return result

    def joined(self, other: 'StoredLevel') -> 'StoredLevel':
        """Return the rows of this level, then those of another."""
        scale = max(self.scale, other.scale)
        feats = [level.feat * (level.scale / scale) for level in (self, other)]
        inverse = torch.cat([self.inverse, other.inverse + len(self.feat)])
        return StoredLevel(torch.cat(feats), scale, inverse)

    def _parts(self) -> Iterator[slice]:
        step = max(1, _MAX_NUMBERS // max(1, self.feat.shape[1]))
        for start in range(0, len(self.feat), step):
            yield slice(start, start + step)


class StoredFeatures:
    """The features of N points, each cell of each level once, as float16.

    A number is off by 1/2048 of itself at most, a cosine by less than 1e-4.

    Attributes:
        levels: Finest first.

    Args:
        pyramid: Without what a decoder made of it.
    """

    def __init__(self, pyramid: FeaturePyramid) -> None:
        self.levels = tuple(
            _stored(level.feat, level.inverse if number else level.inverse[:0])
            for number, level in enumerate(pyramid.levels)
        )

    @classmethod
    def of_levels(cls, levels: Sequence[StoredLevel]) -> 'StoredFeatures':
        """Return the features whose `levels` these are, at least one."""
        features = cls.__new__(cls)
        features.levels = tuple(levels)
        return features

    def take(self, rows: Tensor) -> 'StoredFeatures':
        """Return the features of points (M,) int64, each once, and the coarser cells they need."""
        levels = []
        for number, level in enumerate(self.levels):
            inverse = level.inverse
            if number:
                rows, inverse = torch.unique(inverse[rows], return_inverse=True)
            levels.append(StoredLevel(level.feat[rows], level.scale, inverse.int()))
        return StoredFeatures.of_levels(levels)

    def joined(self, other: 'StoredFeatures') -> 'StoredFeatures':
        """Return the features of these points, then of those of another of the same widths."""
        return StoredFeatures.of_levels(
            [a.joined(b) for a, b in zip(self.levels, other.levels, strict=True)]
        )

    @property
    def num_points(self) -> int:
        """N."""
        return len(self.levels[0].feat)

    @property
    def num_bytes(self) -> int:
        """Memory of features and tables."""
        tensors = [tensor for level in self.levels for tensor in (level.feat, level.inverse)]
        return sum(tensor.nbytes for tensor in tensors)

    def linear(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Apply a linear map to the features of all levels without forming them.

        Args:
            weight: (L, C) float, finest level first in C.
            bias: (L,) float.

        Returns:
            (N, L) float32.

        Raises:
            CheckpointError: C does not fit.
        """
        parts = torch.split(weight, self._widths(weight), dim=1)
        total = self.levels[-1].product(parts[-1]) + bias.float()
        for number in range(len(self.levels) - 2, -1, -1):
            total = _carried(total, self.levels[number + 1].inverse)
            total.add_(self.levels[number].product(parts[number]))
        return total

    def lengths(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Return the lengths of the rows of `linear` without forming them.

        The square of what all levels add up to is, from the coarsest level on, that of the
        coarser ones, plus that of the level itself, plus twice the product of both. All of these
        are sums over channels of the level, of which there are far fewer than rows L of the map.

        Args:
            weight: (L, C) float, finest level first in C.
            bias: (L,) float.

        Returns:
            (N,) float32.

        Raises:
            CheckpointError: C does not fit.
        """
        self._widths(weight)
        return self._squares(weight.float(), bias.float()).clamp_(min=0).sqrt_()

    def _squares(self, weight: Tensor, bias: Tensor) -> Tensor:
        finest = self.levels[0]
        own, others = weight.tensor_split([finest.feat.shape[1]], dim=1)
        twice = 2 * own.t()
        if len(self.levels) == 1:
            only = torch.zeros(len(finest.feat), dtype=torch.int32, device=weight.device)
            return finest.squares(own, (twice @ bias)[None], only) + bias.square().sum()
        coarser, inverse = StoredFeatures.of_levels(self.levels[1:]), self.levels[1].inverse
        products = coarser.linear(twice @ others, twice @ bias)
        total = coarser._squares(others, bias).index_select(0, inverse)
        return total.add_(finest.squares(own, products, inverse))

    def _widths(self, weight: Tensor) -> list[int]:
        """Return the channels of all levels, unless those of the map are others."""
        widths = [level.feat.shape[1] for level in self.levels]
        if weight.shape[1] != sum(widths):
            raise CheckpointError(
                f'expected a linear map from {sum(widths)} channels, as this backbone has, got '
                f'one from {weight.shape[1]}: use weights that were trained on this backbone'
            )
        return widths


def _carried(total: Tensor, inverse: Tensor) -> Tensor:
    """Return the rows of a coarse level for those of the finer one; single numbers go faster."""
    if total.shape[1] == 1:
        return total[:, 0].index_select(0, inverse)[:, None]
    return total.index_select(0, inverse)


def _stored(feat: Tensor, inverse: Tensor) -> StoredLevel:
    feat = feat.detach()
    largest = float(feat.abs().amax()) if feat.numel() else 0.0
    scale = max(1.0, largest / _LARGEST)
    return StoredLevel((feat / scale).half(), scale, inverse.int())
