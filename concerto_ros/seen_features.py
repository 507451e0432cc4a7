"""SeenFeatures: what the network knows of the map, from all of its runs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from concerto_ros.model import StoredFeatures


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeenFeatures:
    """The features of the voxels that the network has looked at; others have none.

    Attributes:
        rows: (M,) int64 of the map, each once.
        cell: (M,) int64 row of `stored` for each of them.
        stored: Of N cells, each of which some row has.
        norms: (N,) float32 lengths of the translated features.
    """

    rows: Tensor
    cell: Tensor
    stored: StoredFeatures
    norms: Tensor

    def updated(self, newer: 'SeenFeatures', num_voxels: int) -> 'SeenFeatures':
        """Return these features where a newer run has not looked, and the newer ones elsewhere.

        Args:
            newer: Of the same network and translator.
            num_voxels: Rows of the map.
        """
        is_left = torch.ones(num_voxels, dtype=torch.bool, device=self.rows.device)
        is_left[newer.rows] = False
        left = is_left[self.rows]
        if not left.any():
            return newer
        kept, cell = torch.unique(self.cell[left], return_inverse=True)
        return SeenFeatures(
            rows=torch.cat([self.rows[left], newer.rows]),
            cell=torch.cat([cell, newer.cell + len(kept)]),
            stored=self.stored.take(kept).joined(newer.stored),
            norms=torch.cat([self.norms[kept], newer.norms]),
        )
