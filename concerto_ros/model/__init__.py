"""The Concerto backbone (Point Transformer V3) in plain PyTorch, and its checkpoints.

model, report = load_checkpoint('base', download=True)
points = PointBatch(coord=coord, grid_coord=grid_coord, feat=feat, offset=offset)
pyramid = model(points)                        # features per stage, each cell once
logits = pyramid.linear(head_weight, head_bias)  # (N, L), any linear head
"""

from concerto_ros.model.checkpoint import CheckpointReport, load_checkpoint, save_checkpoint
from concerto_ros.model.config import BackboneConfig
from concerto_ros.model.digest import weights_digest
from concerto_ros.model.input import (
    FLOOR_SHARE,
    INDOOR,
    OUTDOOR,
    PreparedCloud,
    Recipe,
    centered,
    lattice_origin,
    prepare_cloud,
    prepare_map,
)
from concerto_ros.model.plan import Plan, make_plan
from concerto_ros.model.point_batch import PointBatch
from concerto_ros.model.precision import precision
from concerto_ros.model.ptv3 import PointTransformerV3
from concerto_ros.model.pyramid import FeaturePyramid, PyramidLevel
from concerto_ros.model.stored_features import StoredFeatures

__all__ = [
    'FLOOR_SHARE',
    'INDOOR',
    'OUTDOOR',
    'BackboneConfig',
    'CheckpointReport',
    'FeaturePyramid',
    'Plan',
    'PointBatch',
    'PointTransformerV3',
    'PreparedCloud',
    'PyramidLevel',
    'Recipe',
    'StoredFeatures',
    'centered',
    'lattice_origin',
    'load_checkpoint',
    'make_plan',
    'precision',
    'prepare_cloud',
    'prepare_map',
    'save_checkpoint',
    'weights_digest',
]
