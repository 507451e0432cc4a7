"""Batches on their way to a GPU."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from concerto_ros.model import PointBatch
from training.structures import Links, SceneViews, View
from training.views.collate import collate


@pytest.fixture
def batch():
    """Return views of a scene with an image."""
    rng = np.random.default_rng(0)
    names = ('coord', 'origin_coord', 'color', 'normal')
    views = [View(**{name: rng.random((n, 3), dtype=np.float32) for name in names})
             for n in (5, 4, 3)]  # fmt: skip
    links = Links(
        point=np.array([0, 4]), image=np.array([0, 0]), patch=np.ones((2, 2), np.float32)
    )
    scene = SceneViews(
        name='scene', global_views=tuple(views[:2]), local_views=tuple(views[2:]),
        images=rng.random((1, 4, 4, 3), dtype=np.float32), tokens=np.zeros((0, 0, 0), np.float16),
        links=links,
    )  # fmt: skip
    return collate([(0, scene, ('one was skipped',))], 0.1)


def tensors(batch):
    values = [getattr(batch, f.name) for f in fields(batch)]
    parts = [[getattr(v, f.name) for f in fields(v)] if isinstance(v, PointBatch) else [v]
             for v in values]  # fmt: skip
    return [v for part in parts for v in part if isinstance(v, torch.Tensor)]


def assert_same(one, two):
    for a, b in zip(tensors(one), tensors(two), strict=True):
        assert torch.equal(a.cpu(), b.cpu())
    assert (one.names, one.slots, one.skipped) == (two.names, two.slots, two.skipped)


def test_a_batch_keeps_its_values_on_its_device(batch, device):
    moved = batch.to(device)
    assert {x.device.type for x in tensors(moved)} == {torch.device(device).type}
    assert_same(moved, batch)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_a_pinned_batch_reaches_a_gpu(batch):
    pinned = batch.pin_memory()
    assert all(x.is_pinned() for x in tensors(pinned) if x.numel())
    assert_same(pinned.to('cuda'), batch)
