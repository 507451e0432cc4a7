"""Patches of CLIP models in the space of their texts."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from concerto_ros.errors import ConfigError
from training.image_encoders.encoder import ImageEncoder, PixelStatistics
from training.image_encoders.open_clip_encoder import load_open_clip


def load_dense_clip(name: str, image_size: int) -> ImageEncoder:
    """Load a vision transformer of open_clip whose patches can be compared with texts.

    Only the class token of CLIP was trained to agree with texts. In its last block, attention
    gathers the values of patches into it, so it is they that hold what texts name. Here each token
    of the last block attends to itself alone, and what comes out goes through the same norm and
    projection as the class token does.

    Args:
        name: open_clip:MODEL/PRETRAINED, a tag or a file.
        image_size: Of the images that it will get [px].

    Returns:
        An encoder of the width of the texts. Its tokens have any length.

    Raises:
        ConfigError: There is no such model, or it is no vision transformer with a class token, or
            it does not take images of that size.
        CheckpointError: The weights cannot be had.
        BackendUnavailable: open_clip is not installed.

    Source: MaskCLIP: Zhou, Loy, Dai, Extract Free Dense Labels from CLIP, arXiv 2112.01071,
        section 3.2.
    """
    if not name.startswith('open_clip:') or '/' not in name:
        raise ConfigError(
            f'patches in the space of texts come from open_clip:MODEL/PRETRAINED, got "{name}": '
            'name one in images.encoder, or embeddings of pixels in images.embeddings'
        )
    plain = load_open_clip(name, image_size)
    plain.num_patches(image_size)
    tower: Any = plain.network
    if not _projects_class_token(tower):
        raise ConfigError(
            f'{name} does not pool its patches into a class token, so they are not in the space '
            'of texts: choose one such as open_clip:ViT-B-16/openai, or give images.embeddings'
        )
    return ImageEncoder(
        name, tower, _token_reader(tower), plain.patch_size, tower.proj.shape[1],
        architecture=f'dense-{plain.architecture}',
        pixels=PixelStatistics(plain.mean.flatten().tolist(), plain.std.flatten().tolist()),
    )  # fmt: skip


def _projects_class_token(tower: Any) -> bool:
    is_pooled = getattr(tower, 'pool_type', '') == 'tok' and tower.attn_pool is None
    return is_pooled and tower.proj is not None


def _token_reader(tower: Any) -> Callable[[Tensor], Tensor]:
    *blocks, last = tower.transformer.resblocks

    def read(images: Tensor) -> Tensor:
        x = tower._embeds(images)
        for block in blocks:
            x = block(x)
        x = last(x, attn_mask=_self_alone(x))
        tokens: Tensor = tower.ln_post(x)[:, 1:] @ tower.proj
        return tokens

    return read


def _self_alone(x: Tensor) -> Tensor:
    """Return the (T, T) mask with which each of T tokens attends to itself."""
    num_tokens = x.shape[1]
    return x.new_full((num_tokens, num_tokens), float('-inf')).fill_diagonal_(0)
