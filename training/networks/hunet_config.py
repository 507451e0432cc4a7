"""The numbers that define one network of the paper, and the published ones by name."""

from dataclasses import dataclass

from concerto_ros.errors import ConfigError
from concerto_ros.model import BackboneConfig
from concerto_ros.model.serialization import CURVES, MAX_DEPTH


@dataclass(frozen=True, slots=True, kw_only=True)
class HUNetConfig:
    """Shape of a U-Net of sparse convolutions and serialised attention; tuples are finest first.

    Attributes:
        encoder: Channels of the encoder at each level.
        decoder: Channels of the decoder at each level; at the coarsest as the encoder's.
        convolution: Blocks of convolutions at each level, in encoder and in decoder.
        attention: Blocks of attention after them, likewise.
        heads: Of attention at each level; not read where there is none.
        drop_path: Largest chance that a branch of a block skips a cloud in training; it grows
            with the blocks of the encoder and falls with those of the decoder.
        attention_dropout: Share of the attention weights that is dropped in training.
        reach: Places along the curve, each way, that a row attends to.

    Raises:
        ConfigError: Lengths disagree, or a value is out of range.
    """

    encoder: tuple[int, ...]
    decoder: tuple[int, ...]
    convolution: tuple[int, ...]
    attention: tuple[int, ...]
    heads: tuple[int, ...]
    drop_path: float = 0.0
    attention_dropout: float = 0.1
    reach: int = 512

    def __post_init__(self) -> None:
        lengths = {len(v) for v in (self.decoder, self.convolution, self.attention, self.heads)}
        if lengths != {len(self.encoder)} or not self.encoder:
            raise ConfigError(
                'encoder, decoder, convolution, attention and heads must have one value for each '
                f'level, got {lengths} beside {len(self.encoder)}'
            )
        if self.encoder[-1] != self.decoder[-1]:
            raise ConfigError(
                'encoder and decoder must be equally wide at the coarsest level, '
                f'got {self.encoder[-1]} and {self.decoder[-1]}'
            )
        for level, heads in enumerate(self.heads):
            widths = self.encoder[level], self.decoder[level]
            if self.attention[level] and (heads < 1 or any(width % heads for width in widths)):
                raise ConfigError(f'channels {widths} do not divide into {heads} heads')
        if not (0 <= self.drop_path < 1 and 0 <= self.attention_dropout < 1 and self.reach >= 0):
            raise ConfigError('drop_path and attention_dropout must be in [0, 1), reach from 0 on')

    @property
    def geometry(self) -> BackboneConfig:
        """What makes `make_plan` give all four curves where there is attention."""
        num_levels = len(self.encoder)
        return BackboneConfig(
            stride=(2,) * (num_levels - 1),
            enc_depths=tuple(len(CURVES) if blocks else 1 for blocks in self.attention),
            enc_channels=self.encoder,
            enc_num_head=(1,) * num_levels,
            enc_patch_size=(2 * self.reach + 1,) * num_levels,
        )

    @property
    def depth(self) -> tuple[int, ...]:
        """Of the curves, for `make_plan`: the published code takes the same at all levels."""
        return (MAX_DEPTH,) * len(self.encoder)


# Hermosilla, Stippel, Sick, Masked Scene Modeling, arXiv 2504.06719: tables 12 and 13. Levels of
# nano are those of table 13, from 4 cm to 32 cm, and its widths are ours: what a CPU trains.
SIZES: dict[str, HUNetConfig] = {
    'released': HUNetConfig(
        encoder=(32, 64, 128, 256, 384),
        decoder=(64, 96, 128, 256, 384),
        convolution=(2, 2, 2, 2, 2),
        attention=(0, 0, 0, 2, 2),
        heads=(4, 8, 16, 32, 48),
    ),
    'ablation': HUNetConfig(
        encoder=(64, 128, 256, 384),
        decoder=(96, 128, 256, 384),
        convolution=(2, 2, 2, 2),
        attention=(0, 0, 2, 2),
        heads=(8, 16, 32, 48),
    ),
    'nano': HUNetConfig(
        encoder=(24, 48, 80, 112),
        decoder=(32, 48, 80, 112),
        convolution=(1, 1, 1, 1),
        attention=(0, 0, 1, 1),
        heads=(3, 6, 10, 14),
    ),
}
