"""VoxelMap: a map of surface voxels whose cost per frame does not grow with its size."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from concerto_ros.geometry.rgbd import SurfacePoints
from concerto_ros.mapping import fusion
from concerto_ros.mapping.block_index import BlockIndex
from concerto_ros.mapping.dirty_regions import BlockRevisions
from concerto_ros.mapping.thin_surface import ThinSurface
from concerto_ros.mapping.voxel_keys import (
    BLOCK_BITS,
    GROUP_BLOCKS,
    MAX_GRID,
    PLACE_BITS,
    groups_of_blocks,
    pack_blocks,
    pack_voxels,
    unique_voxels,
    unpack_voxels,
)
from concerto_ros.mapping.voxel_rows import VoxelRows
from concerto_ros.structures import MapCloud

GROUP_VOXELS = GROUP_BLOCKS << BLOCK_BITS  # per edge
_VISIBLE = 0.05  # change of a confidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Cubes of 16 x 16 x 16 voxels.

    Attributes:
        key: (G, 3) int64, cube [key, key + 1) * 16 voxels.
        revision: (G,) int64, when it changed last.
        num_rows: (G,) int64 surface voxels in it.
        rows: (M,) int64 their rows, group after group.
    """

    key: Tensor
    revision: Tensor
    num_rows: Tensor
    rows: Tensor


