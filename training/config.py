"""Every value of training with its default, unit, range and sentence, written only here.

Defaults are those of the published pretraining (Concerto, arXiv 2510.23607, and its published
configuration for the base model); the README names each deliberate deviation.
"""

from dataclasses import dataclass
from typing import Literal

from concerto_ros.config.tree import param, section
from concerto_ros.errors import ConfigError

Precision = Literal['fp32', 'bf16']


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where a run happens and what it leaves behind."""

    output: str = param('runs/joint', 'Folder of checkpoints, logs and the effective settings.')
    seed: int = param(0, 'Start of all random numbers.', ge=0)
    device: str = param('auto', 'auto (CUDA if there is one), cpu, or cuda.')
    precision: Precision = param('bf16', 'Number format of forward and backward.')
    num_steps: int = param(88000, 'Optimiser steps of the whole run.', ge=1)
    save_every: int = param(500, 'Steps between checkpoints to resume from.', ge=1)
    keep_every: int = param(0, 'Steps between checkpoints that are kept; 0: only the last.', ge=0)
    log_every: int = param(10, 'Steps between progress lines and points in the logs.', ge=1)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which scenes are read, and how many at once."""

    splits: str = param(
        '', 'Files of splits (ROOT/splits/NAME.json) or shards (NAME-*.tar), by commas.'
    )
    batch_size: int = param(96, 'Scenes per step, over all ranks and accumulations.', ge=1)
    accumulation: int = param(1, 'Passes per optimiser step.', ge=1)
    num_workers: int = param(8, 'Processes per rank that read scenes and make views.', ge=0)
    voxel_size: float = param(0.02, 'Edge length of a voxel.', unit='m', gt=0.0)
    shard_cache: str = param(
        '', 'Folder that keeps copies of shards read over a network; empty: shards are local.'
    )
    max_images: int = param(4, 'Images per scene; of more, as many are drawn.', ge=0)


@dataclass(frozen=True, kw_only=True)
class ViewsConfig:
    """Parts of a scene that the networks see (published: section 4.6 of the specification)."""

    max_points: int = param(65536, 'Points of the principal view.', ge=1)
    second_low: float = param(0.4, 'Smallest second global view, as share.', gt=0.0, le=1.0)
    num_local: int = param(4, 'Local views.', ge=1)
    local_low: float = param(0.1, 'Smallest local view, as share.', gt=0.0, le=1.0)
    local_high: float = param(0.4, 'Largest local view, as share.', gt=0.0, le=1.0)

    def __post_init__(self) -> None:
        if self.local_low > self.local_high:
            raise ConfigError(
                f'views.local_low must not exceed views.local_high, '
                f'got {self.local_low} and {self.local_high}'
            )


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """How views differ from the scene."""

    image: bool = param(True, 'Tint and blur images a little; then tokens are not cached.')
    drop_color: float = param(0.2, 'Chance that a scene loses all colours.', ge=0.0, le=1.0)
    drop_normal: float = param(0.2, 'Chance that a scene loses all normals.', ge=0.0, le=1.0)
    drop_share: float = param(
        0.2, 'Share of points that lose colour (and, drawn anew, the normal).', ge=0.0, le=1.0
    )
    drop_share_chance: float = param(0.5, 'Chance that such a share is dropped.', ge=0.0, le=1.0)
    color: bool = param(True, 'Jitter brightness, contrast, saturation, hue, and tint.')
    spatial: bool = param(True, 'Scale, turn, tilt, flip, jitter and warp coordinates.')


