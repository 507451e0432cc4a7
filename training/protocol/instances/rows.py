"""What the instance probe learns from: voxels with their class and the way to their object."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concerto_ros.errors import SourceError
from training.datasets.labelled import LabelledScene
from training.evaluation.training_rows import FeatureRows
from training.evaluation.voxels import voxel_label
from training.structures import IGNORED


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InstanceRows:
    """Voxels of all training scenes; all but the features are on the CPU.

    Attributes:
        feat: (R, C) float.
        label: (R,) int64; `IGNORED` where unknown.
        offset: (R, 3) float32 [m], from the voxel to the centre of its object.
        has_offset: (R,) bool, voxels of objects; the offset of others means nothing.
        scene: (R,) int64 number of the scene, never falling.
    """

    feat: FeatureRows
    label: Tensor
    offset: Tensor
    has_offset: Tensor
    scene: Tensor

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InstanceTargets:
    """What is known of the voxels of a scene.

    Attributes:
        label: (V,) int64; `IGNORED` where unknown.
        offset: (V, 3) float32 [m], from the voxel to the centre of its object; zero without one.
        has_offset: (V,) bool, voxels of objects.
    """

    label: Tensor
    offset: Tensor
    has_offset: Tensor


def voxel_targets(
    scene: LabelledScene, inverse: Tensor, position: Tensor, has_objects: Tensor
) -> InstanceTargets:
    """Return what each voxel should be told.

    The centre of an object is the mean place of its labelled voxels.

    Args:
        scene: With objects.
        inverse: (N,) int64, voxel of each raw point.
        position: (V, 3) float [m].
        has_objects: (L,) bool, classes that consist of objects.

    Returns:
        On the device of `position`.

    Raises:
        SourceError: The objects of the scene are not told apart.
    """
    segment = torch.from_numpy(scene.segment).to(position.device)
    instance = torch.from_numpy(known_instances(scene)).to(position.device)
    label = voxel_label(segment, inverse, len(position))
    thing = voxel_label(
        torch.where(_is_object(segment, has_objects), instance, IGNORED), inverse, len(position)
    )
    has_offset = (thing != IGNORED) & _is_object(label, has_objects)
    offset = torch.zeros(len(position), 3, device=position.device)
    offset[has_offset] = _to_centers(position[has_offset].double(), thing[has_offset]).float()
    return InstanceTargets(label=label, offset=offset, has_offset=has_offset)


def known_instances(scene: LabelledScene) -> NDArray[np.int64]:
    """Return the (N,) object of each point; none is `IGNORED`.

    Raises:
        SourceError: The objects of the scene are not told apart.
    """
    if scene.instance is None:
        raise SourceError(
            f'{scene.name} has no instance.npy, so its objects are not told apart: prepare it '
            'with `training.prepare rooms` or scannet, or leave out the instance probe'
        )
    return scene.instance


def _is_object(label: Tensor, has_objects: Tensor) -> Tensor:
    return (label != IGNORED) & has_objects.to(label.device)[label.clamp(min=0)]


def _to_centers(position: Tensor, thing: Tensor) -> Tensor:
    """Return (M, 3), from each place to the mean of those with the same number."""
    _, row, count = torch.unique(thing, return_inverse=True, return_counts=True)
    total = position.new_zeros(len(count), 3).index_add_(0, row, position)
    to_center: Tensor = (total / count[:, None])[row] - position
    return to_center
