import torch

from training.objectives.token_scale import TokenScale


def draw(num, seed):
    noise = torch.randn(num, 3, generator=torch.Generator().manual_seed(seed))
    return noise * torch.tensor([1.0, 5.0, 0.1]) + torch.tensor([100.0, -3.0, 0.0])


def test_tokens_are_standardised_by_all_so_far():
    scale = TokenScale(3)
    first, second = draw(50, seed=0), draw(30, seed=1)
    alone = scale(first)
    torch.testing.assert_close(alone.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(alone.std(0, correction=0), torch.ones(3))
    both = torch.cat([first, second])
    expected = (second - both.mean(0)) / both.std(0, correction=0)
    torch.testing.assert_close(scale(second), expected, rtol=1e-4, atol=1e-4)


def test_outside_of_training_nothing_counts():
    scale = TokenScale(3)
    scale(draw(50, seed=0))
    before = {name: value.clone() for name, value in scale.state_dict().items()}
    scale.eval()(draw(30, seed=1))
    assert all(torch.equal(before[name], value) for name, value in scale.state_dict().items())


def test_no_tokens_and_constant_channels_stay_finite():
    scale = TokenScale(3)
    assert scale(torch.zeros(0, 3)).shape == (0, 3)
    assert not scale(torch.ones(4, 3, dtype=torch.float16)).any()
