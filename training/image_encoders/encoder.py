"""What all image encoders are to the rest of training."""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from concerto_ros.errors import ConfigError


class PixelStatistics(NamedTuple):
    """Of the images that a network was trained on.

    Attributes:
        mean: Of R, G, B in 0..1; it is taken off.
        std: It divides what is left.
    """

    mean: Sequence[float]
    std: Sequence[float]


class ImageEncoder(nn.Module):
    """A network that is never trained and stays in eval mode, whatever a trainer asks.

    Args:
        name: As the settings name it.
        network: With its weights.
        read_tokens: Calls it: (I, 3, S, S) float, normalised -> (I, P * P, D) tokens of the last
            layer after its norm, row by row, without class and register tokens.
        patch_size: Edge of a patch [px].
        num_channels: D.
        architecture: What `network` and `read_tokens` compute, but for weights; no path.
        pixels: How pixels are normalised before `network`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        network: nn.Module,
        read_tokens: Callable[[Tensor], Tensor],
        patch_size: int,
        num_channels: int,
        *,
        architecture: str,
        pixels: PixelStatistics,
    ) -> None:
        super().__init__()
        self.name = name
        self.patch_size = patch_size
        self.num_channels = num_channels
        self.architecture = architecture
        self.network = network
        self._read_tokens = read_tokens
        self.register_buffer('mean', torch.tensor(pixels.mean).view(3, 1, 1))
        self.register_buffer('std', torch.tensor(pixels.std).view(3, 1, 1))
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> 'ImageEncoder':
        """Stay in eval mode."""
        return super().train(False)

    def num_patches(self, image_size: int) -> int:
        """Return P, the patches per side of an image of that many pixels.

        Raises:
            ConfigError: The size is no multiple of the patch size.
        """
        if image_size < self.patch_size or image_size % self.patch_size:
            lower = max(1, image_size // self.patch_size) * self.patch_size
            raise ConfigError(
                f'the image size must be a multiple of {self.patch_size}, the patch size of '
                f'{self.name}: set it to {lower} or {lower + self.patch_size}, got {image_size}'
            )
        return image_size // self.patch_size

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return the tokens of images.

        Args:
            images: (I, 3, S, S) float32 RGB in 0..1, not normalised.

        Returns:
            (I, P * P, D) float32, row by row.

        Raises:
            ConfigError: S is no multiple of the patch size.
        """
        side = self.num_patches(images.shape[-1])
        if len(images) == 0:
            return images.new_zeros(0, side**2, self.num_channels)
        tokens: Tensor = self._read_tokens((images - self.mean) / self.std)
        return tokens.float()

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that differ for other architectures and weights.

        All values count, `mean` and `std` too; where the weights come from does not.
        """
        digest = hashlib.blake2b(self.architecture.encode(), digest_size=8)
        for name, value in self.state_dict().items():
            digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
            digest.update(value.cpu().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()
