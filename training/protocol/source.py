"""The features of a hierarchy at the places that are judged: voxels of a scene, or its points."""

from typing import Literal

import torch
from torch import Tensor

from concerto_ros.errors import ConcertoError, ConfigError
from training.datasets.labelled import LabelledScene
from training.evaluation.features import SceneFeatures
from training.evaluation.voxels import voxels_and_origin
from training.protocol.hierarchy import HierarchicalEncoder, Hierarchy
from training.protocol.sampling import Mode, Normalize, SampledFeatures

Query = Literal['voxel', 'point']
_STEPS = 1 << 10  # per base voxel, to which centres are rounded: frames differ by float32 noise


class HierarchySource:
    """Features of chosen levels of an encoder; a `FeatureSource` whose features are sampled.

    Args:
        encoder: Asked once per call.
        voxel_size: Edge of the voxels that are judged [m]; the encoder has its own.
        mode: As for `SampledFeatures`.
        query: voxel: places are the centres of the voxels of `scene_voxels`; point: the raw
            points themselves.
        levels: Indices, growing.
        normalize: As for `SampledFeatures`.
        device: Where the encoder has its features.

    Attributes:
        name: Of the encoder.
        num_channels: C of these levels together.
        layout: Name and channels of each of these levels; empty before the first call.
    """

    layout: tuple[tuple[str, slice], ...] = ()

    def __init__(
        self,
        encoder: HierarchicalEncoder,
        *,
        voxel_size: float,
        mode: Mode,
        query: Query,
        levels: tuple[int, ...],
        normalize: Normalize,
        device: torch.device,
    ) -> None:
        self.name = encoder.name
        self.num_channels = sum(encoder.num_channels[level] for level in levels)
        self._encoder = encoder
        self._voxel_size = voxel_size
        self._mode, self._query = mode, query
        self._levels, self._normalize = levels, normalize
        self._device = device

    @torch.no_grad()
    def __call__(self, scene: LabelledScene) -> SceneFeatures:
        """Return (V, C) `SampledFeatures` of a scene.

        Raises:
            ConcertoError: The levels of the encoder are others than it says.
        """
        hierarchy = self._encoder(scene)
        check_channels(hierarchy, self._encoder)
        position, inverse = self._places(scene, hierarchy)
        features = SampledFeatures(hierarchy, position, self._mode, self._levels, self._normalize)
        self.layout = features.layout
        return SceneFeatures(features=features, inverse=inverse)

    def _places(self, scene: LabelledScene, hierarchy: Hierarchy) -> tuple[Tensor, Tensor]:
        """Return the (V, 3) positions [base voxels], and the (N,) position of each point."""
        origin = hierarchy.origin.to(self._device)
        if self._query == 'point':
            coord = torch.from_numpy(scene.coord).to(self._device)
            position = (coord.double() - origin) / hierarchy.voxel_size
            return position, torch.arange(len(coord), device=self._device)
        prepared, own_origin = voxels_and_origin(scene, self._voxel_size, self._device)
        shift = (own_origin - origin) / hierarchy.voxel_size
        center = prepared.points.grid_coord.double() + 0.5
        position = center * (self._voxel_size / hierarchy.voxel_size) + shift
        return (position * _STEPS).round() / _STEPS, prepared.inverse


def check_channels(hierarchy: Hierarchy, encoder: HierarchicalEncoder) -> None:
    """Refuse levels that have not as many channels as the encoder says.

    Raises:
        ConcertoError: They have not.
    """
    found = tuple(level.feat.shape[1] for level in hierarchy.levels)
    if found != tuple(encoder.num_channels):
        raise ConcertoError(
            f'{encoder.name} gave levels of {found} channels, but says {encoder.num_channels}: '
            'let num_channels list the channels of each level, finest first'
        )


def level_sets(text: str, encoder: HierarchicalEncoder) -> dict[str, tuple[int, ...]]:
    """Return the sets of levels that a setting names, under their names, each once.

    Args:
        text: By semicolons: all; last (what the encoder computes last); numbers by commas, 0 the
            finest; each (every level alone); all_but (all but each).
        encoder: Has the levels.

    Raises:
        ConfigError: A part names no level of the encoder.
    """
    sets: dict[str, tuple[int, ...]] = {}
    for part in text.split(';'):
        sets.update(_named(part.strip(), encoder))
    return sets


def _named(name: str, encoder: HierarchicalEncoder) -> dict[str, tuple[int, ...]]:
    every = tuple(range(len(encoder.num_channels)))
    studies: dict[str, dict[str, tuple[int, ...]]] = {
        'all': {'all': every},
        'last': {'last': (encoder.last,)},
        'each': {str(level): (level,) for level in every},
        'all_but': {f'all but {left}': every[:left] + every[left + 1 :] for left in every},
    }
    if len(every) == 1:
        del studies['all_but']
    if name in studies:
        return studies[name]
    numbers = name.split(',')
    levels = tuple(sorted(int(number) for number in numbers if number.strip().isdecimal()))
    if len(set(levels)) == len(numbers) and set(levels) <= set(every):
        return {','.join(str(level) for level in levels): levels}
    raise ConfigError(
        f'{encoder.name} has the levels 0 to {every[-1]}, but a set is "{name}": write '
        f'{", ".join(studies)} or numbers by commas, and semicolons between sets'
    )
