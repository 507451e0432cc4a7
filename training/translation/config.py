"""Every value of the training of translators with its default, unit, range and sentence."""

from dataclasses import dataclass
from typing import Literal

from concerto_ros.config.tree import param, section
from training.evaluation.config import DataSection, HeadOptimizerSection


@dataclass(frozen=True, kw_only=True)
class RunSection:
    """Where it runs and what it leaves behind."""

    output: str = param('runs/translate', 'Folder of the translator, the table and results.json.')
    seed: int = param(0, 'Start of all random numbers.', ge=0)
    device: str = param('auto', 'auto (CUDA if there is one), cpu, or cuda.')
    precision: Literal['fp32', 'bf16'] = param('fp32', 'Number format of the networks.')
    num_threads: int = param(
        0, 'Threads on a CPU; 0: as torch chooses. 1 where cores are shared.', ge=0
    )


@dataclass(frozen=True, kw_only=True)
class SourceSection:
    """The backbone whose features are translated."""

    checkpoint: str = param('random', 'Published name, file, or random: untrained weights.')
    size: Literal['nano', 'tiny', 'small', 'base', 'large'] = param(
        'nano', 'Size of an untrained network.'
    )


@dataclass(frozen=True, kw_only=True)
class TextSection:
    """The space that features are translated to."""

    encoder: str = param('open_clip:ViT-B-32/openai', 'Text encoder, named as for the node.')
    classes: str = param(
        '', 'YAML of texts that name classes, some held out; empty: class_texts.yaml of ours.'
    )


@dataclass(frozen=True, kw_only=True)
class ImagesSection:
    """What images say of points, in the space of texts; for the recipe without labels."""

    encoder: str = param(
        '', 'open_clip:MODEL/PRETRAINED of the space of text.encoder; empty: text.encoder itself.'
    )
    size: int = param(448, 'Images are resized to this square.', unit='px', ge=8)
    embeddings: str = param(
        '',
        'Folder beside the folder color of images, with an (h, w, D) .npy for each image; they '
        'take the place of the encoder.',
    )


@dataclass(frozen=True, kw_only=True)
class TranslatorSection:
    """The linear map."""

    recipe: Literal['labels', 'images'] = param(
        'labels', 'labels: texts that name the classes of points; images: what images say of them.'
    )
    num_steps: int = param(2000, 'Optimiser steps.', ge=1)
    batch_size: int = param(4096, 'Voxels per step.', ge=1)
    voxels_per_scene: int = param(4096, 'Voxels of a scene that are used, drawn; 0: all.', ge=0)


@dataclass(frozen=True, kw_only=True)
class TranslateConfig:
    """All values of the training of a translator."""

    run: RunSection = section(RunSection)
    data: DataSection = section(DataSection)
    source: SourceSection = section(SourceSection)
    text: TextSection = section(TextSection)
    images: ImagesSection = section(ImagesSection)
    translator: TranslatorSection = section(TranslatorSection)
    optimizer: HeadOptimizerSection = section(HeadOptimizerSection)
