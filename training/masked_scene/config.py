"""Every value of masked scene modelling with its default, unit, range and sentence.

Defaults are what is published of it (Hermosilla, Stippel, Sick, Masked Scene Modeling, CVPR 2025,
arXiv 2504.06719), and where that is silent, what the README of this folder recommends.
"""

import math
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from concerto_ros.config.tree import param, section
from concerto_ros.errors import ConfigError
from training.config import DataConfig, RunConfig
from training.networks.config import NetworkSection

_COARSEST = 'coarsest'
T = TypeVar('T', int, float)


@dataclass(frozen=True, kw_only=True)
class MaskedViewsConfig:
    """The two full views of a scene, the crops of the student, and how views differ."""

    max_points: int = param(
        0, 'Points of a scene that the views are made of, nearest to one of them; 0: all.', ge=0
    )
    crop_size: int = param(240_000, 'Voxels of a view that the student sees.', ge=1)
    spatial: bool = param(True, 'Scale, turn, tilt, flip and jitter coordinates.')
    elastic: bool = param(False, 'Warp coordinates as well; only with views.spatial.')
    color: bool = param(True, 'Jitter brightness, contrast, saturation, hue, and tint.')
    drop_color: float = param(0.0, 'Chance that a view loses all colours.', ge=0.0, le=1.0)
    drop_normal: float = param(0.0, 'Chance that a view loses all normals.', ge=0.0, le=1.0)

    def __post_init__(self) -> None:
        if self.elastic and not self.spatial:
            raise ConfigError('views.elastic warps what views.spatial moves: set views.spatial')


@dataclass(frozen=True, kw_only=True)
class MaskingConfig:
    """What the encoder of the student is not shown."""

    ratio: float = param(0.4, 'Share of the cells that are hidden.', gt=0.0, le=0.99)
    level: str = param(
        _COARSEST, 'Level whose cells are drawn: coarsest, or a number, 0 for single voxels.'
    )

    def __post_init__(self) -> None:
        if self.level != _COARSEST and not self.level.isdecimal():
            raise ConfigError(
                f'masking.level must be {_COARSEST} or a number from 0 on, got {self.level!r}'
            )

    def level_of(self, num_levels: int) -> int:
        """Return the number of the level.

        Raises:
            ConfigError: There is no such level.
        """
        level = num_levels - 1 if self.level == _COARSEST else int(self.level)
        if level >= num_levels:
            raise ConfigError(f'masking.level must be below {num_levels}, got {self.level}')
        return level


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """How predictions at hidden cells are compared with their targets."""

    distance: Literal['cosine', 'smooth_l1', 'mse'] = param(
        'cosine', 'One minus cosine, smooth L1 (beta 1), or mean squared error.'
    )
    target_norm: Literal['none', 'layer', 'batch', 'whiten'] = param(
        'none',
        "layer: each teacher's feature gets mean 0 and variance 1 over its channels; batch: each "
        'of its channels, over the cells of a level in a pass; whiten: channels get no '
        'correlation either.',
    )
    levels: str = param('all', 'Levels that are compared: all, last, or numbers by commas.')
    weights: str = param('', 'Weights of these levels, by commas; empty: equal, with sum 1.')
    head: Literal['mlp', 'linear'] = param(
        'mlp', "Of each level, after the student's decoder: two linear layers with GELU, or one."
    )

    def level_weights(self, num_levels: int) -> dict[int, float]:
        """Return the weight of each level that is compared, finest first; their sum is 1.

        Raises:
            ConfigError: `loss.levels` or `loss.weights` is no such list, or they do not fit.
        """
        named = {'all': range(num_levels), 'last': (0,)}
        levels = named.get(self.levels) or _numbers('loss.levels', self.levels, int)
        if sorted(set(levels)) != list(levels) or not 0 <= levels[0] <= levels[-1] < num_levels:
            raise ConfigError(
                f'loss.levels must be all, last, or growing numbers below {num_levels} with '
                f'commas, got {self.levels!r}'
            )
        text = self.weights or ','.join('1' * len(levels))
        weights = _numbers('loss.weights', text, float)
        if len(weights) != len(levels) or min(weights) <= 0 or not sum(weights) < math.inf:
            raise ConfigError(
                f'loss.weights must be one positive number for each of {len(levels)} levels, '
                f'got {self.weights!r}'
            )
        return {lv: weight / sum(weights) for lv, weight in zip(levels, weights, strict=True)}


