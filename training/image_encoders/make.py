"""From the name of an image encoder in the settings to the encoder."""

from concerto_ros.errors import ConfigError
from training.image_encoders.encoder import ImageEncoder
from training.image_encoders.open_clip_encoder import load_open_clip
from training.image_encoders.small_vit import load_vit_encoder
from training.image_encoders.timm_encoder import load_timm


def make_image_encoder(name: str, image_size: int) -> ImageEncoder:
    """Make an image encoder.

    Args:
        name: One of

            - timm:MODEL, weights from the model hub or its cache, or timm:MODEL@FILE;
            - open_clip:MODEL/PRETRAINED, a tag of open_clip or a file;
            - vit:FILE, of `training.pretrain_image` or `save_vit`.
        image_size: S of the images it will get.

    Raises:
        ConfigError: The name has another form, there is no such model, or it does not take
            images of that size.
        CheckpointError: The weights are missing or damaged.
        BackendUnavailable: timm or open_clip is not installed.
    """
    kind, _, rest = name.partition(':')
    model, _, pretrained = rest.partition('/')
    if kind == 'timm' and rest:
        encoder = load_timm(name, image_size)
    elif kind == 'open_clip' and model and pretrained:
        encoder = load_open_clip(name, image_size)
    elif kind == 'vit' and rest:
        encoder = load_vit_encoder(name)
    else:
        raise ConfigError(
            'an image encoder is timm:MODEL, timm:MODEL@FILE, open_clip:MODEL/PRETRAINED or '
            f'vit:FILE, got "{name}"'
        )
    encoder.num_patches(image_size)
    return encoder
