"""Features of a scene, wherever they come from: a matrix, a pyramid, or two side by side."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from concerto_ros.model import FeaturePyramid
from concerto_ros.semantics import LinearFeatures
from training.datasets.labelled import LabelledScene


class VoxelFeatures(LinearFeatures, Protocol):
    """(V, C) features of voxels; a class head reads them without their being formed."""

    def select(self, rows: Tensor) -> Tensor:
        """Return the (R, C) float features of R rows."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneFeatures:
    """What a source knows about a scene.

    Attributes:
        features: Of the V voxels, sorted along x, then y, then z.
        inverse: (N,) int64, voxel of each raw point.
    """

    features: VoxelFeatures
    inverse: Tensor


class FeatureSource(Protocol):
    """Where features come from: a network, the raw input, images.

    Attributes:
        name: For the table of results.
        num_channels: C.
    """

    name: str
    num_channels: int

    def __call__(self, scene: LabelledScene) -> SceneFeatures:
        """Return the features of a scene, without gradient, the same at every call."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class DenseFeatures:
    """Features held in one matrix.

    Attributes:
        feat: (V, C) float.
    """

    feat: Tensor

    @property
    def num_points(self) -> int:
        """V."""
        return len(self.feat)

    def linear(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Return (V, L) from weight (L, C) and bias (L,)."""
        return torch.addmm(bias.to(self.feat), self.feat, weight.to(self.feat).t())

    def select(self, rows: Tensor) -> Tensor:
        """Return (R, C)."""
        return self.feat[rows]


@dataclass(frozen=True, slots=True, eq=False)
class PyramidFeatures:
    """The features of all stages of a backbone, concatenated.

    Attributes:
        pyramid: Of the V voxels.
    """

    pyramid: FeaturePyramid

    @property
    def num_points(self) -> int:
        """V."""
        return self.pyramid.num_points

    def linear(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Return (V, L) from weight (L, C) and bias (L,)."""
        return self.pyramid.linear(weight, bias)

    def select(self, rows: Tensor) -> Tensor:
        """Return (R, C), finest stage first, without forming the other rows."""
        levels = self.pyramid.levels
        parts = [levels[0].feat[rows]]
        for level in levels[1:]:
            rows = level.inverse[rows]
            parts.append(level.feat[rows])
        return torch.cat(parts, dim=1)


@dataclass(frozen=True, slots=True, eq=False)
class JoinedFeatures:
    """Two features of the same voxels, side by side.

    Attributes:
        first: (V, C1).
        second: (V, C2).
        num_first: C1.
    """

    first: VoxelFeatures
    second: VoxelFeatures
    num_first: int

    @property
    def num_points(self) -> int:
        """V."""
        return self.first.num_points

    def linear(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Return (V, L) from weight (L, C1 + C2) and bias (L,)."""
        left, right = weight[:, : self.num_first], weight[:, self.num_first :]
        return self.first.linear(left, bias) + self.second.linear(right, torch.zeros_like(bias))

    def select(self, rows: Tensor) -> Tensor:
        """Return (R, C1 + C2)."""
        return torch.cat([self.first.select(rows), self.second.select(rows)], dim=1)
