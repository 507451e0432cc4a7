"""Every value of the instance probe with its default, written only here.

Defaults are published: optimiser and passes by arXiv 2504.06719 (Table 16, ScanNet), the rest by
the open configuration of PointGroup whose values that table repeats.
"""

from dataclasses import dataclass
from typing import Literal

from concerto_ros.config.tree import param


@dataclass(frozen=True, kw_only=True)
class InstanceSection:
    """The instance probe: classes and offsets to centres, then clusters."""

    offset_head: Literal['linear', 'mlp'] = param(
        'linear',
        'linear: offsets are a linear map of the features; mlp: linear, batch norm, ReLU, linear. '
        'Which of them is published is not known.',
    )
    standardize: bool = param(
        True,
        'Give channels mean 0 and variance 1 over the training set, and rows length 1 on average; '
        'whether published is not known. Otherwise one learning rate would favour sources of '
        'large numbers or many channels.',
    )
    epochs: int = param(200, 'Passes over the training scenes.', ge=1)
    batch_size: int = param(12, 'Scenes per step, with all their cached voxels.', ge=1)
    lr: float = param(0.1, 'First learning rate of SGD.', gt=0.0)
    power: float = param(0.9, 'The learning rate falls with (1 - share of steps) ** power.', gt=0)
    momentum: float = param(0.9, 'Of SGD.', ge=0.0, le=1.0)
    weight_decay: float = param(0.0001, 'Of SGD.', ge=0.0)
    excluded: str = param(
        'wall, floor',
        'Classes without objects, by commas. Published: wall, floor on ScanNet and ScanNet200, '
        'none on S3DIS; rooms55 has a ceiling besides.',
    )
    clusters: Literal['shifted', 'both'] = param(
        'shifted',
        'shifted: clusters of voxels moved by their offsets; both: of unmoved ones too, and of '
        'two that overlap the one with the higher score (PointGroup as first published).',
    )
    radius: float = param(
        1.5, 'Voxels of a class this near are in one cluster.', unit='voxels', gt=0.0
    )
    min_voxels: int = param(100, 'A cluster of more voxels is a proposal.', ge=0)
    overlap: float = param(0.3, 'Of clusters whose IoU is higher, both keeps one.', ge=0.0, le=1.0)