@dataclass(frozen=True, kw_only=True)
class BackboneSection:
    """The network that is trained."""

    size: Literal['nano', 'tiny', 'small', 'base', 'large'] = param(
        'base', 'Published size, or nano: the 3 M parameters that a CPU trains.'
    )
    depths: str = param('', 'Blocks of each stage, by commas; empty: as the size has them.')
    channels: str = param('', 'Channels of each stage; empty: as the size has them.')
    heads: str = param('', 'Attention heads of each stage; empty: as the size has them.')
    drop_path: float = param(0.3, 'Largest share of dropped rows.', ge=0.0, le=0.9)
    initial: str = param('', 'Checkpoint to start from; empty: random weights.')


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """Self-distillation from the teacher."""

    hidden: int = param(4096, 'Hidden channels of the heads.', ge=1)
    embed: int = param(256, 'Channels that meet the prototypes.', ge=1)
    prototypes: int = param(4096, 'Prototypes.', ge=2)
    student_temp: float = param(0.1, "Temperature of the student's logits.", gt=0.0)
    teacher_temp: float = param(0.07, "Temperature of the teacher's logits.", gt=0.0)
    teacher_temp_start: float = param(0.04, 'The same at the first step.', gt=0.0)
    mask_size: float = param(0.4, 'Edge of a masked cell.', unit='m', gt=0.0)
    mask_size_start: float = param(0.1, 'The same at the first step.', unit='m', gt=0.0)
    mask_ratio: float = param(0.7, 'Share of the cells that are masked.', gt=0.0, le=0.99)
    mask_ratio_start: float = param(0.3, 'The same at the first step.', gt=0.0, le=0.99)
    mask_jitter: float = param(0.01, 'Noise on masked coordinates.', unit='m', ge=0.0)
    warmup: float = param(0.05, 'Share of steps until the values above.', ge=0.0, le=1.0)
    momentum: float = param(0.994, 'Share of itself the teacher keeps at first.', ge=0.0, le=1.0)
    match_radius: float = param(0.32, 'Farthest match between views.', unit='m', gt=0.0)
    up_cast_level: int = param(2, 'Steps from the coarsest stage to that of the loss.', ge=0)
    sinkhorn_iterations: int = param(3, 'Rounds of balancing the prototypes.', ge=1)
    mask_weight: float = param(0.125, 'Weight of masked view against teacher.', ge=0.0)
    roll_weight: float = param(0.125, 'Weight of masked view against the other one.', ge=0.0)
    unmask_weight: float = param(0.25, 'Weight of local views against teacher.', ge=0.0)


@dataclass(frozen=True, kw_only=True)
class CrossModalConfig:
    """Agreement of point features with the tokens of a frozen image encoder."""

    weight: float = param(0.5, 'Weight of the term; 0: train on points alone.', ge=0.0)
    scale: float = param(10.0, 'Factor of one minus cosine.', gt=0.0)
    up_cast_level: int = param(3, 'Steps from the coarsest stage to that of the term.', ge=0)
    image_encoder: str = param(
        'timm:vit_giant_patch14_reg4_dinov2.lvd142m',
        'timm:MODEL, open_clip:MODEL/PRETRAINED, or vit:FILE (trained by pretrain_image).',
    )
    image_size: int = param(518, 'Images are resized to this square.', unit='px', ge=8)
    token_cache: str = param(
        '', 'Folder of tokens, used while augmentation.image is off; empty: none.'
    )


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW on one cycle of the learning rate."""

    lr: float = param(0.004, 'Peak learning rate of the last layers.', gt=0.0)
    layer_decay: float = param(0.9, 'Factor per block from the last to the first.', gt=0.0, le=1.0)
    warmup: float = param(0.05, 'Share of steps until the peak.', gt=0.0, le=1.0)
    start_factor: float = param(0.1, 'First learning rate over the peak.', gt=0.0, le=1.0)
    end_factor: float = param(0.0001, 'Last learning rate over the peak.', gt=0.0, le=1.0)
    beta1_high: float = param(0.95, 'First momentum at the first and last step.', ge=0.0, le=0.999)
    beta1_low: float = param(0.85, 'First momentum at the peak.', ge=0.0, le=0.999)
    weight_decay: float = param(0.2, 'Weight decay at the last step.', ge=0.0)
    weight_decay_start: float = param(0.04, 'Weight decay at the first step.', ge=0.0)
    clip: float = param(3.0, 'Largest norm of the gradient.', gt=0.0)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """All values of joint 2D-3D pretraining."""

    run: RunConfig = section(RunConfig)
    data: DataConfig = section(DataConfig)
    views: ViewsConfig = section(ViewsConfig)
    augmentation: AugmentationConfig = section(AugmentationConfig)
    backbone: BackboneSection = section(BackboneSection)
    distillation: DistillationConfig = section(DistillationConfig)
    cross_modal: CrossModalConfig = section(CrossModalConfig)
    optimizer: OptimizerConfig = section(OptimizerConfig)
