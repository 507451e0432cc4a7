"""SmallViT: a small vision transformer of our own, for places without a model hub."""

import dataclasses
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from concerto_ros.config.tree import build, param
from concerto_ros.errors import CheckpointError, ConfigError
from concerto_ros.weights_file import read_weights, write_weights
from training.image_encoders.encoder import ImageEncoder, PixelStatistics

_MEAN, _STD = 0.5, 0.25  # of pixels in 0..1, about those of indoor images
_TEACHER = 'teacher.vit.'  # where a state of training holds the better of its two networks


@dataclass(frozen=True, kw_only=True)
class VitConfig:
    """The network."""

    image_size: int = param(128, 'Images it is made for; other sizes will do.', unit='px', ge=8)
    patch_size: int = param(16, 'Edge of a patch, a power of two.', unit='px', ge=2)
    channels: int = param(192, 'Channels of a token.', ge=1)
    depth: int = param(6, 'Blocks.', ge=1)
    heads: int = param(3, 'Attention heads of a block.', ge=1)

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size or self.channels % self.heads:
            raise ConfigError(
                'image_size must be a multiple of patch_size, and channels of heads, got '
                f'{self.image_size}, {self.patch_size}, {self.channels} and {self.heads}'
            )
        if self.patch_size & (self.patch_size - 1):
            raise ConfigError(f'patch_size must be a power of two, got {self.patch_size}')


class SmallViT(nn.Module):
    """Vision transformer with norms before its layers, learned positions and a register.

    Convolutions instead of one large filter make its patches: with few images it learns sooner.

    Source: Dosovitskiy et al., arXiv 2010.11929; masked tokens as in iBOT, arXiv 2111.07832; the
        register, a token that belongs to no patch, from Darcet et al., arXiv 2309.16588.
    """

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        side, c = config.image_size // config.patch_size, config.channels
        self.stem = _stem(c, config.patch_size)
        self.register = nn.Parameter(torch.zeros(c))
        self.mask_token = nn.Parameter(torch.zeros(c))
        self.position = nn.Parameter(torch.zeros(1, c, side, side))
        self.blocks = nn.ModuleList(Block(c, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(c)
        for weight in (self.register, self.mask_token, self.position):
            nn.init.trunc_normal_(weight, std=0.02)
        self.apply(_init)

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compute the tokens after the last norm.

        Args:
            images: (I, 3, S, S) float RGB in 0..1, not normalised; S a multiple of the patch.
            mask: (I, P * P) bool, patches that the network shall not see.

        Returns:
            (I, P * P, C) tokens of the patches, row by row.
        """
        x = (images - _MEAN) / _STD
        if mask is not None:  # the stem must not see them either
            side = images.shape[-1] // self.config.patch_size
            hidden = mask.view(-1, 1, side, side).to(x.dtype)
            x = x * (1 - functional.interpolate(hidden, x.shape[-2:]))
        x = self.stem(x)
        position = self._position_of(x.shape[-1])
        x = x.flatten(2).mT
        if mask is not None:
            x = torch.where(mask[..., None], self.mask_token.to(x.dtype), x)
        x = x + position.flatten(2).mT
        x = torch.cat([self.register.expand(len(x), 1, -1).to(x.dtype), x], dim=1)
        for block in self.blocks:
            x = block(x)
        tokens: Tensor = self.norm(x[:, 1:])
        return tokens

    def _position_of(self, side: int) -> Tensor:
        """Return (1, C, side, side), stretched over another number of patches if need be."""
        if side == self.position.shape[-1]:
            return self.position
        return functional.interpolate(
            self.position.float(), (side, side), mode='bicubic', antialias=True
        )


class Block(nn.Module):
    """Attention between the tokens, then two layers on each."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x_ITC: Tensor) -> Tensor:
        """Return (I, T, C) tokens."""
        qkv = self.qkv(self.norm1(x_ITC)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(*qkv.unbind())  # (I, heads, T, C / heads)
        x = x_ITC + self.proj(seen.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


def _stem(channels: int, patch_size: int) -> nn.Sequential:
    """Return convolutions from pixels to patches, each of which halves the image.

    Their filters are even, so that a token sees as much on all sides of its patch.

    Source: Xiao et al., Early convolutions help transformers see better, arXiv 2106.14881.
    """
    count = patch_size.bit_length() - 1
    widths = [3, *(max(8, channels >> (count - 1 - i)) for i in range(count))]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        halve = nn.Conv2d(before, after, 4, 2, 1, bias=False)
        layers += [halve, nn.GroupNorm(1, after), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv2d(channels, channels, 1))


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def save_vit(vit: SmallViT, path: str | Path) -> None:
    """Write a network with its config, as .pth or .safetensors.

    Raises:
        CheckpointError: The file cannot be written.
    """
    write_weights(path, vit_settings(vit.config), vit.state_dict())


def vit_settings(config: VitConfig) -> dict[str, Any]:
    """Return what a file of weights says of the network."""
    return {'small_vit': dataclasses.asdict(config)}


def load_vit(path: str | Path) -> SmallViT:
    """Read what `save_vit` or the training of images wrote; of the latter, the teacher.

    Raises:
        CheckpointError: The file is missing, damaged, or of another network.
    """
    config, tensors = read_weights(path)
    if 'small_vit' not in config:
        raise CheckpointError(
            f'{path}: is no file of our vision transformer; make one by training.pretrain_image'
        )
    own = {n.removeprefix(_TEACHER): t for n, t in tensors.items() if n.startswith(_TEACHER)}
    try:
        vit = SmallViT(build(VitConfig, config['small_vit']))
        vit.load_state_dict(own or tensors)
    except (ConfigError, RuntimeError, TypeError) as err:
        raise CheckpointError(f'{path}: config and weights disagree ({err})') from err
    return vit


def load_vit_encoder(name: str) -> ImageEncoder:
    """Load vit:FILE.

    Raises:
        CheckpointError: The file is missing, damaged, or of another network.
    """
    vit = load_vit(name.removeprefix('vit:'))
    return ImageEncoder(
        name, vit, vit, vit.config.patch_size, vit.config.channels,
        architecture='-'.join(map(str, ('vit', *dataclasses.astuple(vit.config)))),
        pixels=PixelStatistics(mean=(0.0,) * 3, std=(1.0,) * 3),
    )  # fmt: skip