def _numbers(name: str, text: str, kind: type[T]) -> list[T]:
    try:
        return [kind(part) for part in text.split(',')]
    except ValueError as err:
        raise ConfigError(f'{name} must be numbers with commas, as in 0,2, got {text!r}') from err


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """The slow copy of the student that gives the targets."""

    momentum: float = param(0.996, 'Share of itself it keeps at first.', ge=0.0, le=1.0)
    momentum_last: float = param(1.0, 'The same at the last step.', ge=0.0, le=1.0)


@dataclass(frozen=True, kw_only=True)
class CollapseConfig:
    """What is watched: the teacher's features, and whether the student uses what it sees."""

    least_rank: float = param(
        0.1,
        "Smallest effective rank of the teacher's features, as share of the channels.",
        ge=0.0,
        le=1.0,
    )
    patience: int = param(
        100,
        'Steps in a row below it, after the warm-up, until a level is named; the run stops where '
        'that is true of all levels.',
        ge=1,
    )
    blind_every: int = param(
        100,
        'Steps between those that also tell the losses of a student that is shown zeros as '
        'features; 0: never.',
        ge=0,
    )


@dataclass(frozen=True, kw_only=True)
class MaskedOptimizerConfig:
    """AdamW; the learning rate rises in a line and falls along half a cosine."""

    lr: float = param(0.0015, 'Peak learning rate.', gt=0.0)
    warmup: float = param(60 / 1800, 'Share of steps until the peak.', ge=0.0, le=1.0)
    beta1: float = param(0.9, 'First momentum.', ge=0.0, le=0.999)
    beta2: float = param(0.95, 'Second momentum.', ge=0.0, le=0.9999)
    weight_decay: float = param(0.05, 'Weight decay.', ge=0.0)
    clip: float = param(3.0, 'Largest norm of the gradient.', gt=0.0)


def _run() -> RunConfig:
    return RunConfig(output='runs/msm', num_steps=180_000)  # 1800 epochs of 1201 scans


def _data() -> DataConfig:
    return DataConfig(batch_size=12, max_images=0)


@dataclass(frozen=True, kw_only=True)
class MaskedConfig:
    """All values of masked scene modelling; `data.max_images` is not read."""

    run: RunConfig = field(default_factory=_run)
    data: DataConfig = field(default_factory=_data)
    views: MaskedViewsConfig = section(MaskedViewsConfig)
    network: NetworkSection = section(NetworkSection)
    masking: MaskingConfig = section(MaskingConfig)
    target: Literal['teacher', 'shallow'] = param(
        'teacher',
        "What is predicted: the teacher's features; or colours and normals, where teacher.* and "
        'collapse.* are not read but for collapse.blind_every.',
    )
    loss: LossConfig = section(LossConfig)
    teacher: TeacherConfig = section(TeacherConfig)
    collapse: CollapseConfig = section(CollapseConfig)
    optimizer: MaskedOptimizerConfig = section(MaskedOptimizerConfig)

    def __post_init__(self) -> None:
        if self.target == 'shallow':
            self._check_shallow()

    def _check_shallow(self) -> None:
        if self.loss.distance == 'cosine':
            raise ConfigError(
                'loss.distance cosine does not tell how bright a colour is: with target shallow '
                'set it to smooth_l1 or mse'
            )
        if self.loss.target_norm == 'layer':
            raise ConfigError(
                'loss.target_norm layer takes away how bright a colour is: with target shallow '
                'set it to none, batch or whiten'
            )
        if self.views.drop_color or self.views.drop_normal:
            raise ConfigError(
                'views.drop_color and views.drop_normal take away what target shallow is about: '
                'set both to 0'
            )
