"""Tiny scenes in two views and a tiny U-Net, for tests of masked scene modelling."""

import torch
from torch import nn

from concerto_ros.model import BackboneConfig, PointBatch
from concerto_ros.model.segment_ops import segment_mean
from training.masked_scene.batch import MaskedBatch
from training.networks.unet import UNet

VOXEL = 0.1  # m
GEOMETRY = BackboneConfig(
    enc_depths=(1, 1, 1),
    enc_channels=(8, 12, 16),
    enc_num_head=(1, 1, 1),
    enc_patch_size=(16, 16, 16),
    stride=(2, 2),
)


class TinyUNet(UNet):
    """Linear layers, means over children, and at the coarsest level a mean over the cloud."""

    geometry = GEOMETRY
    channels = (8, 12, 16)
    token_channels = 16

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(9, 8)
        self.down = nn.ModuleList([nn.Linear(8, 12), nn.Linear(12, 16)])
        self.up = nn.ModuleList([nn.Linear(12, 8), nn.Linear(16, 12)])

    def encode(self, points, plan):
        feats = [self.stem(points.feat)]
        for stage, layer in zip(plan.stages[1:], self.down, strict=True):
            mean = segment_mean(feats[-1], stage.cells.inverse, len(stage.cells))
            feats.append(layer(mean).sin())
        return feats

    def decode(self, feats, rows, token, plan):
        if rows is None:
            rows = [torch.arange(len(stage.cells), device=token.device) for stage in plan.stages]
        start = token.expand(len(plan.stages[-1].cells), -1).to(feats[-1])
        bottom = start.index_copy(0, rows[-1], feats[-1])
        cloud = plan.stages[-1].cells.batch
        outs = [bottom + segment_mean(bottom, cloud, plan.num_clouds)[cloud]]
        for level in (1, 0):
            coarse = self.up[level](outs[0]).sin()[plan.stages[level + 1].cells.inverse]
            outs.insert(0, coarse.index_add(0, rows[level], feats[level].to(coarse)))
        return tuple(outs)


def _view(coord, color, generator):
    """Voxelise a turned scene.

    Returns:
        (V, 9) features, (V, 3) voxels, (P,) voxel of each point, (P, 6) what it looks like.
    """
    angle = 6.28 * torch.rand((), generator=generator)
    turn = torch.tensor([[angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0], [0, 0, 1]])
    coord = coord @ turn.T
    grid = ((coord - coord.amin(0)) / VOXEL).long()
    key = (grid[:, 0] << 40) + (grid[:, 1] << 20) + grid[:, 2]
    _, voxel = torch.unique(key, return_inverse=True)
    first = torch.full((int(voxel.max()) + 1,), len(coord))
    first = first.scatter_reduce(0, voxel, torch.arange(len(coord)), 'amin')
    feat = torch.cat([coord, color, coord.sin()], 1)
    order = torch.randperm(len(first), generator=generator)  # rows come in no order
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    look = torch.cat([2 * color - 1, coord.sin()], 1)
    return feat[first[order]], grid[first[order]], place[voxel], look


def make_batch(slots=(0, 1), num_points=400, crop=60, device='cpu'):
    """Scenes by slot; the crop of a view are `crop` voxels around one of them."""
    feats, grids, pairs, targets, crops, counts = [], [], [], [], [], []
    for slot in slots:
        generator = torch.Generator().manual_seed(slot)
        coord = torch.rand(num_points, 3, generator=generator)
        coord[:, 2] *= 0.3
        color = (torch.rand(num_points, 3, generator=generator) + 2 * coord) / 3
        pair, looks = [], []
        for _ in range(2):
            feat, grid, voxel, look = _view(coord, color, generator)
            first = sum(counts)
            near = (grid - grid[0]).square().sum(1).argsort(stable=True)[:crop].sort().values
            pair.append(voxel + first)
            looks.append(look)
            crops.append(near + first)
            feats.append(feat)
            grids.append(grid)
            counts.append(len(feat))
        pairs.append(torch.stack(pair, 1))
        targets.append(torch.stack(looks, 1))
    feat = torch.cat(feats)
    return MaskedBatch(
        names=tuple(f'scene{slot}' for slot in slots),
        slots=tuple(slots),
        full=PointBatch(
            coord=feat[:, :3].contiguous(),
            grid_coord=torch.cat(grids),
            feat=feat,
            offset=torch.tensor(counts).cumsum(0),
        ),
        point_voxel=torch.cat(pairs),
        point_target=torch.cat(targets),
        crop=torch.cat(crops),
    ).to(device)
