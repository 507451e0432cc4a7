"""Attention along a band, against a dense one with a mask."""

import pytest
import torch

from training.networks.band_attention import attend_flash, attend_sdpa

CLOUDS = [(0,), (1,), (3, 0, 2), (7,), (8, 1), (9, 30, 4), (64,)]


def _dense(qkv, counts, reach):
    """Return what all pairs at once give, in the definition's own words."""
    q, k, v = qkv.unbind(1)
    place = torch.arange(len(qkv))
    cloud = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    seen = (place[:, None] - place).abs() <= reach
    seen &= cloud[:, None] == cloud
    score = torch.einsum('ihd,jhd->hij', q, k) / qkv.shape[-1] ** 0.5
    weight = score.masked_fill(~seen, float('-inf')).softmax(-1)
    return torch.einsum('hij,jhd->ihd', weight, v)


@pytest.mark.parametrize('counts', CLOUDS)
@pytest.mark.parametrize('reach', [0, 1, 7, 100])
def test_equal_to_dense_attention_with_a_mask(counts, reach):
    qkv = torch.randn(sum(counts), 3, 2, 4, requires_grad=True)
    found, expected = attend_sdpa(qkv, counts, reach, 0.0), _dense(qkv, counts, reach)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn(found.shape)
    ours, reference = (torch.autograd.grad(y, qkv, upstream)[0] for y in (found, expected))
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)


def test_a_cloud_has_the_same_result_alone():
    qkv = torch.randn(50, 3, 2, 4)
    both = attend_sdpa(qkv, (20, 30), 4, 0.0)
    assert torch.equal(both[20:], attend_sdpa(qkv[20:], (30,), 4, 0.0))


def test_dropout_drops():
    qkv = torch.randn(30, 3, 1, 4)
    assert not torch.equal(attend_sdpa(qkv, (30,), 3, 0.5), attend_sdpa(qkv, (30,), 3, 0.0))
    assert attend_sdpa(qkv, (30,), 3, 0.5).isfinite().all()


def test_half_precision_stays():
    qkv = torch.randn(30, 3, 2, 8)
    found = attend_sdpa(qkv.bfloat16(), (30,), 4, 0.0)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), _dense(qkv, (30,), 4), atol=0.03, rtol=0.03)


@pytest.mark.gpu
def test_flash_equals_sdpa():
    if not torch.cuda.is_available():
        pytest.skip('no CUDA device')
    pytest.importorskip('flash_attn')
    counts, device = (700, 0, 1, 90), torch.device('cuda')
    qkv = torch.randn(791, 3, 4, 8, device=device)
    expected = attend_sdpa(qkv, counts, 64, 0.0)
    found = attend_flash(qkv, counts, 64, 0.0)
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-3)
