"""World: from the frames of submaps to where their voxels are now."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concerto_ros.mapping import CHUNK_VOXELS, VoxelMap, overlaps
from concerto_ros.mapping.voxel_keys import CHUNK_SHIFT, submap_of_chunk, unpack_chunks
from concerto_ros.structures import MapCloud

_MARGIN = 2  # voxels; surfaces that are this close may be one


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CloudPart:
    """Points of a map in the world, before submaps that overlap have voted.

    Attributes:
        cloud: N points.
        chunk_key: (N,) int64 of their chunks.
        num_views: (N,) int16 images that measured them.
    """

    cloud: MapCloud
    chunk_key: Tensor
    num_views: Tensor


class World:
    """Where the submaps of a map are; does not change when they move on.

    Args:
        T_world_submap: (S, 4, 4) of all submaps.
        voxel_size: Edge length of a voxel [m].
    """

    def __init__(self, T_world_submap: NDArray[np.float64], voxel_size: float) -> None:
        self.T_world_submap = torch.from_numpy(np.array(T_world_submap)).view(-1, 4, 4)
        self._voxel_size = voxel_size

    def coord(self, voxels: VoxelMap, rows: Tensor) -> Tensor:
        """Return (M, 3) float32 mean positions of rows [m]."""
        return self._moved(voxels.coord(rows), voxels.submap(rows))

    def grid_coord(self, voxels: VoxelMap, rows: Tensor) -> Tensor:
        """Return (M, 3) int64, the voxels of rows on the lattice of the first submap."""
        submap = voxels.submap(rows)
        if not submap.any():
            return voxels.grid_coord(rows)
        T = self.T_world_submap.to(rows.device)
        to_first = torch.linalg.inv(T[:1]) @ T
        center = (voxels.grid_coord(rows) + 0.5) * self._voxel_size
        return (_applied(to_first, center, submap) / self._voxel_size).floor().long()

    def center(self, chunk_key: Tensor) -> Tensor:
        """Return the middles (K, 3) float64 [m] of chunks (K,)."""
        middle = (unpack_chunks(chunk_key) + 0.5) * (CHUNK_VOXELS * self._voxel_size)
        return _applied(self.T_world_submap, middle, submap_of_chunk(chunk_key))

    def box(self, chunk_key: Tensor) -> tuple[Tensor, Tensor]:
        """Return the lowest and highest corners (K, 3) [m] of boxes around chunks (K,)."""
        edge = CHUNK_VOXELS * self._voxel_size
        pose = self.T_world_submap[submap_of_chunk(chunk_key)]
        center = self.center(chunk_key)
        half = pose[:, :3, :3].abs().sum(2) * (edge / 2)
        return center - half, center + half

    def cloud(self, voxels: VoxelMap, rows: Tensor) -> MapCloud:
        """Return rows (M,) as arrays of their own; nothing is said of overlaps."""
        cloud = voxels.cloud(rows)
        submap = voxels.submap(rows)
        normal = self._moved(voxels.normal(rows), submap, is_direction=True)
        return dataclasses.replace(
            cloud, coord=self.coord(voxels, rows).cpu().numpy(), normal=normal.cpu().numpy()
        )

    def part(self, voxels: VoxelMap, rows: Tensor) -> CloudPart:
        """Return rows (M,) as a part of what `joined` returns."""
        return CloudPart(
            cloud=self.cloud(voxels, rows),
            chunk_key=voxels.key(rows).cpu() >> CHUNK_SHIFT,
            num_views=torch.from_numpy(voxels.observations(rows)[0]),
        )

    def joined(self, parts: Iterable[CloudPart]) -> MapCloud:
        """Return at least one part as one cloud, where submaps overlap only once."""
        held = list(parts)
        cloud = _joined([part.cloud for part in held])
        chunk_key = torch.cat([part.chunk_key for part in held])
        if not submap_of_chunk(chunk_key).any():
            return cloud
        return self._voted(cloud, chunk_key, torch.cat([part.num_views for part in held]))

    def whole(self, parts: Iterable[VoxelMap]) -> MapCloud:
        """Return the thin surface of all parts of a map, where submaps overlap only once."""
        return self.joined(self.part(voxels, voxels.surface_rows()) for voxels in parts)

    def stands(self, parts: Sequence[CloudPart]) -> NDArray[np.bool_]:
        """Return (N,), which points of all parts stand for what several submaps hold."""
        submap = submap_of_chunk(torch.cat([part.chunk_key for part in parts]))
        if len(submap) == 0 or (submap == submap[0]).all():
            return np.ones(len(submap), dtype=np.bool_)
        cloud = _joined([part.cloud for part in parts])
        num_views = torch.cat([part.num_views for part in parts])
        stands: NDArray[np.bool_] = self._vote(cloud, submap, num_views).stands.numpy()
        return stands

    def _voted(self, cloud: MapCloud, chunk_key: Tensor, num_views: Tensor) -> MapCloud:
        key, of_row = torch.unique(chunk_key, return_inverse=True)
        pair = overlaps.overlapping_chunks(
            unpack_chunks(key),
            submap_of_chunk(key),
            self.T_world_submap,
            CHUNK_VOXELS * self._voxel_size,
            _MARGIN * self._voxel_size,
        )
        meets = torch.zeros(len(key), dtype=torch.bool)
        meets[pair[:, 0]] = True
        rows = meets[of_row].nonzero()[:, 0]
        some = take(cloud, rows.numpy())
        voted = self._vote(some, submap_of_chunk(chunk_key[rows]), num_views[rows])
        label, confidence = voted.label.numpy(), voted.confidence.numpy()
        for name, values in (
            ('label', label[:, 0]),
            ('language_label', label[:, 1]),
            ('confidence', confidence[:, 0]),
            ('language_confidence', confidence[:, 1]),
        ):
            getattr(cloud, name)[rows.numpy()] = values
        stays = np.ones(len(cloud), dtype=np.bool_)
        stays[rows.numpy()] = voted.stands.numpy()
        return take(cloud, np.flatnonzero(stays))

    def _vote(self, cloud: MapCloud, submap: Tensor, num_views: Tensor) -> overlaps.Vote:
        label = np.stack([cloud.label, cloud.language_label], axis=1).astype(np.int64)
        confidence = np.stack([cloud.confidence, cloud.language_confidence], axis=1)
        return overlaps.vote(
            torch.from_numpy(cloud.coord),
            torch.from_numpy(cloud.normal),
            submap,
            num_views.clamp(min=1).float(),
            torch.from_numpy(label),
            torch.from_numpy(confidence),
            self._voxel_size,
        )

    def _moved(self, vectors: Tensor, submap: Tensor, *, is_direction: bool = False) -> Tensor:
        T = self.T_world_submap.to(vectors.device)
        if is_direction:
            T = T.clone()
            T[:, :3, 3] = 0
        if (torch.eye(4, device=T.device) == T).all():
            return vectors
        return _applied(T, vectors.double(), submap).float()


def take(cloud: MapCloud, rows: NDArray[np.intp]) -> MapCloud:
    """Return rows (M,) of a cloud."""
    fields = {f.name: getattr(cloud, f.name)[rows] for f in dataclasses.fields(cloud)}
    return dataclasses.replace(cloud, **fields)


def _joined(clouds: list[MapCloud]) -> MapCloud:
    if len(clouds) == 1:
        return clouds[0]
    fields = {
        f.name: np.concatenate([getattr(cloud, f.name) for cloud in clouds])
        for f in dataclasses.fields(MapCloud)
    }
    return MapCloud(**fields)


def _applied(T: Tensor, vectors: Tensor, submap: Tensor) -> Tensor:
    """Return (M, 3) float64: vectors (M, 3) moved by T[submap]; T is (S, 4, 4)."""
    if len(T) == 1:
        return vectors.double() @ T[0, :3, :3].T + T[0, :3, 3]
    pose = T[submap]
    return (pose[:, :3, :3] @ vectors.double()[..., None])[..., 0] + pose[:, :3, 3]
