"""Heads between the decoder of the student and the targets."""

import pytest
import torch

from training.masked_scene.heads import make_head


@pytest.mark.parametrize(('kind', 'is_linear'), [('mlp', False), ('linear', True)])
def test_only_the_linear_head_is_linear(kind, is_linear):
    torch.manual_seed(0)
    head = make_head(kind, 8, 5)
    x = torch.randn(20, 8)
    middle = (head(x) + head(-x)) / 2
    assert middle.shape == (20, 5)
    assert torch.allclose(middle, head(torch.zeros(20, 8)), atol=1e-6) == is_linear
