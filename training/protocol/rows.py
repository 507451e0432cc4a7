"""Features of labelled training voxels on all levels, computed once for all probes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from concerto_ros.errors import ConcertoError
from training.datasets.labelled import LabelledScene
from training.evaluation.features import SceneFeatures
from training.evaluation.training_rows import draw_rows, half_features, scene_generator
from training.evaluation.voxels import voxel_label
from training.protocol.feature_rows import RowParts
from training.protocol.instances.rows import InstanceTargets
from training.protocol.progress import followed
from training.protocol.regimes import Regimes
from training.protocol.source import HierarchySource
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
        feat: Of (R, C) float16, all levels side by side, a part for each scene.
        labelled: Rows with labels, by the number of labelled points per scene; 0: all.
        offset: (R, 3) float32 [m], from the voxel to the centre of its object.
        has_offset: (R,) bool; false everywhere if nobody asked for objects.
    """

    feat: RowParts
    labelled: Mapping[int, LabelledRows]
    offset: Tensor
    has_offset: Tensor


class _SceneRows(NamedTuple):
    """The same of one scene."""

    feat: Tensor
    labelled: Mapping[int, LabelledRows]
    offset: Tensor
    has_offset: Tensor


Targets = Callable[[LabelledScene, Tensor, Tensor], InstanceTargets]


def cache_rows(
    source: HierarchySource,
    scenes: Sequence[LabelledScene],
    regimes: Regimes,
    voxels_per_scene: int,
    seed: int,
    targets: Targets | None = None,
) -> CachedRows:
    """Ask a source once about each scene that a regime needs.

    Args:
        source: Of the features of all levels.
        scenes: All training scenes.
        regimes: What probes may learn from.
        voxels_per_scene: Most voxels kept of a scene where all its points have labels, drawn; 0:
            all. Where few points have labels, their voxels are kept, and none else.
        seed: With the number of the scene, decides which are drawn.
        targets: From a scene, the voxel of each point and the (V, 3) places of voxels [m] to
            the objects of voxels; None: nobody asks for them.

    Raises:
        ConcertoError: A feature is not finite, or too large or too small for float16.
        SourceError: A scene cannot be read, or its objects are not told apart.
    """
    parts = []
    for number in followed(regimes.scenes_needed, 'training scenes'):
        scene = scenes[number]
        found = source(scene)
        labels = _labels(scene, number, found, regimes)
        voxels = {count: (label != IGNORED).nonzero()[:, 0] for count, label in labels.items()}
        if 0 in voxels:
            voxels[0] = draw_rows(voxels[0], voxels_per_scene, scene_generator(seed, number))
        kept = torch.unique(torch.cat(list(voxels.values())))
        offset, has_offset = _objects(scene, found, kept, targets)
        rows = _SceneRows(
            feat=_features(source, scene, found, kept),
            labelled={
                count: LabelledRows(
                    row=torch.searchsorted(kept, chosen),
                    label=labels[count][chosen],
                    scene=torch.full_like(chosen, number),
                )
                for count, chosen in voxels.items()
            },
            offset=offset,
            has_offset=has_offset,
        )
        parts.append(rows)
    return _joined(parts)


def voxel_places(scene: LabelledScene, inverse: Tensor, num_voxels: int) -> Tensor:
    """Return the (V, 3) float32 means of the points of each voxel [m].

    Args:
        scene: N points.
        inverse: (N,) int64, voxel of each.
        num_voxels: V.
    """
    coord = torch.from_numpy(scene.coord).to(inverse.device).double()
    total = coord.new_zeros(num_voxels, 3).index_add_(0, inverse, coord)
    count = torch.bincount(inverse, minlength=num_voxels)
    return (total / count.clamp(min=1)[:, None]).float()


def _labels(
    scene: LabelledScene, number: int, found: SceneFeatures, regimes: Regimes
) -> dict[int, Tensor]:
    """Return the (V,) labels of voxels that each number of labelled points leaves."""
    inverse, num_voxels = found.inverse.cpu(), found.features.num_points
    return {
        count: voxel_label(
            torch.from_numpy(regimes.keep(scene.segment, count, number)), inverse, num_voxels
        )
        for count in regimes.counts
    }


def _features(
    source: HierarchySource, scene: LabelledScene, found: SceneFeatures, kept: Tensor
) -> Tensor:
    """Return the (R, C) float16 features of the voxels that are kept, on the CPU."""
    return half_features(
        found.features.select(kept.to(found.inverse.device)),
        f'{scene.name}: features of {source.name}',
        'set sampling.normalize=level or linear.features=augmented',
        [part.stop - part.start for _, part in source.layout],
    )


def _objects(
    scene: LabelledScene, found: SceneFeatures, kept: Tensor, targets: Targets | None
) -> tuple[Tensor, Tensor]:
    """Return the (R, 3) offsets and (R,) has_offset of the voxels that are kept."""
    if targets is None:
        return torch.zeros(len(kept), 3), torch.zeros(len(kept), dtype=torch.bool)
    place = voxel_places(scene, found.inverse, found.features.num_points)
    told = targets(scene, found.inverse, place)
    return told.offset.cpu()[kept], told.has_offset.cpu()[kept]


def _joined(parts: Sequence[_SceneRows]) -> CachedRows:
    """Put the rows of scenes one after the other."""
    starts = torch.tensor([0, *(len(part.feat) for part in parts)]).cumsum(0).tolist()
    labelled = {}
    for count in parts[0].labelled:
        mine = [part.labelled[count] for part in parts]
        labelled[count] = LabelledRows(
            row=torch.cat([rows.row + start for rows, start in zip(mine, starts, strict=False)]),
            label=torch.cat([rows.label for rows in mine]),
            scene=torch.cat([rows.scene for rows in mine]),
        )
    return CachedRows(
        feat=RowParts([part.feat for part in parts]),
        labelled=labelled,
        offset=torch.cat([part.offset for part in parts]),
        has_offset=torch.cat([part.has_offset for part in parts]),
    )
