"""The references of what masked scene modelling is compared with compute what ours does."""

import pytest
import torch

from bench.hierarchy import WAYS, random_features
from bench.resident import with_peak


@pytest.mark.parametrize(('name', 'width'), [('features', 928), ('scores', 20)])
def test_dense_grids_hold_what_the_hash_finds(name, width):
    generator = torch.Generator().manual_seed(0)
    voxel = torch.unique(torch.randint(40, (500, 3), generator=generator), dim=0)
    hierarchy = random_features(voxel)
    dense, ours = (way(hierarchy, voxel) for way in WAYS[name])
    assert ours.shape == (len(voxel), width)
    torch.testing.assert_close(ours, dense, atol=1e-4, rtol=0.0)


def test_a_peak_counts_what_was_given_back():
    _, before = with_peak(lambda: None)
    _, peak = with_peak(lambda: torch.ones(1 << 26, dtype=torch.uint8).sum())
    assert peak - before > 0.9 * (1 << 26)
