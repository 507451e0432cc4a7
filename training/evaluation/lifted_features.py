"""Tokens of images, carried to the points that the images see."""

import numpy as np
import torch
from torch import Tensor

from concerto_ros.model import Recipe
from training.datasets.labelled import LabelledScene
from training.evaluation.features import DenseFeatures, SceneFeatures
from training.evaluation.voxels import scene_voxels
from training.image_encoders import ImageEncoder
from training.prepare.nearest import NONE, nearest_within

_IMAGES = 8  # that are encoded at once
_RADII = (0.05, 0.1, 0.3)  # within which an unseen voxel takes the tokens of a seen one [m]


class LiftedFeatures:
    """The mean over images of the tokens at which the points of a voxel are seen.

    A voxel that no image sees takes the feature of the nearest one that is seen, if there is one
    within 0.3 m, and zeros otherwise.

    Args:
        encoder: Of images; moved to `device`. Not called for scenes that come with tokens.
        voxel_size: Edge length of a voxel [m].
        device: Where it runs.
    """

    def __init__(self, encoder: ImageEncoder, voxel_size: float, device: torch.device) -> None:
        self.name = f'lifted {encoder.name}'
        self.num_channels = encoder.num_channels
        self._encoder = encoder.to(device)
        self._recipe = Recipe(voxel_size=voxel_size)
        self._device = device

    @torch.no_grad()
    def __call__(self, scene: LabelledScene) -> SceneFeatures:
        """Return (V, C) features of a scene."""
        prepared = scene_voxels(scene, self._recipe, self._device)
        total, count = self._gather(scene, prepared.inverse, len(prepared.points))
        feat = fill_unseen(total / count.clamp(min=1)[:, None], count, prepared.points.coord)
        return SceneFeatures(features=DenseFeatures(feat), inverse=prepared.inverse)

    def _gather(
        self, scene: LabelledScene, inverse: Tensor, num_voxels: int
    ) -> tuple[Tensor, Tensor]:
        """Return the (V, C) sums of tokens and the (V,) number of links of each voxel."""
        total = torch.zeros(num_voxels, self.num_channels, device=self._device)
        count = torch.zeros(num_voxels, device=self._device)
        for image, tokens in enumerate(self._tokens(scene)):
            mine = scene.links.image == image
            point = torch.from_numpy(scene.links.point[mine]).to(self._device)
            patch = torch.from_numpy(scene.links.patch[mine]).to(self._device).long()
            width = round(len(tokens) ** 0.5)
            voxel = inverse[point]
            total.index_add_(0, voxel, tokens[patch[:, 0] * width + patch[:, 1]])
            count.index_add_(0, voxel, torch.ones_like(voxel, dtype=count.dtype))
        return total, count

    def _tokens(self, scene: LabelledScene) -> Tensor:
        """Return (I, T, C) float32."""
        if len(scene.tokens):
            return torch.from_numpy(scene.tokens).to(self._device).float()
        parts = [torch.zeros(0, 0, self.num_channels, device=self._device)]
        for images in torch.split(torch.from_numpy(scene.images), _IMAGES):
            pixels = images.to(self._device).permute(0, 3, 1, 2).float() / 255
            parts.append(self._encoder(pixels).float())
        return torch.cat(parts[1:] or parts)


def fill_unseen(feat: Tensor, count: Tensor, coord: Tensor) -> Tensor:
    """Give rows without links the feature of the nearest row that has some, within 0.3 m.

    Args:
        feat: (V, C) float, zero where unseen.
        count: (V,) links of each row.
        coord: (V, 3) float32 [m].
    """
    seen = np.flatnonzero(count.cpu().numpy())
    unseen = np.flatnonzero(count.cpu().numpy() == 0)
    place = coord.cpu().numpy()
    nearest = nearest_within(place[unseen], place[seen], _RADII)
    is_near = nearest != NONE
    feat = feat.clone()
    feat[torch.from_numpy(unseen[is_near])] = feat[torch.from_numpy(seen[nearest[is_near]])]
    return feat
