"""The numbers that define one Point Transformer V3 network, under their published names."""

from dataclasses import dataclass

from concerto_ros.errors import ConfigError
from concerto_ros.model.serialization import CURVES


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneConfig:
    """Shape of a network; the defaults are those of the published base model.

    Attributes:
        in_channels: Channels of the input feature: 3 coordinates, 3 colours, 3 of the normal.
        order: Space-filling curves; block i of a stage reads its windows along curve i.
        stride: Voxels per cell of the next stage, along an axis; powers of two.
        enc_depths: Blocks of each stage.
        enc_channels: Feature channels of each stage.
        enc_num_head: Attention heads of each stage.
        enc_patch_size: Rows in an attention window of each stage.
        enc_mode: There is no decoder, and what is said of one below is not read.
        dec_depths: Blocks of each stage of the decoder, finest first; the coarsest has none.
        dec_channels: Feature channels of each stage of the decoder.
        dec_num_head: Attention heads of each stage of the decoder.
        dec_patch_size: Sizes the position tables of the decoder's attention. Its windows are
            those of the encoder, as in the published network, so the two should agree.
        mlp_ratio: Hidden channels of the MLP per feature channel.
        qkv_bias: Queries, keys and values have a bias.
        pre_norm: Attention and MLP normalise their input; otherwise the sum they are added to.
        layer_scale: Initial factor of a learned gain on attention and MLP; None: no gain.
        enable_rpe: Attention adds a learned bias that depends on relative position.
        enable_flash: Windows have the patch size in every cloud, and a shorter cloud is one
            window. Otherwise the smallest cloud of a batch bounds the windows of all, as the
            published network does where flash attention is switched off: then the result for a
            cloud depends on the others.
        shuffle_orders: The published network draws the order of the curves at random at the
            first stage too; matters under `reference=True` only.
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
    enc_mode: bool = True
    dec_depths: tuple[int, ...] = (3, 3, 3, 3)
    dec_channels: tuple[int, ...] = (96, 96, 192, 384)
    dec_num_head: tuple[int, ...] = (6, 6, 12, 32)
    dec_patch_size: tuple[int, ...] = (1024, 1024, 1024, 1024)
    mlp_ratio: float = 4
    qkv_bias: bool = True
    pre_norm: bool = True
    layer_scale: float | None = None
    enable_rpe: bool = False
    enable_flash: bool = True
    shuffle_orders: bool = True
    drop_path: float = 0.3
    mask_token: bool = True

    def __post_init__(self) -> None:
        num_stages = len(self.enc_channels)
        if num_stages < 1 or len(self.stride) != num_stages - 1:
            raise ConfigError(
                f'stride must have one value less than enc_channels ({num_stages}), '
                f'got {self.stride}'
            )
        if not self.order or any(curve not in CURVES for curve in self.order):
            raise ConfigError(f'order must name curves of {CURVES}, got {self.order}')
        if any(s < 1 or s & (s - 1) for s in self.stride):
            raise ConfigError(f'stride must hold powers of two, got {self.stride}')
        if min(self.in_channels, self.mlp_ratio) <= 0:
            raise ConfigError('in_channels and mlp_ratio must be positive')
        if not 0 <= self.drop_path < 1:
            raise ConfigError(f'drop_path must be in [0, 1), got {self.drop_path}')
        self._check_stages('enc', num_stages)
        if not self.enc_mode:
            self._check_stages('dec', num_stages - 1)

    def _check_stages(self, part: str, num_stages: int) -> None:
        names = [f'{part}_{n}' for n in ('depths', 'channels', 'num_head', 'patch_size')]
        for name in names:
            values = getattr(self, name)
            if len(values) != num_stages:
                raise ConfigError(
                    f'{name} must have one value for each of {num_stages} stages, got {values}'
                )
            if min(values, default=1) < 1:
                raise ConfigError(f'{name} must be positive, got {values}')
        _, widths, heads, _ = (getattr(self, name) for name in names)
        for channels, num_heads in zip(widths, heads, strict=True):
            if channels % num_heads:
                raise ConfigError(
                    f'{part}_channels {channels} do not divide into {num_heads} heads'
                )

    @property
    def num_stages(self) -> int:
        """Stages of the encoder, the input's resolution included."""
        return len(self.enc_channels)

    @property
    def out_channels(self) -> int:
        """Channels of the feature concatenated over all stages, the input of linear heads."""
        return sum(self.enc_channels)
