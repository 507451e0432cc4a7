"""The sizes of the backbone by name."""

from concerto_ros.errors import ConfigError
from concerto_ros.model import BackboneConfig
from training.config import BackboneSection

# Depths, channels and heads of the stages. All but nano are the published sizes.
SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    'nano': ((1, 1, 1, 2, 1), (16, 32, 64, 128, 192), (1, 2, 4, 8, 12)),
    'tiny': ((1, 1, 1, 3, 1), (16, 32, 64, 128, 256), (1, 2, 4, 8, 16)),
    'small': ((2, 2, 2, 6, 2), (32, 64, 128, 256, 512), (2, 4, 8, 16, 32)),
    'base': ((3, 3, 3, 12, 3), (48, 96, 192, 384, 512), (3, 6, 12, 24, 32)),
    'large': ((3, 3, 3, 12, 3), (64, 128, 256, 512, 768), (4, 8, 16, 32, 48)),
}
_WINDOW = 1024  # rows that attend to each other


def backbone_config(section: BackboneSection) -> BackboneConfig:
    """Return the shape of the encoder that a section describes.

    Args:
        section: A size, of which depths, channels or heads may be replaced.

    Raises:
        ConfigError: The size is unknown, or what replaces a part of it is no list of positive
            integers or does not fit the rest.
    """
    if section.size not in SIZES:
        raise ConfigError(f'backbone.size must be one of {", ".join(SIZES)}, got {section.size!r}')
    depths, channels, heads = SIZES[section.size]
    channels = _numbers('channels', section.channels) or channels
    return BackboneConfig(
        enc_depths=_numbers('depths', section.depths) or depths,
        enc_channels=channels,
        enc_num_head=_numbers('heads', section.heads) or heads,
        enc_patch_size=(_WINDOW,) * len(channels),
        stride=(2,) * (len(channels) - 1),
        drop_path=section.drop_path,
    )


def _numbers(name: str, text: str) -> tuple[int, ...]:
    """Return the numbers of a list such as '1,1,2'; none if the text is empty."""
    try:
        return tuple(int(part) for part in text.split(',')) if text else ()
    except ValueError as err:
        raise ConfigError(
            f'backbone.{name} must be integers with commas, as in 1,1,2, got {text!r}'
        ) from err
