"""Every value of training an image encoder of our own, with its default and sentence."""

from dataclasses import dataclass

from concerto_ros.config.tree import param, section
from concerto_ros.errors import ConfigError
from training.config import DataConfig, DistillationConfig, OptimizerConfig, RunConfig
from training.image_encoders.small_vit import VitConfig


@dataclass(frozen=True, kw_only=True)
class ImageDataConfig:
    """Which images are read, and how many at once."""

    splits: str = param(
        '', 'Files of splits (ROOT/splits/NAME.json) or shards (NAME-*.tar), by commas.'
    )
    batch_size: int = param(32, 'Images per step, over all ranks and accumulations.', ge=1)
    accumulation: int = param(1, 'Passes per optimiser step.', ge=1)
    num_workers: int = param(2, 'Processes per rank that read images and cut crops.', ge=0)

    def batches(self) -> DataConfig:
        """Return what tells which items make a batch."""
        return DataConfig(batch_size=self.batch_size, accumulation=self.accumulation)


@dataclass(frozen=True, kw_only=True)
class CropsConfig:
    """Parts of an image that the networks see; global ones have network.image_size."""

    global_low: float = param(0.3, 'Smallest global crop, as share of the area.', gt=0.0, le=1.0)
    num_local: int = param(4, 'Local crops.', ge=1)
    local_size: int = param(64, 'Edge of a local crop.', unit='px', ge=8)
    local_low: float = param(0.05, 'Smallest local crop, as share of the area.', gt=0.0, le=1.0)
    local_high: float = param(0.25, 'Largest local crop, as share of the area.', gt=0.0, le=1.0)
    jitter: float = param(0.4, 'Largest change of brightness, contrast, colour.', ge=0.0, le=1.0)
    gray: float = param(0.1, 'Chance that a crop loses its colours.', ge=0.0, le=1.0)

    def __post_init__(self) -> None:
        if self.local_low > self.local_high:
            raise ConfigError(
                'crops.local_low must not exceed crops.local_high, '
                f'got {self.local_low} and {self.local_high}'
            )


@dataclass(frozen=True, kw_only=True)
class ImageDistillationConfig:
    """Self-distillation from the teacher."""

    hidden: int = param(512, 'Hidden channels of the head.', ge=1)
    embed: int = param(128, 'Channels that meet the prototypes.', ge=1)
    prototypes: int = param(256, 'Prototypes.', ge=2)
    student_temp: float = param(0.1, "Temperature of the student's logits.", gt=0.0)
    teacher_temp: float = param(0.05, "Temperature of the teacher's logits.", gt=0.0)
    teacher_temp_start: float = param(0.04, 'The same at the first step.', gt=0.0)
    mask_size: int = param(2, 'Edge of a masked cell, in patches.', ge=1)
    mask_ratio: float = param(0.5, 'Share of the cells that are masked.', gt=0.0, le=0.99)
    mask_ratio_start: float = param(0.3, 'The same at the first step.', gt=0.0, le=0.99)
    warmup: float = param(0.05, 'Share of steps until the values above.', ge=0.0, le=1.0)
    momentum: float = param(0.98, 'Share of itself the teacher keeps at first.', ge=0.0, le=1.0)
    sinkhorn_iterations: int = param(3, 'Rounds of balancing the prototypes.', ge=1)
    mask_weight: float = param(0.5, 'Weight of masked patches against the teacher.', gt=0.0)
    place_weight: float = param(0.5, 'Weight of equal places in different crops.', gt=0.0)

    def points(self) -> DistillationConfig:
        """Return what changes with the step, as the settings of points have it."""
        return DistillationConfig(
            teacher_temp=self.teacher_temp,
            teacher_temp_start=self.teacher_temp_start,
            mask_ratio=self.mask_ratio,
            mask_ratio_start=self.mask_ratio_start,
            warmup=self.warmup,
            momentum=self.momentum,
        )


@dataclass(frozen=True, kw_only=True)
class ImageTrainingConfig:
    """All values of training an image encoder of our own."""

    run: RunConfig = section(RunConfig)
    data: ImageDataConfig = section(ImageDataConfig)
    network: VitConfig = section(VitConfig)
    crops: CropsConfig = section(CropsConfig)
    distillation: ImageDistillationConfig = section(ImageDistillationConfig)
    optimizer: OptimizerConfig = section(OptimizerConfig)

    def __post_init__(self) -> None:
        if self.crops.local_size % self.network.patch_size:
            raise ConfigError(
                f'crops.local_size must be a multiple of network.patch_size '
                f'{self.network.patch_size}, got {self.crops.local_size}'
            )
