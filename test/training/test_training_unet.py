"""What U-Nets share: rows in the order of a plan, parts of it, and where the parts lie."""

import torch

from concerto_ros.model import BackboneConfig, PointBatch, make_plan
from training.networks.unet import UNet, in_plan_order, rows_within, take_rows

GEOMETRY = BackboneConfig(
    enc_depths=(1, 1, 1),
    enc_channels=(4, 8, 8),
    enc_num_head=(1, 1, 1),
    enc_patch_size=(16, 16, 16),
    stride=(2, 2),
)


def _points(counts=(40, 0, 25), seed=0):
    generator = torch.Generator().manual_seed(seed)
    grid = torch.cat([torch.randperm(12**3, generator=generator)[:count] for count in counts])
    grid = torch.stack([grid // 144, grid // 12 % 12, grid % 12], dim=1)
    num = len(grid)
    return PointBatch(
        coord=grid.float(),
        grid_coord=grid,
        feat=torch.randn(num, 9, generator=generator),
        offset=torch.tensor(counts).cumsum(0),
    )


def test_rows_come_in_the_order_of_the_plan():
    points = _points()
    plan = make_plan(points.grid_coord, points.offset, GEOMETRY)
    ordered = in_plan_order(points, plan)
    cells = plan.stages[0].cells
    assert torch.equal(ordered.grid_coord, cells.grid_coord)
    assert torch.equal(ordered.batch, cells.batch)
    assert torch.equal(ordered.feat[cells.inverse], points.feat)


def test_of_rows_in_one_voxel_the_first_counts():
    grid = torch.tensor([[1, 1, 1], [0, 0, 0], [1, 1, 1]])
    feat = torch.arange(3.0)[:, None].expand(3, 9).contiguous()
    points = PointBatch(coord=grid.float(), grid_coord=grid, feat=feat, offset=torch.tensor([3]))
    plan = make_plan(grid, points.offset, GEOMETRY)
    assert in_plan_order(points, plan).feat[:, 0].tolist() == [1, 0]


def test_a_part_keeps_its_cells_at_every_level():
    points = _points()
    plan = make_plan(points.grid_coord, points.offset, GEOMETRY)
    points = in_plan_order(points, plan)
    kept = torch.rand(len(points), generator=torch.Generator().manual_seed(1)) < 0.3
    part = take_rows(points, kept)
    assert part.offset.tolist()[-1] == int(kept.sum())
    assert torch.equal(part.batch, points.batch[kept])
    small = make_plan(part.grid_coord, part.offset, GEOMETRY)
    for some, whole, rows in zip(small.stages, plan.stages, rows_within(small, plan), strict=True):
        assert torch.equal(whole.cells.grid_coord[rows], some.cells.grid_coord)
        assert torch.equal(whole.cells.batch[rows], some.cells.batch)


class _Echo(UNet):
    """Returns what it is shown: features, and the token where there are none."""

    geometry = GEOMETRY
    channels = (9, 9, 9)
    token_channels = 9

    def encode(self, points, plan):
        self.seen = points
        feats = [points.feat]
        for stage in plan.stages[1:]:
            cells = stage.cells
            feats.append(
                points.feat.new_zeros(len(cells), 9).index_add(0, cells.inverse, feats[-1])
            )
        return feats

    def decode(self, feats, rows, token, plan):
        if rows is None:
            return tuple(feats)
        outs = []
        for feat, row, stage in zip(feats, rows, plan.stages, strict=True):
            outs.append(token.expand(len(stage.cells), 9).index_copy(0, row, feat))
        return tuple(outs)


def test_the_encoder_is_shown_what_is_visible_and_nothing_else():
    points = _points()
    plan = make_plan(points.grid_coord, points.offset, GEOMETRY)
    points = in_plan_order(points, plan)
    hidden = torch.zeros(len(points), dtype=torch.bool)
    hidden[::3] = True
    network, token = _Echo(), torch.full((9,), 7.0)
    feat = network(points, plan, token, hidden)[0]
    assert torch.equal(network.seen.feat, points.feat[~hidden])
    assert torch.equal(feat[~hidden], points.feat[~hidden])
    assert (feat[hidden] == 7).all()
    assert torch.equal(network(points, plan, token)[0], points.feat)
