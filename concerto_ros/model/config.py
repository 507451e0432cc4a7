"""The numbers that define one Point Transformer V3 encoder, under their published names."""

from dataclasses import dataclass

from concerto_ros.errors import ConfigError
from concerto_ros.model.serialization import CURVES


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneConfig:
    """Shape of an encoder; the defaults are those of the published base model.

    Attributes:
        in_channels: Channels of the input feature: 3 coordinates, 3 colours, 3 of the normal.
        order: Space-filling curves; block i of a stage reads its windows along curve i.
        stride: Voxels per cell of the next stage, along an axis; powers of two.
        enc_depths: Blocks of each stage.
        enc_channels: Feature channels of each stage.
        enc_num_head: Attention heads of each stage.
        enc_patch_size: Rows in an attention window of each stage.
        mlp_ratio: Hidden channels of the MLP per feature channel.
        drop_path: Share of rows whose last branch is dropped in training; earlier blocks less.
        mask_token: There is a learned feature for masked rows (pretraining).

    Raises:
        ConfigError: Lengths disagree, or a value is out of range.
    """

    in_channels: int = 9
    order: tuple[str, ...] = CURVES
    stride: tuple[int, ...] = (2, 2, 2, 2)
    enc_depths: tuple[int, ...] = (3, 3, 3, 12, 3)
    enc_channels: tuple[int, ...] = (48, 96, 192, 384, 512)
    enc_num_head: tuple[int, ...] = (3, 6, 12, 24, 32)
    enc_patch_size: tuple[int, ...] = (1024, 1024, 1024, 1024, 1024)
    mlp_ratio: float = 4
    drop_path: float = 0.3
    mask_token: bool = True

    def __post_init__(self) -> None:
        self._check_lengths()
        if not self.order or any(curve not in CURVES for curve in self.order):
            raise ConfigError(f'order must name curves of {CURVES}, got {self.order}')
        if any(s < 1 or s & (s - 1) for s in self.stride):
            raise ConfigError(f'stride must hold powers of two, got {self.stride}')
        for channels, heads in zip(self.enc_channels, self.enc_num_head, strict=True):
            if heads < 1 or channels < 1 or channels % heads:
                raise ConfigError(f'enc_channels {channels} do not divide into {heads} heads')
        if min(*self.enc_depths, *self.enc_patch_size, self.in_channels, self.mlp_ratio) <= 0:
            raise ConfigError(
                'in_channels, enc_depths, enc_patch_size and mlp_ratio must be positive'
            )
        if not 0 <= self.drop_path < 1:
            raise ConfigError(f'drop_path must be in [0, 1), got {self.drop_path}')

    def _check_lengths(self) -> None:
        num_stages = len(self.enc_channels)
        for name in ('enc_depths', 'enc_num_head', 'enc_patch_size'):
            if len(getattr(self, name)) != num_stages:
                raise ConfigError(
                    f'{name} must have one value per stage ({num_stages} as enc_channels), '
                    f'got {getattr(self, name)}'
                )
        if num_stages < 1 or len(self.stride) != num_stages - 1:
            raise ConfigError(
                f'stride must have one value less than enc_channels ({num_stages}), '
                f'got {self.stride}'
            )

    @property
    def num_stages(self) -> int:
        """Stages of the encoder, the input's resolution included."""
        return len(self.enc_channels)

    @property
    def out_channels(self) -> int:
        """Channels of the feature concatenated over all stages, the input of linear heads."""
        return sum(self.enc_channels)
