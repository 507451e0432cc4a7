"""Makes the source of features that the settings name, and shows it the images it needs."""

from collections.abc import Callable, Sequence

import torch

from concerto_ros.errors import SourceError
from training.datasets.patch_grid import PatchGrid
from training.evaluation.backbone_features import BackboneFeatures, load_backbone
from training.evaluation.config import ProbeConfig, SourceSection
from training.evaluation.features import FeatureSource
from training.evaluation.joined_features import JoinedSource
from training.evaluation.lifted_features import LiftedFeatures
from training.evaluation.probe_scenes import ProbeScenes
from training.evaluation.raw_features import RawFeatures
from training.image_encoders import ImageEncoder, TokenCache, fill_cache, make_image_encoder

_IMAGES = 8  # that are encoded at once
Maker = Callable[[ProbeConfig, torch.device, Sequence[ProbeScenes]], FeatureSource]


def make_source(
    config: ProbeConfig, device: torch.device, scenes: Sequence[ProbeScenes]
) -> FeatureSource:
    """Return the source of features.

    Args:
        config: Names it.
        device: Where it runs.
        scenes: Will be asked for their features; from now on they come with images or tokens if
            the source needs them.

    Raises:
        ConfigError: The image encoder is unknown, or does not take that size.
        CheckpointError: Weights cannot be used.
        BackendUnavailable: The library of the image encoder is missing.
        SourceError: An image cannot be read.
    """
    makers: dict[str, Maker] = {
        'backbone': _backbone, 'raw': _raw, 'lifted': _lifted, 'concat': _concat,
    }  # fmt: skip
    return makers[config.source.kind](config, device, scenes)


def _backbone(
    config: ProbeConfig, device: torch.device, scenes: Sequence[ProbeScenes]
) -> FeatureSource:
    model = load_backbone(config.source.checkpoint, config.source.size, config.run.seed)
    name, voxel_size = config.source.checkpoint, config.data.voxel_size
    return BackboneFeatures(model, name, voxel_size, device, config.run.precision)


def _raw(
    config: ProbeConfig, device: torch.device, scenes: Sequence[ProbeScenes]
) -> FeatureSource:
    return RawFeatures(config.data.voxel_size, device)


def _lifted(
    config: ProbeConfig, device: torch.device, scenes: Sequence[ProbeScenes]
) -> FeatureSource:
    source = config.source
    encoder = make_image_encoder(source.image_encoder, source.image_size).to(device)
    grid = PatchGrid(image_size=source.image_size, patch_size=encoder.patch_size)
    tokens = _filled_cache(source, encoder, scenes) if source.token_cache else None
    for part in scenes:
        part.show_images(grid, tokens)
    return LiftedFeatures(encoder, config.data.voxel_size, device)


def _concat(
    config: ProbeConfig, device: torch.device, scenes: Sequence[ProbeScenes]
) -> FeatureSource:
    return JoinedSource(_backbone(config, device, scenes), _lifted(config, device, scenes))


def _filled_cache(
    source: SourceSection, encoder: ImageEncoder, scenes: Sequence[ProbeScenes]
) -> TokenCache:
    cache = TokenCache(source.token_cache, encoder, source.image_size)
    files = [path for part in scenes for path in part.images]
    failed = fill_cache(cache, files, encoder, source.image_size, _IMAGES)
    if failed:
        raise SourceError(f'{len(failed)} images cannot be used, the first: {failed[0]}')
    return cache
