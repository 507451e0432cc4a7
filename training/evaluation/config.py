"""Every value of probes with its default, unit, range and sentence, written only here.

Defaults are those of the published probes (Concerto, arXiv 2510.23607, and the published
configurations of the base model on ScanNet); the README names each deliberate deviation.
"""

from dataclasses import dataclass
from typing import Literal

from concerto_ros.config.tree import param, section
from concerto_ros.errors import ConfigError

Method = Literal['linear', 'knn', 'decoder', 'full', 'lora', 'encoder']


@dataclass(frozen=True, kw_only=True)
class RunSection:
    """Where a probe runs and what it leaves behind."""

    output: str = param('runs/probe', 'Folder of the head, the table and results.json.')
    seed: int = param(0, 'Start of all random numbers.', ge=0)
    device: str = param('auto', 'auto (CUDA if there is one), cpu, or cuda.')
    precision: Literal['fp32', 'bf16'] = param('fp32', 'Number format of the network.')
    log_every: int = param(10, 'Steps between progress lines of a tuning.', ge=1)
    num_threads: int = param(
        0, 'Threads on a CPU; 0: as torch chooses. 1 where cores are shared.', ge=0
    )


@dataclass(frozen=True, kw_only=True)
class ProbeSection:
    """What is done."""

    method: Method = param(
        'linear',
        'linear: linear head on frozen features; knn: nearest training voxels vote; decoder: '
        'decoder and head; full: the whole network; lora: low-rank changes and linear head; '
        'encoder: the whole encoder and linear head, as the node runs them.',
    )
    scene_share: float = param(
        1.0, 'Share of the training scenes, drawn; published: 0.01, .05, .1, .2.', gt=0.0, le=1.0
    )
    points_per_scene: int = param(
        0, 'Labelled points per training scene, drawn; published: 20 to 200; 0: all.', ge=0
    )
    test_time_variants: bool = param(
        False,
        'Sum the probabilities of 13 turned, scaled or flipped variants of a validation scene, '
        'as published results do.',
    )


@dataclass(frozen=True, kw_only=True)
class DataSection:
    """Labelled scenes in the layout of pretraining."""

    train: str = param('', 'Files of splits (ROOT/splits/NAME.json) to train on, by commas.')
    validation: str = param('', 'Files of splits to evaluate on, by commas; all their points.')
    segment: str = param('segment20', 'File of labels in the folder of a cloud, without .npy.')
    vocabulary: str = param(
        'scannet20', 'scannet20, scannet200, s3dis13, rooms55, or names of the classes by commas.'
    )
    voxel_size: float = param(0.02, 'Edge length of a voxel.', unit='m', gt=0.0)


@dataclass(frozen=True, kw_only=True)
class SourceSection:
    """Where the features come from."""

    kind: Literal['backbone', 'raw', 'lifted', 'concat'] = param(
        'backbone',
        'backbone: all stages of the network; raw: colour, normal, height; lifted: tokens of '
        'images; concat: backbone and lifted side by side.',
    )
    checkpoint: str = param('random', 'Published name, file, or random: untrained weights.')
    size: Literal['nano', 'tiny', 'small', 'base', 'large'] = param(
        'nano', 'Size of an untrained network.'
    )
    image_encoder: str = param(
        'timm:vit_giant_patch14_reg4_dinov2.lvd142m',
        'timm:MODEL, open_clip:MODEL/PRETRAINED, or vit:FILE (trained by pretrain_image).',
    )
    image_size: int = param(518, 'Images are resized to this square.', unit='px', ge=8)
    token_cache: str = param('', 'Folder of tokens of images; empty: none is kept.')


