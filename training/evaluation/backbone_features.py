"""Features of a frozen backbone, as the node has them."""

import logging
import math
from dataclasses import replace
from typing import Any

import torch

from concerto_ros.model import (
    FeaturePyramid,
    PointTransformerV3,
    Recipe,
    load_checkpoint,
    precision,
)
from training.backbone_sizes import backbone_config
from training.config import BackboneSection
from training.datasets.labelled import LabelledScene
from training.evaluation.features import DenseFeatures, PyramidFeatures, SceneFeatures
from training.evaluation.voxels import scene_voxels

_log = logging.getLogger(__name__)
RANDOM = 'random'  # in place of a checkpoint: weights as they are before training


class BackboneFeatures:
    """Features of a network in eval mode: decoded if it has a decoder, else of all stages.

    Args:
        model: Moved to `device`, frozen.
        name: For the table of results.
        voxel_size: Of the input [m].
        device: Where the network runs.
        number_format: As for `concerto_ros.model.precision`.
    """

    def __init__(
        self,
        model: PointTransformerV3,
        name: str,
        voxel_size: float,
        device: torch.device,
        number_format: str = 'fp32',
    ) -> None:
        self.name = name
        config = model.config
        self.num_channels = config.out_channels if config.enc_mode else config.dec_channels[0]
        self._model = model.to(device).eval().requires_grad_(False)
        self._recipe = Recipe(voxel_size=voxel_size)
        self._device = device
        self._number_format = number_format

    @torch.no_grad()
    def __call__(self, scene: LabelledScene) -> SceneFeatures:
        """Return (V, C) features of a scene."""
        prepared = scene_voxels(scene, self._recipe, self._device)
        with precision(self._number_format, self._device):
            pyramid: FeaturePyramid = self._model(prepared.points)
        decoded = pyramid.decoded
        features = PyramidFeatures(pyramid) if decoded is None else DenseFeatures(decoded)
        return SceneFeatures(features=features, inverse=prepared.inverse)


def load_backbone(checkpoint: str, size: Any, seed: int) -> PointTransformerV3:
    """Return an encoder in eval mode, on the CPU; a decoder of the checkpoint is left out.

    Args:
        checkpoint: Published name or file; `RANDOM`: untrained weights.
        size: Of an untrained network, as in `BackboneSection`.
        seed: Of untrained weights; leaves the global generator alone.

    Raises:
        CheckpointError: The file cannot be used.
    """
    if checkpoint != RANDOM:
        return encoder_of(load_checkpoint(checkpoint)[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PointTransformerV3(backbone_config(BackboneSection(size=size))).eval()


def fits_voxels(checkpoint: str, voxel_size: float) -> bool:
    """Tell whether a network was trained on such voxels, as far as its file says; warn if not.

    Args:
        checkpoint: Published name or file.
        voxel_size: `data.voxel_size` [m].

    Raises:
        CheckpointError: The file cannot be used.
    """
    trained = load_checkpoint(checkpoint)[1].voxel_size
    if trained is None or math.isclose(voxel_size, trained):
        return True
    _log.warning(
        'data.voxel_size is %g m, but source.checkpoint was trained on voxels of %g m, so scores '
        'will be worse than they could be: set data.voxel_size to %g',
        voxel_size, trained, trained,
    )  # fmt: skip
    return False


def encoder_of(model: PointTransformerV3) -> PointTransformerV3:
    """Return a network without its decoder, frozen; weights are shared."""
    with torch.device('meta'):
        encoder = PointTransformerV3(replace(model.config, enc_mode=True))
    tensors = model.state_dict()
    encoder.load_state_dict({name: tensors[name] for name in encoder.state_dict()}, assign=True)
    return encoder.eval().requires_grad_(False)