class VoxelMap:
    """Voxels in which something was measured, one row each, in the order in which they came.

    What the map says is its thin surface: `surface_rows`, and what is made of them.

    Attributes:
        revision: Rises with every change.

    Args:
        voxel_size: Edge length of a voxel [m].
        device: Where the map lives.
        revision: To start from.
    """

    def __init__(
        self, voxel_size: float, device: torch.device | str = 'cpu', revision: int = 0
    ) -> None:
        self.voxel_size = voxel_size
        self.device = torch.device(device)
        self.revision = self._thinned_revision = revision
        self._rows = VoxelRows(device)
        self._index = BlockIndex(device)
        self._revisions = BlockRevisions(device)
        self._surface = ThinSurface(device)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def num_bytes(self) -> int:
        """Memory of voxels and tables, with the room that is kept for growth."""
        parts = (self._rows, self._index, self._revisions, self._surface)
        return sum(part.num_bytes for part in parts)

    def integrate(self, points: SurfacePoints, stamp_ns: int, max_weight: float) -> int:
        """Fuse the points of one frame; those beyond 21 km (at 2 cm) are left out.

        Args:
            points: In the frame of the map.
            stamp_ns: Time of the frame [ns].
            max_weight: Cap on the weight of the past.

        Returns:
            Number of new voxels.
        """
        scaled = points.coord / self.voxel_size
        grid = scaled.floor()
        values = torch.cat([scaled - grid - 0.5, points.color, points.normal], dim=1)
        weight = points.weight
        low, high = grid.aminmax()
        if not (low >= -MAX_GRID and high < MAX_GRID):
            in_reach = ((grid >= -MAX_GRID) & (grid < MAX_GRID)).all(1)
            grid, values, weight = grid[in_reach], values[in_reach], weight[in_reach]
        key, voxel = unique_voxels(pack_voxels(grid.long()))
        measured = fusion.mean_per_voxel(values, weight, voxel, len(key))
        row, is_new, block = self._index.add_voxels(key, len(self))
        self._rows.append(key[is_new], stamp_ns)
        state = self._rows.state.all()
        fused = fusion.fuse(state.index_select(0, row).float(), measured, max_weight)
        state[row] = fused.half()
        self._rows.mark_seen(row, stamp_ns)
        self.revision += 1
        self._revisions.mark(block, self.revision)
        return int(is_new.sum())

    def is_surface(self) -> Tensor:
        """Return (N,) bool, which rows are the thin surface; valid until the map changes."""
        self._refresh_surface()
        return self._surface.is_surface

    def surface_rows(self) -> Tensor:
        """Return the (S,) int64 rows of the thin surface."""
        return self.is_surface().nonzero()[:, 0]

    def grid_coord(self, rows: Tensor) -> Tensor:
        """Return (M, 3) int64 voxel coordinates of rows."""
        return unpack_voxels(self._rows.key.all()[rows])

    def coord(self, rows: Tensor) -> Tensor:
        """Return (M, 3) float32 mean positions of rows [m]."""
        offset = self._rows.state.all()[rows, fusion.OFFSET].double()
        return ((self.grid_coord(rows) + 0.5 + offset) * self.voxel_size).float()

    def color(self, rows: Tensor) -> Tensor:
        """Return (M, 3) float32 RGB of rows in 0..255."""
        return self._rows.state.all()[rows, fusion.COLOR].float().clamp(0, 255)

    def normal(self, rows: Tensor) -> Tensor:
        """Return (M, 3) float32 unit normals of rows towards the cameras; zero where unknown."""
        return functional.normalize(self._rows.state.all()[rows, fusion.NORMAL].float(), dim=1)

    def observations(self, rows: Tensor) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
        """Return (M,) number of views and (M, 2) stamps of the first and the newest one [ns]."""
        num_views = self._rows.num_views.all()[rows]
        return num_views.cpu().numpy(), self._rows.seen_ns(rows).cpu().numpy()

    def num_labelled(self, *, column: int) -> tuple[int, int]:
        """Return how many voxels of the thin surface have a label, and how many there are.

        Args:
            column: 0 semantic, 1 language.
        """
        rows = self.surface_rows()
        return int(self._rows.label.all()[rows, column].count_nonzero()), len(rows)

    def cloud(self, rows: Tensor) -> MapCloud:
        """Return rows (M,) as arrays of their own."""
        label = self._rows.label.all()[rows].cpu().numpy().view(np.uint16)
        confidence = self._rows.confidence.all()[rows].float().cpu().numpy()
        return MapCloud(
            coord=self.coord(rows).cpu().numpy(),
            color=self.color(rows).round().byte().cpu().numpy(),
            normal=self.normal(rows).cpu().numpy(),
            label=label[:, 0].copy(),
            confidence=confidence[:, 0].copy(),
            language_label=label[:, 1].copy(),
            language_confidence=confidence[:, 1].copy(),
        )

    def changed_groups(self, since: int) -> Groups:
        """Return the groups in which a block changed after revision `since`, with their surface.

        Args:
            since: 0 for all groups.
        """
        self._refresh_surface()
        block = self._revisions.changed_since(since)
        return self._groups(torch.unique(groups_of_blocks(self._index.keys[block]), dim=0))

    def nearest_rows(self, center: Tensor, max_rows: int) -> Tensor:
        """Return the surface rows of the groups nearest to a point, (M,) int64.

        Args:
            center: (3,) float [m].
            max_rows: Groups are taken while they fit; at least one is.
        """
        self._refresh_surface()
        group_of_block = groups_of_blocks(self._index.keys)
        key, of_block = torch.unique(group_of_block, dim=0, return_inverse=True)
        num_rows = torch.zeros(len(key), dtype=torch.int64, device=self.device)
        num_rows.index_add_(0, of_block, self._surface.num_rows.long())
        middle = (key + 0.5) * (GROUP_VOXELS * self.voxel_size)
        order = (middle - center.to(middle)).norm(dim=1).argsort(stable=True)
        num_taken = int((num_rows[order].cumsum(0) <= max_rows).sum())
        return self._groups(key[order[: max(1, num_taken)]]).rows

    def write_labels(
        self, rows: Tensor, label: Tensor, confidence: Tensor, *, column: int
    ) -> None:
        """Set labels, and mark the blocks in which one changed, or its confidence did by 0.05.

        Args:
            rows: (M,) int64, each once.
            label: (M,) uint16.
            confidence: (M,) float in 0..1.
            column: 0 semantic, 1 language.
        """
        bits = label.view(torch.int16)
        stored = self._rows.label.all()[:, column]
        stored_confidence = self._rows.confidence.all()[:, column]
        moved = (stored_confidence[rows].float() - confidence).abs() >= _VISIBLE
        changed = (stored[rows] != bits) | moved
        stored[rows], stored_confidence[rows] = bits, confidence.half()
        block_key = torch.unique(self._rows.key.all()[rows[changed]] >> PLACE_BITS)
        if len(block_key) == 0:
            return
        is_thin = self._thinned_revision == self.revision
        self.revision += 1
        self._revisions.mark(self._index.blocks(block_key), self.revision)
        if is_thin:  # labels move no surface
            self._thinned_revision = self.revision

    def _groups(self, key: Tensor) -> Groups:
        steps = torch.arange(GROUP_BLOCKS, device=self.device)
        children = torch.cartesian_prod(steps, steps, steps)
        block_key = pack_blocks((key[:, None] * GROUP_BLOCKS + children).reshape(-1, 3))
        block = self._index.blocks(block_key)
        group = torch.arange(len(key), device=self.device).repeat_interleave(len(children))
        group, block = group[block >= 0], block[block >= 0]
        rows, _ = self._index.rows_of_blocks(block)
        num_rows = self._surface.num_rows[block].long()
        zeros = torch.zeros(len(key), dtype=torch.int64, device=self.device)
        return Groups(
            key=key,
            revision=zeros.scatter_reduce(0, group, self._revisions.of(block), 'amax'),
            num_rows=zeros.index_add(0, group, num_rows),
            rows=rows[self._surface.is_surface[rows]],
        )

    def _refresh_surface(self) -> None:
        changed = self._revisions.changed_since(self._thinned_revision)
        flipped = self._surface.refresh(self._rows, self._index, changed)
        if len(flipped):
            self.revision += 1
            self._revisions.mark(flipped, self.revision)
        self._thinned_revision = self.revision
