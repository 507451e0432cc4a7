"""ClassHead: a linear classifier of point features."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concerto_ros.errors import CheckpointError
from concerto_ros.semantics.backbone_check import check_trained_on
from concerto_ros.semantics.labels import SCANNET20, make_labels
from concerto_ros.semantics.linear_features import LinearFeatures
from concerto_ros.structures import Labels
from concerto_ros.weights_file import read_weights, write_weights

_WEIGHT, _BIAS = 'seg_head.weight', 'seg_head.bias'  # names in the published heads


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassHead:
    """One logit per class, `weight @ feature + bias`, on the feature of all stages.

    Attributes:
        weight: (L, C) float32.
        bias: (L,) float32.
        names: Name of each class.
        vocabulary: Name of the set of classes.
        backbone: Digest of the weights whose features it takes; empty: not known.

    Raises:
        CheckpointError: Shapes or the number of names disagree, or a number is not finite.
    """

    weight: Tensor
    bias: Tensor
    names: tuple[str, ...]
    vocabulary: str
    backbone: str = ''

    def __post_init__(self) -> None:
        num_classes = len(self.names)
        shapes = tuple(self.weight.shape), tuple(self.bias.shape)
        if self.weight.ndim != 2 or len(self.weight) != num_classes or shapes[1] != (num_classes,):
            raise CheckpointError(
                f'a head of {num_classes} names needs weight ({num_classes}, C) and bias '
                f'({num_classes},), got {shapes[0]} and {shapes[1]}'
            )
        if not (self.weight.isfinite().all() and self.bias.isfinite().all()):
            raise CheckpointError('the weights of the class head are not finite: train it again')

    @classmethod
    def load(cls, path: str | Path) -> 'ClassHead':
        """Read a head saved by `save`, or a published linear probe, onto the CPU.

        A published probe has no names; with 20 classes it is taken for ScanNet's.

        Raises:
            CheckpointError: The file is missing, damaged, or not a class head.
        """
        config, tensors = read_weights(path)
        if set(tensors) != {_WEIGHT, _BIAS}:
            raise CheckpointError(
                f'{path}: a class head holds {_WEIGHT} and {_BIAS}, found {sorted(tensors)[:5]}'
            )
        try:
            names, vocabulary = _names(config, len(tensors[_BIAS]))
            return cls(
                weight=tensors[_WEIGHT].to(torch.float32, copy=True),
                bias=tensors[_BIAS].to(torch.float32, copy=True),
                names=names,
                vocabulary=vocabulary,
                backbone=str(config.get('backbone', '')),
            )
        except (CheckpointError, TypeError) as err:
            raise CheckpointError(f'{path}: {err}') from err

    def save(
        self, path: str | Path, origin: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Write a .pth or .safetensors in the published format, with names.

        Args:
            path: Replaced if it exists.
            origin: How it came about, as in `concerto_ros.weights_file.Weights`.

        Raises:
            CheckpointError: The suffix is unknown, or the file cannot be written.
        """
        config = {
            'backbone_out_channels': self.weight.shape[1],
            'num_classes': len(self.names),
            'names': list(self.names),
            'vocabulary': self.vocabulary,
            'backbone': self.backbone,
        }
        write_weights(path, config, {_WEIGHT: self.weight, _BIAS: self.bias}, origin)

    def check_backbone(self, digest: str) -> None:
        """Refuse a backbone that the head was not trained on.

        Args:
            digest: Of its weights.

        Raises:
            CheckpointError: It is another; the message tells the cure.
        """
        check_trained_on('class head', self.backbone, digest, 'training.probe')

    @property
    def labels(self) -> Labels:
        """Names and colours of the ids that `predict` returns."""
        if self.names == SCANNET20.names[1:]:
            return SCANNET20
        return make_labels(self.vocabulary, self.names)

    @torch.inference_mode()
    def predict(self, features: LinearFeatures) -> tuple[Tensor, Tensor]:
        """Classify every point.

        Returns:
            label: (N,) uint16, 1 + number of the most probable class.
            confidence: (N,) float32, its probability.

        Raises:
            CheckpointError: The head was made for features of another width.
        """
        probability = features.linear(self.weight, self.bias).float().softmax(1)
        confidence, best = probability.max(1)
        return (best + 1).to(torch.uint16), confidence


def _names(config: dict[str, Any], num_classes: int) -> tuple[tuple[str, ...], str]:
    if 'names' in config:
        return tuple(config['names']), str(config.get('vocabulary', 'custom'))
    if num_classes == len(SCANNET20.names) - 1:
        return SCANNET20.names[1:], SCANNET20.vocabulary
    return tuple(f'class {i}' for i in range(num_classes)), 'unnamed'
