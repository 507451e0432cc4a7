"""The scale of targets: over channels, over cells, and without correlation."""

import pytest
import torch
from torch import distributed
from torch.nn import functional
from training_ranks import run_ranks

from training.masked_scene.target_norm import normed

EYE = torch.eye(6)


def _feats(rows=500, channels=6, seed=0):
    """Channels of all scales, correlated, far from zero."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(channels, channels, generator=torch.Generator().manual_seed(9))
    scale = torch.logspace(-1, 0, channels)
    return 3 + torch.randn(rows, channels, generator=generator) * scale @ mixed


def test_none_and_layer_look_at_single_features():
    feats = _feats()
    assert torch.equal(normed(feats, 'none'), feats)
    torch.testing.assert_close(normed(feats, 'layer'), functional.layer_norm(feats, (6,)))


def test_batch_gives_each_channel_mean_and_variance():
    feats = _feats()
    expected = (feats - feats.mean(0)) / feats.std(0, correction=0)
    torch.testing.assert_close(normed(feats, 'batch'), expected, rtol=1e-4, atol=1e-4)


def test_white_channels_are_independent_up_to_the_ridge():
    feats = normed(_feats(), 'batch').double()
    white = normed(feats.float(), 'whiten').double()
    torch.testing.assert_close(white.mean(0), torch.zeros(6).double(), rtol=0, atol=1e-6)
    variances = torch.linalg.eigvalsh(feats.T @ feats / len(feats))
    found = torch.linalg.eigvalsh(white.T @ white / len(white))
    expected = variances / (variances + 0.01 * variances.mean())
    torch.testing.assert_close(found, expected.sort().values, rtol=1e-4, atol=1e-4)


def test_where_no_direction_is_nearly_lost_the_covariance_is_the_identity():
    feats = torch.randn(500, 6, generator=torch.Generator().manual_seed(0)) @ (EYE + 0.3) + 2
    white = normed(feats, 'whiten')
    torch.testing.assert_close(white.T @ white / len(white), EYE, rtol=0, atol=0.05)
    # What is white already is neither turned nor mirrored.
    torch.testing.assert_close(normed(white, 'whiten'), white, rtol=0, atol=0.1)


@pytest.mark.parametrize('norm', ['batch', 'whiten'])
@pytest.mark.parametrize(
    'feats',
    [
        _feats(rows=4, channels=16),
        5 + torch.zeros(50, 6),
        _feats() * torch.tensor([1, 1, 1, 1, 1, 0]),
        _feats(rows=1),
        _feats(rows=0),
    ],
    ids=['few', 'constant', 'dead', 'one', 'none'],
)
def test_plain_features_do_no_harm(feats, norm):
    found = normed(feats, norm)
    assert found.shape == feats.shape
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert not (found.abs() > 10).any()


@pytest.mark.parametrize('norm', ['batch', 'whiten'])
def test_broken_features_are_left_to_those_who_stop_for_them(norm):
    feats = _feats()
    feats[3, 1] = torch.nan
    assert normed(feats, norm)[:, 1].isnan().all()


@pytest.mark.parametrize('norm', ['batch', 'whiten'])
def test_half_precision_of_the_caller_does_not_matter(norm):
    feats = _feats()
    with torch.autocast('cpu', torch.bfloat16):
        half = normed(feats, norm)
    assert torch.equal(half, normed(feats, norm))


def _parts(feats):
    return feats[:7], feats[7:]


def _norm_one_rank(rank, folder):
    distributed.init_process_group('gloo')
    part = _parts(_feats(50))[rank]
    torch.save([normed(part, norm) for norm in ('batch', 'whiten')], f'{folder}/{rank}.pt')
    distributed.destroy_process_group()


def test_two_ranks_do_what_one_does(tmp_path):
    assert run_ranks(_norm_one_rank, tmp_path) == [0, 0]
    ranks = [torch.load(tmp_path / f'{rank}.pt') for rank in range(2)]
    for i, norm in enumerate(('batch', 'whiten')):
        found = torch.cat([rank[i] for rank in ranks])
        torch.testing.assert_close(found, normed(_feats(50), norm), rtol=1e-5, atol=1e-5)
