"""The features of a hierarchy at the places that are judged: voxels of a scene, or its points."""

import logging
import math
from typing import Any, Literal

import torch
from torch import Tensor

from concerto_ros.errors import ConcertoError, ConfigError
from training.datasets.labelled import LabelledScene
from training.evaluation.features import SceneFeatures
from training.evaluation.voxels import voxels_and_origin
from training.protocol.hierarchy import HierarchicalEncoder, Hierarchy
from training.protocol.hierarchy_check import check_hierarchy
from training.protocol.sampling import Mode, SampledFeatures

_log = logging.getLogger(__name__)
Query = Literal['voxel', 'point']
_ROUNDING = 1e-6  # of sizes that should be equal
_PROBED = 1024  # places of a scene that are looked up to see whether levels reach them
_STEPS = 1 << 10  # per base voxel, to which centres are rounded: frames differ by float32 noise


class HierarchySource:
    """Features of all levels of an encoder; a `FeatureSource` whose features are sampled.

    Args:
        encoder: Asked once per call.
        voxel_size: Edge of the voxels that are judged [m]; the encoder has its own.
        mode: As for `SampledFeatures`.
        query: voxel: places are the centres of the voxels of `scene_voxels`; point: the raw
            points themselves.
        unit_levels: As for `SampledFeatures`.
        device: Where the encoder has its features.

    Attributes:
        name: Of the encoder.
        num_channels: C of the levels together.
        layout: Name and channels of each level; empty before the first call.
    """

    layout: tuple[tuple[str, slice], ...] = ()

    def __init__(
        self,
        encoder: HierarchicalEncoder,
        *,
        voxel_size: float,
        mode: Mode,
        query: Query,
        unit_levels: bool,
        device: torch.device,
    ) -> None:
        self.name = encoder.name
        self.num_channels = sum(encoder.num_channels)
        self._encoder = encoder
        self._voxel_size = voxel_size
        self._mode, self._query = mode, query
        self._unit_levels = unit_levels
        self._device = device
        self._unread = torch.zeros(len(encoder.num_channels), dtype=torch.float64)
        self._num_scenes = 0
        self._geometry: dict[str, Any] = {}

    @torch.no_grad()
    def __call__(self, scene: LabelledScene) -> SceneFeatures:
        """Return (V, C) `SampledFeatures` of a scene.

        Raises:
            ConcertoError: What the encoder gave is not as `hierarchy.py` says, or a level has
                nothing to read anywhere in the scene.
        """
        hierarchy = self._encoder(scene)
        check_hierarchy(hierarchy, self._encoder, scene, self._device)
        if not self._geometry:
            self._warn_of_fine_cells(hierarchy)
        position, inverse = self._places(scene, hierarchy)
        try:
            features = SampledFeatures(
                hierarchy, position, self._mode, unit_levels=self._unit_levels
            )
        except ConcertoError as err:
            raise ConcertoError(f'{self.name}, {scene.name}: {err}') from err
        self.layout = features.layout
        self._geometry = {
            'voxel_size': hierarchy.voxel_size,
            'strides': [level.stride for level in hierarchy.levels],
            'unread': self._look_for_gaps(features, scene.name),
        }
        return SceneFeatures(features=features, inverse=inverse)

    @property
    def geometry(self) -> dict[str, Any]:
        """What was seen of the levels, for the results.

        voxel_size [m] and strides of the last scene; unread: by the name of each level, the share
        of places at which it has nothing to read, of places spread over each scene, the mean over
        scenes. Empty before the first call.
        """
        return self._geometry

    def _warn_of_fine_cells(self, hierarchy: Hierarchy) -> None:
        """Say so if the middle of a judged voxel often lies in no cell of the finest level."""
        strides = [level.stride for level in hierarchy.levels if level.stride is not None]
        finest = min(strides, default=math.inf) * hierarchy.voxel_size
        if self._query == 'voxel' and finest < (1 - _ROUNDING) * self._voxel_size:
            _log.warning(
                '%s has cells of %g m, finer than data.voxel_size %g m, so that the middle of a '
                'voxel is often in none of them: set data.voxel_size=%g, or sampling.query=point',
                self.name, finest, self._voxel_size, finest,
            )  # fmt: skip

    def _look_for_gaps(self, features: SampledFeatures, scene: str) -> dict[str, float]:
        """Return the mean share of places so far that a level does not reach, by its name."""
        step = max(features.num_points // _PROBED, 1)
        unread = features.unread(torch.arange(0, features.num_points, step, device=self._device))
        names = [name for name, _ in self.layout]
        for name, share in zip(names, unread.tolist(), strict=True):
            if share == 1:
                raise ConcertoError(
                    f'{self.name}, {scene}: level "{name}" has nothing to read at any place: let '
                    'origin and voxel_size of the hierarchy tell where its cells lie in the frame '
                    'of the scene, and data.voxel_size be no more than they are wide'
                )
        self._unread = self._unread + unread.cpu().double()
        self._num_scenes += 1
        mean = (self._unread / self._num_scenes).tolist()
        return dict(zip(names, mean, strict=True))

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


def level_sets(text: str, encoder: HierarchicalEncoder) -> dict[str, tuple[int, ...]]:
    """Return the sets of levels that a setting names, under their names.

    Each is there once; of equal ones the names are joined, as in 'last = 4'.

    Args:
        text: By semicolons: all; last (what the encoder computes last); numbers by commas, 0 the
            finest; each (every level alone); all_but (all but each).
        encoder: Has the levels.

    Raises:
        ConfigError: A part names no level of the encoder.
    """
    names: dict[tuple[int, ...], dict[str, None]] = {}
    for part in text.split(';'):
        for name, levels in _named(part.strip(), encoder).items():
            names.setdefault(levels, {})[name] = None
    return {' = '.join(equal): levels for levels, equal in names.items()}


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
