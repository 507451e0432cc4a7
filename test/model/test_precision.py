import pytest
import torch

from concerto_ros.model import precision


@pytest.mark.parametrize(('name', 'error'), [('bf16', 0.03), ('fp16', 0.004)])
def test_half_precision_stays_within_the_stated_error(
    tiny_model, random_points, device, name, error
):
    model, points = tiny_model().to(device), random_points((300, 200)).to(device)
    with torch.inference_mode():
        exact = model(points)
        with precision(name, device):
            rounded = model(points)
    for ours, reference in zip(rounded.levels, exact.levels, strict=True):
        found, expected = ours.feat.float(), reference.feat
        assert (found - expected).norm() < error * expected.norm()
        assert torch.cosine_similarity(found, expected, dim=1).amin() > 1 - error / 10
        assert not torch.equal(found, expected)


def test_single_precision_changes_nothing(tiny_model, random_points, device):
    model, points = tiny_model().to(device), random_points().to(device)
    with torch.inference_mode(), precision('fp32', device):
        inside = model(points).upcast()
    with torch.inference_mode():
        assert torch.equal(inside, model(points).upcast())
