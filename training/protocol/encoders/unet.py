"""UNetEncoder: the maps of a U-Net of masked scene modelling as levels."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from operator import mul
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from concerto_ros.model import PointBatch, PreparedCloud, make_plan, precision
from training.datasets.labelled import LabelledScene
from training.evaluation.voxels import voxels_and_origin
from training.networks.unet import UNet, in_plan_order
from training.protocol.encoders.facts import MEAN, frozen, network_facts, num_parameters
from training.protocol.hierarchy import Hierarchy, Level

Family = Literal['encoder', 'decoder', 'both']


class _Map(NamedTuple):
    """One of the maps that are levels."""

    family: str
    stage: int

    @property
    def name(self) -> str:
        return f'{self.family} {self.stage}'


class UNetEncoder:
    """Levels of the encoder, the decoder, or both; then of equal stride the encoder's first.

    Args:
        network: Moved to `device`, frozen.
        name: For the tables.
        voxel_size: Of its input [m].
        family: Whose maps are levels.
        device: Where it runs.
        number_format: As for `concerto_ros.model.precision`.
        noise: Generator on the CPU that draws at every call which point stands for a voxel, where
            one does; None: that nearest to its centre.
    """

    def __init__(
        self,
        network: UNet,
        name: str,
        voxel_size: float,
        family: Family,
        device: torch.device,
        number_format: str,
        noise: torch.Generator | None = None,
    ) -> None:
        geometry = network.geometry
        families = ('encoder', 'decoder') if family == 'both' else (family,)
        self._maps = [_Map(f, s) for s in range(geometry.num_stages) for f in families]
        widths = {'encoder': network.encoder_channels, 'decoder': network.channels}
        self.name = name
        self.num_channels = tuple(widths[m.family][m.stage] for m in self._maps)
        self._has_decoder = family != 'encoder'
        final = _Map('decoder', 0) if self._has_decoder else self._maps[-1]
        self.last = self._maps.index(final)
        self.facts: Mapping[str, str | int] = {
            **network_facts(network, voxel_size, _told_voxels(network, noise)),
            'parameters': num_parameters(*_parts(network, family)),
            'family': family,
            'inference': network.inference,
        }
        self.network = frozen(network, device)
        self._strides = tuple(accumulate((1, *geometry.stride), mul))
        self._voxel_size = voxel_size
        self._device, self.number_format = device, number_format
        self._noise = noise

    @torch.no_grad()
    def __call__(self, scene: LabelledScene) -> Hierarchy:
        """Return the features of a scene, finest level first."""
        network = self.network
        points, origin = self._voxels(scene)
        plan = make_plan(points.grid_coord, points.offset, network.geometry, depth=network.depth)
        points = in_plan_order(points, plan)
        token = torch.zeros(network.token_channels, device=self._device)
        with precision(self.number_format, self._device):
            feats: dict[str, Sequence[Tensor]] = {'encoder': network.encode(points, plan)}
            if self._has_decoder:
                feats['decoder'] = network.decode(feats['encoder'], None, token, plan)
        levels = tuple(
            Level(
                name=m.name,
                feat=feats[m.family][m.stage].float(),
                coord=plan.stages[m.stage].cells.grid_coord,
                stride=self._strides[m.stage],
            )
            for m in self._maps
        )
        return Hierarchy(levels=levels, voxel_size=self._voxel_size, origin=origin)

    def _voxels(self, scene: LabelledScene) -> tuple[PointBatch, Tensor]:
        """Return what stands for the points, and where the voxels begin."""
        if self.network.mean_voxels:
            prepared, origin = voxels_and_origin(scene, self._voxel_size, self._device)
            return prepared.points, origin
        if self._noise is None:
            return nearest_points(scene, self._voxel_size, self._device)
        return drawn_points(scene, self._voxel_size, self._device, self._noise)


def _told_voxels(network: UNet, noise: torch.Generator | None) -> str:
    if network.mean_voxels:
        return MEAN
    return 'point nearest to the centre' if noise is None else 'one of their points, drawn'


def _parts(network: UNet, family: Family) -> list[nn.Module]:
    """Return the modules of a network that its maps need."""
    if family != 'encoder':
        return [network]
    return [network.get_submodule(name) for name in network.encoder_parts]


def nearest_points(
    scene: LabelledScene, voxel_size: float, device: torch.device
) -> tuple[PointBatch, Tensor]:
    """Return the voxels of a scene, each as the point nearest to its centre, and their origin.

    In training a voxel is one of its points, drawn, and no mean of them; this one is the same at
    every call: of equally near points the first. Channels, cells and origin are those of
    `voxels_and_origin`.
    """
    prepared, origin = voxels_and_origin(scene, voxel_size, device)
    place = (torch.from_numpy(scene.coord).to(device).double() - origin) / voxel_size
    center = prepared.points.grid_coord[prepared.inverse] + 0.5
    return _points_of_least(scene, prepared, (place - center).square().sum(1)), origin


def drawn_points(
    scene: LabelledScene, voxel_size: float, device: torch.device, noise: torch.Generator
) -> tuple[PointBatch, Tensor]:
    """Return the voxels of a scene, each as one of its points, drawn, and their origin.

    Every point of a voxel is equally likely; otherwise as `nearest_points`.
    """
    prepared, origin = voxels_and_origin(scene, voxel_size, device)
    value = torch.rand(len(scene.coord), generator=noise, dtype=torch.float64).to(device)
    return _points_of_least(scene, prepared, value), origin


def _points_of_least(scene: LabelledScene, voxels: PreparedCloud, value: Tensor) -> PointBatch:
    """Return voxels, each as its point of the least value (N,)."""
    coord, color, normal = (
        torch.from_numpy(part).to(value.device)
        for part in (scene.coord, scene.color, scene.normal)
    )
    row = _first_of_least(value, voxels.inverse, len(voxels.points))
    centered = coord[row] - _middle_of_floor(coord)
    return PointBatch(
        coord=centered,
        grid_coord=voxels.points.grid_coord,
        feat=torch.cat([centered, color[row] / 255, normal[row]], dim=1),
        offset=voxels.points.offset,
    )


def _middle_of_floor(coord: Tensor) -> Tensor:
    """Return (3,): the middle in x and y, the lowest in z."""
    low, high = coord.aminmax(dim=0)
    center = (low + high) / 2
    center[2] = low[2]
    return center


def _first_of_least(value: Tensor, segment: Tensor, num_segments: int) -> Tensor:
    """Return the (S,) first row of the least value in each segment."""
    least = value.new_full((num_segments,), torch.inf).scatter_reduce(0, segment, value, 'amin')
    rows = (value == least[segment]).nonzero()[:, 0]
    first = segment.new_full((num_segments,), len(value))
    return first.scatter_reduce(0, segment[rows], rows, 'amin')
