"""LinearFeatures: the only thing this folder asks of the features of points."""

from typing import Protocol, runtime_checkable

from torch import Tensor


class LinearFeatures(Protocol):
    """Features of N points to which a linear map can be applied without forming them."""

    @property
    def num_points(self) -> int:
        """N."""
        ...

    def linear(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Return (N, L) float from weight (L, C) and bias (L,).

        Raises:
            CheckpointError: C is not the number of channels of the features.
        """
        ...


@runtime_checkable
class MeasuredFeatures(LinearFeatures, Protocol):
    """Features that know a shorter way to the lengths of what a linear map makes of them."""

    def lengths(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Return (N,) float32 lengths of the rows of `linear(weight, bias)`.

        Raises:
            CheckpointError: As for `linear`.
        """
        ...


class PartedFeatures(LinearFeatures, Protocol):
    """Features of which a part can be had at the cost of the part."""

    def take(self, rows: Tensor) -> LinearFeatures:
        """Return the features of points (M,) int64, each once."""
        ...
