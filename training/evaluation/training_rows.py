"""Features and labels of voxels drawn from the training scenes, computed once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from concerto_ros.errors import ConcertoError
from training.datasets.labelled import LabelledScene
from training.evaluation.features import FeatureSource
from training.evaluation.voxels import voxel_label
from training.structures import IGNORED

_LEAST_SPREAD = 1e-6  # channels that vary less are constant
_LEAST_HALF = torch.finfo(torch.float16).tiny  # below, float16 has ever fewer digits


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingRows:
    """Voxels of all training scenes, on the CPU.

    Attributes:
        feat: (R, C) float16.
        label: (R,) int64, none is `IGNORED`.
    """

    feat: Tensor
    label: Tensor

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaling:
    """Makes channels comparable: (feature - mean) / spread.

    Attributes:
        mean: (C,) float32.
        spread: (C,) float32, standard deviation; 1 where a channel is constant.
    """

    mean: Tensor
    spread: Tensor

    def __call__(self, feat: Tensor) -> Tensor:
        """Return (N, C) float32."""
        return (feat.float() - self.mean.to(feat.device)) / self.spread.to(feat.device)

    def fold(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (L, C) weight and (L,) bias that do the same on unscaled features."""
        scaled = weight / self.spread.to(weight)
        return scaled, bias - scaled @ self.mean.to(weight)


class FeatureRows(Protocol):
    """(R, C) float features, of which some rows are read at once: a tensor, or a stand-in."""

    @property
    def shape(self) -> Sequence[int]:
        """(R, C)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor: ...


def collect_rows(
    source: FeatureSource, scenes: Iterable[LabelledScene], voxels_per_scene: int, seed: int
) -> TrainingRows:
    """Draw labelled voxels of each scene.

    Args:
        source: Of the features.
        scenes: Training scenes.
        voxels_per_scene: Most voxels of a scene; 0: all.
        seed: With the number of the scene, decides which.

    Raises:
        ConcertoError: No voxel has a label, or a feature does not fit into float16.
    """
    feats = [torch.zeros(0, source.num_channels, dtype=torch.float16)]
    labels = [torch.zeros(0, dtype=torch.int64)]
    for number, scene in enumerate(tqdm(scenes, desc='features', disable=None)):
        generator = scene_generator(seed, number)
        feat, label = _draw(source, scene, voxels_per_scene, generator)
        feats.append(feat)
        labels.append(label)
    rows = TrainingRows(feat=torch.cat(feats), label=torch.cat(labels))
    if len(rows) == 0:
        raise ConcertoError('no point of the training scenes has a label: check data.segment')
    return rows


def measure_scaling(feat: FeatureRows, rows_per_pass: int = 65536) -> Scaling:
    """Return mean and spread of each channel of (R, C), summed in float64."""
    parts = [slice(i, i + rows_per_pass) for i in range(0, len(feat), rows_per_pass)]
    mean = torch.stack([feat[part].double().sum(0) for part in parts]).sum(0) / len(feat)
    squares = torch.stack([((feat[part].double() - mean) ** 2).sum(0) for part in parts]).sum(0)
    spread = (squares / len(feat)).sqrt()
    spread = torch.where(spread < _LEAST_SPREAD, 1.0, spread)
    return Scaling(mean=mean.float(), spread=spread.float())


def no_scaling(num_channels: int) -> Scaling:
    """Return the one that changes nothing."""
    return Scaling(mean=torch.zeros(num_channels), spread=torch.ones(num_channels))


def scene_generator(seed: int, number: int) -> torch.Generator:
    """Return the generator for what is drawn of a scene, of which the number is given."""
    return torch.Generator().manual_seed(seed * 1_000_003 + number)


def draw_rows(rows: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Draw at most so many of the growing rows (R,) int64, in their order; 0: all."""
    order = torch.randperm(len(rows), generator=generator)
    return rows[order[: most or len(rows)]].sort().values


def half_features(feat: Tensor, of: str, cure: str, widths: Sequence[int] | None = None) -> Tensor:
    """Return features as float16 on the CPU.

    Args:
        feat: (R, C) float.
        of: Whose features of what, for the message.
        cure: What to do where they are too large or too small.
        widths: Channels of each level; None: all are of one.

    Raises:
        ConcertoError: One is not finite, or does not fit into float16, or float16 makes zero of
            a row, or a level has no number of at least 6e-5.
    """
    if not feat.isfinite().all():
        raise ConcertoError(f'{of} are not finite: check the weights, and try run.precision=fp32')
    half = feat.to(torch.float16)
    if not half.isfinite().all():
        raise ConcertoError(f'{of} exceed 65504 and cannot be cached in float16: {cure}')
    if len(feat) and _is_lost(feat, half, widths or (feat.shape[1],)):
        raise ConcertoError(f'{of} are too small to be cached in float16: {cure}')
    return half.cpu()


def _is_lost(feat: Tensor, half: Tensor, widths: Sequence[int]) -> bool:
    """Return whether float16 has nothing left of a row, or has too few digits for a level."""
    levels = torch.split(feat.abs(), list(widths), dim=1)
    largest = torch.stack([level.amax() for level in levels])
    is_lost = (largest > 0) & (largest < _LEAST_HALF)
    return bool(is_lost.any() or (feat.any(1) & ~half.any(1)).any())


def _draw(
    source: FeatureSource, scene: LabelledScene, most: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    found = source(scene)
    segment = torch.from_numpy(scene.segment).to(found.inverse.device)
    label = voxel_label(segment, found.inverse, found.features.num_points).cpu()
    rows = draw_rows((label != IGNORED).nonzero()[:, 0], most, generator)
    feat = half_features(
        found.features.select(rows.to(found.inverse.device)),
        f'{scene.name}: features of {source.name}',
        'train the network on, or use linear.features=augmented',
    )
    return feat, label[rows]
