"""ConcertoEncoder: the stages of Point Transformer V3 as levels."""

from itertools import accumulate
from operator import mul

import torch

from concerto_ros.errors import ConfigError
from concerto_ros.model import (
    INDOOR,
    PointTransformerV3,
    load_checkpoint,
    precision,
)
from concerto_ros.published_weights import PUBLISHED
from training.datasets.labelled import LabelledScene
from training.evaluation.backbone_features import RANDOM, encoder_of, load_backbone
from training.evaluation.voxels import voxels_and_origin
from training.protocol.encoders.facts import MEAN, frozen, network_facts
from training.protocol.hierarchy import Hierarchy, Level

_OUTDOOR = 'large_outdoor'


class ConcertoEncoder:
    """All stages of an encoder, fed as the node feeds it: voxels are the mean of their points.

    Args:
        network: Moved to `device`, frozen; without a decoder.
        name: For the tables.
        voxel_size: Of its input [m].
        device: Where it runs.
        number_format: As for `concerto_ros.model.precision`.
    """

    def __init__(
        self,
        network: PointTransformerV3,
        name: str,
        voxel_size: float,
        device: torch.device,
        number_format: str,
    ) -> None:
        self.name = name
        self.num_channels = network.config.enc_channels
        self.last = len(self.num_channels) - 1
        self.facts = network_facts(network, voxel_size, MEAN)
        self.network = frozen(network, device)
        self._strides = tuple(accumulate((1, *network.config.stride), mul))
        self._voxel_size = voxel_size
        self._device, self.number_format = device, number_format

    @torch.no_grad()
    def __call__(self, scene: LabelledScene) -> Hierarchy:
        """Return the features of a scene, finest stage first."""
        prepared, origin = voxels_and_origin(scene, self._voxel_size, self._device)
        with precision(self.number_format, self._device):
            pyramid = self.network(prepared.points)
        levels = tuple(
            Level(
                name=f'encoder {i}', feat=stage.feat.float(), coord=stage.grid_coord, stride=stride
            )
            for i, (stage, stride) in enumerate(zip(pyramid.levels, self._strides, strict=True))
        )
        return Hierarchy(levels=levels, voxel_size=self._voxel_size, origin=origin)


def load_concerto(
    checkpoint: str, size: str, seed: int, voxel_size: float
) -> tuple[PointTransformerV3, float]:
    """Return an encoder on the CPU, and the size of the voxels that it was trained on [m].

    Args:
        checkpoint: As for `load_backbone`.
        size: Of untrained weights.
        seed: Of untrained weights.
        voxel_size: Of an encoder that is untrained or does not tell [m].

    Raises:
        CheckpointError: The file cannot be used.
        ConfigError: The weights are for outdoor scans.
    """
    if checkpoint == _OUTDOOR:
        raise ConfigError(
            f'concerto:{checkpoint} wants outdoor scans, scaled and centred in another way than '
            'the rooms of this protocol: choose concerto:large'
        )
    if checkpoint == RANDOM:
        return load_backbone(checkpoint, size, seed), voxel_size
    model, report = load_checkpoint(checkpoint)
    known = INDOOR.voxel_size if checkpoint in PUBLISHED else report.voxel_size
    return encoder_of(model), known or voxel_size
