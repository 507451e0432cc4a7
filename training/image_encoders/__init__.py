"""Frozen image encoders: pixels in, one token per patch out.

Example:
    encoder = make_image_encoder('timm:vit_small_patch14_reg4_dinov2.lvd142m', image_size=518)
    tokens = encoder(images)  # (I, 3, 518, 518) in 0..1 -> (I, 37 * 37, 384)
"""

from training.image_encoders.encoder import ImageEncoder, PixelStatistics
from training.image_encoders.make import make_image_encoder
from training.image_encoders.small_vit import SmallViT, VitConfig, load_vit, save_vit
from training.image_encoders.token_cache import TokenCache, fill_cache

__all__ = [
    'ImageEncoder',
    'PixelStatistics',
    'SmallViT',
    'TokenCache',
    'VitConfig',
    'fill_cache',
    'load_vit',
    'make_image_encoder',
    'save_vit',
]
