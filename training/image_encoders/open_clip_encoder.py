"""Image towers of CLIP models, by open_clip."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from training.image_encoders.encoder import ImageEncoder, PixelStatistics
from training.image_encoders.libraries import (
    import_library,
    loading_weights,
    no_places,
    unknown_model,
)
from training.image_encoders.timm_encoder import trunk_encoder


def load_open_clip(name: str, image_size: int) -> ImageEncoder:
    """Load the image tower of open_clip:MODEL/PRETRAINED, a tag or a file.

    Raises:
        ConfigError: open_clip has no such model, or it is no vision transformer.
        CheckpointError: The weights cannot be had, or are of another model.
        BackendUnavailable: open_clip is not installed.
    """
    model, _, pretrained = name.removeprefix('open_clip:').partition('/')
    open_clip = import_library('open_clip', 'open_clip_torch')
    if open_clip.get_model_config(model) is None:
        raise unknown_model('open_clip', model, open_clip.list_models())
    # Weights of OpenAI are of models with another activation than the named one; a file counts
    # as the tag that it is named after.
    tag = Path(pretrained).stem if Path(pretrained).is_file() else pretrained
    quick_gelu = open_clip.get_pretrained_cfg(model, tag).get('quick_gelu', False)
    with loading_weights(name, 'open_clip:MODEL/FILE'):
        tower = open_clip.create_model(
            model, pretrained=pretrained, force_image_size=image_size, force_quick_gelu=quick_gelu
        ).visual
    pixels = PixelStatistics(tower.image_mean, tower.image_std)
    if hasattr(tower, 'trunk'):
        trunk = tower.trunk
        if hasattr(trunk, 'set_input_size'):  # open_clip does not tell timm the image size
            trunk.set_input_size(img_size=image_size)
        return trunk_encoder(name, trunk, pixels)
    if not hasattr(tower, 'patch_size'):
        raise no_places(name)
    return ImageEncoder(
        name, tower, _token_reader(tower), tower.patch_size[0],
        len(tower.class_embedding), pixels=pixels,
        architecture=f'open_clip-{model}{"-quickgelu" if quick_gelu else ""}',
    )  # fmt: skip


def _token_reader(tower: Any) -> Callable[[Tensor], Tensor]:
    # Where an attention pools the tokens, the last norm is that of the pooled ones.
    has_norm = tower.attn_pool is None

    def read(images: Tensor) -> Tensor:
        layers = tower.forward_intermediates(
            images, indices=1, normalize_intermediates=has_norm, intermediates_only=True,
            output_fmt='NLC',
        )  # fmt: skip
        tokens: Tensor = layers['image_intermediates'][-1]
        return tokens

    return read
