"""Features of labelled training voxels on all levels, computed once for all probes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from concerto_ros.errors import ConcertoError
from training.datasets.labelled import LabelledScene
from training.evaluation.features import FeatureSource
from training.evaluation.training_rows import draw_rows, half_features, scene_generator
from training.evaluation.voxels import voxel_label
from training.protocol.regimes import Regimes
from training.structures import IGNORED


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledRows:
    """Rows of a cache that have a label.

    Attributes:
        row: (K,) int64, growing.
        label: (K,) int64, none is `IGNORED`.
        scene: (K,) int64, number of the scene of each, growing.
    """

    row: Tensor
    label: Tensor
    scene: Tensor

    def __len__(self) -> int:
        return len(self.row)

    def of_scenes(self, scenes: Sequence[int]) -> 'LabelledRows':
        """Return those of some scenes.

        Raises:
            ConcertoError: There are none.
        """
        is_chosen = torch.isin(self.scene, torch.tensor(scenes))
        if not is_chosen.any():
            raise ConcertoError('no point of the training scenes has a label: check data.segment')
        return LabelledRows(
            row=self.row[is_chosen], label=self.label[is_chosen], scene=self.scene[is_chosen]
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CachedRows:
    """Voxels of training scenes, on the CPU.

    Attributes:
        feat: (R, C) float16, all levels side by side.
        labelled: Rows with labels, by the number of labelled points per scene; 0: all.
    """

    feat: Tensor
    labelled: Mapping[int, LabelledRows]


def cache_rows(
    source: FeatureSource,
    scenes: Sequence[LabelledScene],
    regimes: Regimes,
    voxels_per_scene: int,
    seed: int,
) -> CachedRows:
    """Ask a source once about each scene that a regime needs.

    Args:
        source: Of the features of all levels.
        scenes: All training scenes.
        regimes: What probes may learn from.
        voxels_per_scene: Most voxels kept of a scene where all its points have labels, drawn; 0:
            all. Where few points have labels, their voxels are kept, and none else.
        seed: With the number of the scene, decides which are drawn.

    Raises:
        ConcertoError: A feature is not finite, or does not fit into float16.
        SourceError: A scene cannot be read.
    """
    parts = []
    for number in tqdm(regimes.scenes_needed, desc='features', disable=None):
        drawn = scene_generator(seed, number)
        parts.append(_SceneRows(source, scenes[number], number, regimes, voxels_per_scene, drawn))
    starts = torch.tensor([0, *(len(part.feat) for part in parts)]).cumsum(0).tolist()
    return CachedRows(
        feat=torch.cat([part.feat for part in parts]),
        labelled={
            count: LabelledRows(
                row=torch.cat([p.row[count] + s for p, s in zip(parts, starts, strict=False)]),
                label=torch.cat([part.label[count] for part in parts]),
                scene=torch.cat([torch.full_like(p.row[count], p.number) for p in parts]),
            )
            for count in regimes.counts
        },
    )


class _SceneRows:
    """The rows of one scene: features, and for each number of labelled points, which and what."""

    def __init__(
        self,
        source: FeatureSource,
        scene: LabelledScene,
        number: int,
        regimes: Regimes,
        voxels_per_scene: int,
        generator: torch.Generator,
    ) -> None:
        self.number = number
        found = source(scene)
        inverse, num_voxels = found.inverse.cpu(), found.features.num_points
        voxels: dict[int, Tensor] = {}
        self.label: dict[int, Tensor] = {}
        for count in regimes.counts:
            segment = torch.from_numpy(regimes.keep(scene.segment, count, number))
            label = voxel_label(segment, inverse, num_voxels)
            known = (label != IGNORED).nonzero()[:, 0]
            if count == 0:
                known = draw_rows(known, voxels_per_scene, generator)
            voxels[count], self.label[count] = known, label[known]
        kept = torch.unique(torch.cat(list(voxels.values())))
        self.row = {count: torch.searchsorted(kept, known) for count, known in voxels.items()}
        self.feat = half_features(
            found.features.select(kept.to(found.inverse.device)),
            f'{scene.name}: features of {source.name}',
            'set sampling.normalize=level or linear.features=augmented',
        )
