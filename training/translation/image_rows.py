"""Features of voxels and what images show of them; no label is read."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from concerto_ros.errors import ConcertoError
from training.datasets.cloud import CloudArrays, read_cloud
from training.datasets.labelled import LabelledScene
from training.datasets.links import join_links
from training.datasets.split_files import SampleFiles
from training.evaluation.features import FeatureSource
from training.structures import IGNORED
from training.translation.pixel_texts import LinkedImage, PixelTexts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageRows:
    """Voxels of all training scenes, on the CPU.

    Attributes:
        feat: (R, C) float16.
        target: (R, D) float16 unit vectors.
    """

    feat: Tensor
    target: Tensor


@torch.no_grad()
def collect_image_rows(
    source: FeatureSource,
    scenes: Iterable[SampleFiles],
    pixels: PixelTexts,
    voxels_per_scene: int,
    seed: int,
) -> ImageRows:
    """Draw voxels of each scene among those that its images see.

    Args:
        source: Of the features.
        scenes: Each with all its images (`join_samples`).
        pixels: What images show.
        voxels_per_scene: Most voxels of a scene; 0: all.
        seed: Of what is drawn.

    Raises:
        SourceError: A file is missing or damaged.
        ConcertoError: No image sees a point, or a feature does not fit into float16.
    """
    generator = torch.Generator().manual_seed(seed)
    feats, targets = [], []
    for files in tqdm(scenes, desc='features', disable=None):
        cloud = read_cloud(files.cloud)
        found = source(_unlabelled(files.name, cloud))
        seen, target = _mean_texts(files, found.inverse, found.features.num_points, pixels)
        order = torch.randperm(len(seen), generator=generator)[: voxels_per_scene or len(seen)]
        order = order.to(seen.device)
        feats.append(found.features.select(seen[order]).to(torch.float16).cpu())
        targets.append(target[order].to(torch.float16).cpu())
        if not feats[-1].isfinite().all():
            raise ConcertoError(
                f'{files.name}: features of {source.name} exceed 65504 and cannot be kept in '
                'float16: train the network on'
            )
    if sum(map(len, feats)) == 0:
        raise ConcertoError(
            'no image of data.train sees a point: name scenes with images, or use '
            'translator.recipe=labels'
        )
    return ImageRows(feat=torch.cat(feats), target=torch.cat(targets))


def _mean_texts(
    files: SampleFiles, inverse: Tensor, num_voxels: int, pixels: PixelTexts
) -> tuple[Tensor, Tensor]:
    """Return the (S,) voxels that are seen and the (S, D) mean directions of what is seen."""
    total = torch.zeros(num_voxels, pixels.dim, device=inverse.device)
    is_seen = torch.zeros(num_voxels, dtype=torch.bool, device=inverse.device)
    for image, links in zip(files.images, files.correspondences, strict=True):
        point, embedding = pixels(LinkedImage(image, links, len(inverse)))
        total.index_add_(0, inverse[point], functional.normalize(embedding, dim=1))
        is_seen[inverse[point]] = True
    seen = is_seen.nonzero()[:, 0]
    return seen, functional.normalize(total[seen], dim=1)


def _unlabelled(name: str, cloud: CloudArrays) -> LabelledScene:
    return LabelledScene(
        name=name,
        **cloud._asdict(),
        segment=np.full(len(cloud.coord), IGNORED),
        images=np.zeros((0, 1, 1, 3), np.uint8),
        tokens=np.zeros((0, 0, 0), np.float16),
        links=join_links([]),
    )
