"""What a translator learns from: labelled scenes, or scenes with images alone."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from concerto_ros.errors import ConfigError
from concerto_ros.semantics import TextEncoder
from training.datasets.labelled import join_samples
from training.datasets.split_files import SampleFiles, read_split
from training.evaluation.features import FeatureSource
from training.evaluation.probe_scenes import ProbeScenes
from training.evaluation.training_rows import collect_rows
from training.image_encoders.dense_clip import load_dense_clip
from training.translation.class_texts import EmbeddedTexts
from training.translation.config import TranslateConfig
from training.translation.image_rows import collect_image_rows
from training.translation.linear_map import FollowImages, NameClasses, Objective
from training.translation.pixel_texts import EncodedPixels, PixelTexts, StoredPixels

_CLOUD_FILES = ('coord', 'color', 'normal')


class Lesson(NamedTuple):
    """What a translator is trained with.

    Attributes:
        feat: (R, C) float16, of voxels, on the CPU.
        objective: With a target for each of them.
        num_scenes: That they come from.
        files: That were read for it.
    """

    feat: Tensor
    objective: Objective
    num_scenes: int
    files: list[Path]


def learn_from_labels(
    config: TranslateConfig, source: FeatureSource, texts: EmbeddedTexts
) -> Lesson:
    """Return labelled voxels, which are to find the texts of their classes.

    Raises:
        ConfigError: No split is named.
        SourceError: A scene cannot be read, or a label names no class.
        ConcertoError: No voxel has a label.
    """
    c = config
    scenes = ProbeScenes('data.train', c.data.train, c.data.segment, len(texts.trained))
    rows = collect_rows(source, scenes, c.translator.voxels_per_scene, c.run.seed)
    objective = NameClasses(texts.trained, rows.label)
    return Lesson(rows.feat, objective, len(scenes), list(scenes.cloud_files()))


def learn_from_images(
    config: TranslateConfig, source: FeatureSource, encoder: TextEncoder, device: torch.device
) -> Lesson:
    """Return voxels that images see, which are to have the direction of what images show.

    Raises:
        ConfigError: No split is named, or images are read in another space than texts.
        CheckpointError: The weights of the image encoder cannot be had.
        BackendUnavailable: Its library is missing.
        SourceError: A file cannot be read.
        ConcertoError: No image sees a point.
    """
    c = config
    scenes = _scenes(c.data.train)
    pixels = _pixel_texts(c, encoder, device)
    rows = collect_image_rows(source, scenes, pixels, c.translator.voxels_per_scene, c.run.seed)
    files = [path for scene in scenes for path in _files(scene)]
    return Lesson(rows.feat, FollowImages(rows.target), len(scenes), files)


def _pixel_texts(
    config: TranslateConfig, encoder: TextEncoder, device: torch.device
) -> PixelTexts:
    images = config.images
    if images.embeddings:
        return StoredPixels(images.embeddings, encoder.dim, device)
    dense = load_dense_clip(images.encoder or config.text.encoder, images.size).to(device)
    if dense.num_channels != encoder.dim:
        raise ConfigError(
            f'images.encoder {dense.name} gives {dense.num_channels} numbers and text.encoder '
            f'{encoder.name} {encoder.dim}: name the two towers of one model'
        )
    return EncodedPixels(dense, images.size, device)


def _scenes(splits: str) -> list[SampleFiles]:
    """Return each scene of some splits once, with all its images."""
    names = [name.strip() for name in splits.split(',') if name.strip()]
    if not names or any(name.endswith('.tar') for name in names):
        raise ConfigError(
            f'"data.train" must name splits, ROOT/splits/NAME.json, and no shards, got "{splits}"'
        )
    return join_samples([sample for name in names for sample in read_split(Path(name))])


def _files(scene: SampleFiles) -> list[Path]:
    arrays = (scene.cloud / f'{name}.npy' for name in _CLOUD_FILES)
    return [*(path for path in arrays if path.is_file()), *scene.images, *scene.correspondences]