@dataclass(frozen=True, kw_only=True)
class LinearSection:
    """The linear probe."""

    features: Literal['cached', 'augmented'] = param(
        'cached',
        'cached: features of plain scenes, computed once; augmented: of cropped, augmented '
        'scenes, anew in each step (published).',
    )
    standardize: bool = param(
        True,
        'Give channels mean 0 and variance 1 over the training set; published: no. Otherwise '
        'one learning rate would favour sources of large numbers.',
    )
    num_steps: int = param(2000, 'Steps on cached features.', ge=1)
    batch_size: int = param(4096, 'Voxels per step on cached features.', ge=1)
    voxels_per_scene: int = param(4096, 'Voxels of a scene that are cached, drawn; 0: all.', ge=0)


@dataclass(frozen=True, kw_only=True)
class KnnSection:
    """The k-NN probe: neighbours vote, weighted by cosine."""

    k: int = param(20, 'Neighbours that vote.', ge=1)
    temperature: float = param(0.07, 'Votes weigh exp(cosine / temperature).', gt=0.0)
    voxels_per_scene: int = param(64, 'Voxels of a scene in the memory, drawn.', ge=1)
    standardize: bool = param(True, 'As for the linear probe.')


@dataclass(frozen=True, kw_only=True)
class TuningSection:
    """Training on scenes: decoder probe, LoRA, full fine-tuning, linear on augmented scenes."""

    num_steps: int = param(15000, 'Optimiser steps.', ge=1)
    batch_size: int = param(64, 'Scenes per step.', ge=1)
    accumulation: int = param(1, 'Passes per step; each takes a part of the scenes.', ge=1)
    num_workers: int = param(8, 'Processes that read and augment scenes.', ge=0)
    max_points: int = param(102400, 'Voxels nearest to a drawn one that are kept.', ge=1)
    mix_chance: float = param(
        0.8, 'Chance that two scenes are laid into each other (Mix3D).', ge=0.0, le=1.0
    )
    augment: bool = param(True, 'Drop, turn, scale, flip, jitter and warp points, shift colours.')
    decoder_depth: int = param(2, 'Blocks of each stage of the decoder.', ge=1)

    def __post_init__(self) -> None:
        if self.batch_size % self.accumulation:
            raise ConfigError(
                f'tuning.batch_size must be a multiple of tuning.accumulation, '
                f'got {self.batch_size} and {self.accumulation}'
            )


@dataclass(frozen=True, kw_only=True)
class LoraSection:
    """Low-rank changes to the queries, keys and values of the encoder."""

    rank: int = param(8, 'Rank of the change of each layer.', ge=1)
    alpha: float = param(16.0, 'The change is scaled by alpha / rank.', gt=0.0)
    dropout: float = param(0.1, 'Share of inputs that the change misses.', ge=0.0, le=0.9)


@dataclass(frozen=True, kw_only=True)
class HeadOptimizerSection:
    """AdamW on one cycle of the learning rate."""

    lr: float = param(0.002, 'Peak learning rate.', gt=0.0)
    block_factor: float = param(
        0.1, 'Factor on it for parameters of blocks, those of decoder and LoRA included.', gt=0.0
    )
    weight_decay: float = param(0.02, 'Weight decay.', ge=0.0)
    warmup: float = param(0.05, 'Share of steps until the peak.', gt=0.0, le=1.0)
    start_factor: float = param(0.1, 'First learning rate over the peak.', gt=0.0, le=1.0)
    end_factor: float = param(0.0001, 'Last learning rate over the peak.', gt=0.0, le=1.0)
    clip: float = param(3.0, 'Largest norm of the gradient.', gt=0.0)


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """All values of a probe."""

    run: RunSection = section(RunSection)
    probe: ProbeSection = section(ProbeSection)
    data: DataSection = section(DataSection)
    source: SourceSection = section(SourceSection)
    linear: LinearSection = section(LinearSection)
    knn: KnnSection = section(KnnSection)
    tuning: TuningSection = section(TuningSection)
    lora: LoraSection = section(LoraSection)
    optimizer: HeadOptimizerSection = section(HeadOptimizerSection)
