"""A backbone with a linear head, of which some parts learn and others are frozen."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from concerto_ros.model import BackboneConfig, FeaturePyramid, PointBatch, PointTransformerV3

_HEAD_CHANNELS = 16  # of attention, in every published network
_LEAST_CHANNELS = 64  # of the decoder


class SegmentationNetwork(nn.Module):
    """Logits of voxels from the decoded feature, or from that of all stages.

    Args:
        backbone: Gives a `FeaturePyramid`.
        head: Linear, on the feature that the backbone gives.
        frozen: Parts that stay as they are; in eval mode even while the rest trains.
    """

    def __init__(
        self, backbone: nn.Module, head: nn.Linear, frozen: Sequence[nn.Module] = ()
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self._frozen = tuple(module.requires_grad_(False) for module in frozen)

    def train(self, mode: bool = True) -> 'SegmentationNetwork':
        """Set the mode of what learns."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, points: PointBatch) -> Tensor:
        """Return (V, L) logits."""
        pyramid: FeaturePyramid = self.backbone(points)
        if pyramid.decoded is not None:
            logits: Tensor = self.head(pyramid.decoded)
            return logits
        return pyramid.linear(self.head.weight, self.head.bias)


def with_decoder(encoder: PointTransformerV3, depth: int, seed: int) -> PointTransformerV3:
    """Return a network with the weights of an encoder and a new decoder, without gradients yet.

    Args:
        encoder: Trained.
        depth: Blocks of each stage of the decoder.
        seed: Of the decoder's weights; leaves the global generator alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PointTransformerV3(decoder_config(encoder.config, depth))
    model.load_state_dict({**model.state_dict(), **encoder.state_dict()})
    return model.requires_grad_(True)


def decoder_config(config: BackboneConfig, depth: int) -> BackboneConfig:
    """Return the configuration of a network with a decoder.

    Its stages are as wide as those of the encoder, and at least 64: 64, 96, 192, 384 for the
    base model, as published.
    """
    channels = tuple(max(c, _LEAST_CHANNELS) for c in config.enc_channels[:-1])
    return replace(
        config,
        enc_mode=False,
        dec_depths=(depth,) * len(channels),
        dec_channels=channels,
        dec_num_head=tuple(c // _HEAD_CHANNELS for c in channels),
        dec_patch_size=config.enc_patch_size[:-1],
    )
