import pytest
import torch
from torch import nn

from concerto_ros.model import FeaturePyramid, PointBatch
from concerto_ros.model.pyramid import PyramidLevel
from training.objectives.cross_modal import TokenHits, cross_modal, encode, token_hits
from training.structures import ViewBatch

PATCHES = 4  # per side


def level(feat, inverse):
    return PyramidLevel(
        feat=feat,
        grid_coord=torch.zeros(len(feat), 3, dtype=torch.int64),
        offset=torch.tensor([len(feat)]),
        inverse=torch.tensor(inverse),
    )


def pyramid():
    """Five points in three cells in one coarser cell, two channels and one."""
    fine = torch.tensor([[1.0, 2.0], [3.0, 5.0], [-2.0, 7.0]], requires_grad=True)
    coarse = torch.tensor([[0.5]], requires_grad=True)
    points = level(torch.zeros(5, 1), range(5))
    return FeaturePyramid((points, level(fine, [0, 0, 1, 1, 2]), level(coarse, [0, 0, 0])))


def batch(links, num_images=2, images=None, tokens=None):
    """A batch of the links (point, image, row, column); only they and the images matter."""
    rows = torch.tensor(links, dtype=torch.float32).reshape(-1, 4)
    zeros = torch.zeros(5, 3)
    points = PointBatch(
        coord=zeros, grid_coord=zeros.long(), feat=torch.zeros(5, 9), offset=torch.tensor([5])
    )
    return ViewBatch(
        names=('scene',),
        slots=(0,),
        global_points=points,
        global_origin=zeros,
        local_points=points,
        local_origin=zeros,
        images=torch.zeros(0, 3, 8, 8) if images is None else images,
        tokens=torch.zeros(num_images, PATCHES**2, 3) if tokens is None else tokens,
        link_point=rows[:, 0].long(),
        link_image=rows[:, 1].long(),
        link_patch=rows[:, 2:],
    )


def test_a_cell_hits_the_token_of_the_mean_place_of_its_points():
    # Points 0 and 1 are cell 0: rows 0.9 and 1.3 -> 1.1, columns 2.0 and 3.8 -> 2.9.
    hits = token_hits(batch([(0, 0, 0.9, 2.0), (1, 0, 1.3, 3.8)]), pyramid(), 1, PATCHES)
    assert hits.token.tolist() == [1 * PATCHES + 2]
    assert hits.cell.tolist() == [0]


def test_images_are_apart_and_cells_share_tokens():
    links = [(0, 0, 0.5, 0.5), (0, 1, 3.5, 3.5), (2, 1, 3.2, 3.9), (4, 1, 0, 0)]
    hits = token_hits(batch(links), pyramid(), 1, PATCHES)
    assert hits.token.tolist() == [0, 16, 31]
    pairs = {(hits.token[p].item(), c.item()) for p, c in zip(hits.place, hits.cell, strict=True)}
    assert pairs == {(0, 0), (31, 0), (31, 1), (16, 2)}


def test_the_last_border_counts_to_the_last_patch():
    hits = token_hits(batch([(0, 0, 4.0, 4.0)]), pyramid(), 1, PATCHES)
    assert hits.token.tolist() == [15]


@pytest.mark.parametrize('num_images', [0, 2])
def test_no_links_are_no_hits(num_images):
    hits = token_hits(batch([], num_images), pyramid(), 1, PATCHES)
    assert [len(part) for part in hits] == [0, 0, 0]


def test_loss_by_hand():
    # Token 0 is hit by cells 0 and 1, token 1 by cell 2; features get the coarse channel, too.
    features = pyramid()
    hits = TokenHits(torch.tensor([3, 7]), torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1]))
    proj = nn.Linear(3, 3)
    nn.init.eye_(proj.weight)
    nn.init.zeros_(proj.bias)
    # Predictions: (2, 3.5, 0.5), centred (0, 1.5, -1.5); (-2, 7, 0.5), centred (-23, 31, -8) / 6.
    tokens = torch.tensor([[5.0, 6.0, 4.0], [10.0, 0.0, 20.0]])  # (0, 1, -1); (0, -10, 10)
    second = (-31 - 8) / (2**0.5 * (23**2 + 31**2 + 8**2) ** 0.5)
    loss, count = cross_modal(features, 1, hits, tokens, proj)
    torch.testing.assert_close(loss, torch.tensor(((1 - 1) + (1 - second)) / 2))
    assert count.item() == 2


def test_gradient_reaches_only_the_cells_that_hit():
    features = pyramid()
    hits = TokenHits(torch.tensor([3]), torch.tensor([1]), torch.tensor([0]))
    proj = nn.Linear(3, 4)
    loss, _ = cross_modal(features, 1, hits, torch.randn(1, 4), proj)
    loss.backward()
    assert features.levels[1].feat.grad.abs().sum(1).bool().tolist() == [False, True, False]
    assert features.levels[2].feat.grad.any()
    assert proj.weight.grad.any()


def test_no_hits_are_a_loss_of_zero_with_zero_gradient():
    nothing = torch.zeros(0, dtype=torch.int64)
    proj = nn.Linear(3, 4)
    hits = TokenHits(nothing, nothing, nothing)
    loss, count = cross_modal(pyramid(), 1, hits, torch.zeros(0, 4), proj)
    loss.backward()
    assert (loss.item(), count.item()) == (0, 0)
    assert not proj.weight.grad.any()
    assert not proj.bias.grad.any()


def test_tokens_come_from_the_encoder_if_there_are_images():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Unflatten(1, (2, 4)))
    images = torch.rand(3, 3, 2, 2)
    tokens = encode(encoder, batch([], images=images, tokens=torch.zeros(0, 0, 0)))
    assert torch.equal(tokens, encoder(images).detach())
    assert not tokens.requires_grad


def test_given_tokens_need_no_encoder():
    tokens = torch.rand(2, 16, 3)
    assert encode(None, batch([], tokens=tokens)) is tokens
