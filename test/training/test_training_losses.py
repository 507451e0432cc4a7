import math

import pytest
import torch
from torch import distributed, multiprocessing

from training.objectives.losses import (
    prototype_cross_entropy,
    prototype_usage,
    sinkhorn_knopp,
    view_mean,
)


def published_sinkhorn(logits, temp, num_iterations):
    """Alternate the divisions literally, in double precision."""
    q = (logits.double() / temp).exp().t()
    num_prototypes, num_rows = q.shape
    q = q / q.sum()
    for _ in range(num_iterations):
        q = q / q.sum(1, keepdim=True) / num_prototypes
        q = q / q.sum(0, keepdim=True) / num_rows
    return (q * num_rows).t()


def cosines(num_rows, num_prototypes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(num_rows, num_prototypes, generator=generator) * 2 - 1


@pytest.mark.parametrize('num_iterations', [1, 3, 10])
def test_sinkhorn_equals_alternating_divisions(device, num_iterations):
    logits = cosines(50, 12)
    expected = published_sinkhorn(logits, 0.04, num_iterations)
    found = sinkhorn_knopp(logits.to(device), 0.04, num_iterations)
    torch.testing.assert_close(found.cpu().double(), expected, rtol=1e-4, atol=1e-6)


def test_each_row_is_an_assignment():
    found = sinkhorn_knopp(cosines(50, 12), 0.07, 3)
    assert found.dtype == torch.float32
    assert (found >= 0).all()
    torch.testing.assert_close(found.sum(1), torch.ones(50))


def test_prototypes_are_used_equally_in_the_end():
    found = sinkhorn_knopp(cosines(60, 12), 0.2, 200)
    torch.testing.assert_close(found.sum(0), torch.full((12,), 5.0), rtol=1e-3, atol=0)


def test_sinkhorn_of_two_rows_by_hand():
    # exp(logits): [[1, 1], [3, 1]]; over prototypes: [[1/4, 1/2], [3/4, 1/2]]; over rows:
    # [[1/3, 2/3], [3/5, 2/5]].
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    expected = torch.tensor([[1 / 3, 2 / 3], [3 / 5, 2 / 5]])
    torch.testing.assert_close(sinkhorn_knopp(logits, 1.0, 1), expected)


def test_a_constant_on_all_logits_changes_nothing():
    logits = cosines(20, 8)
    torch.testing.assert_close(
        sinkhorn_knopp(logits + 5, 0.05, 3), sinkhorn_knopp(logits, 0.05, 3), rtol=1e-3, atol=1e-5
    )  # 5 is rounded to 5e-7, over the temperature 1e-5


@pytest.mark.parametrize('scale', [1e4, 1e30, 1e37])
def test_huge_logits_neither_overflow_nor_vanish(scale):
    found = sinkhorn_knopp(cosines(20, 8) * scale, 0.05, 3)
    torch.testing.assert_close(found.sum(1), torch.ones(20))


def test_sinkhorn_is_in_single_precision_within_autocast():
    logits = cosines(20, 8)
    expected = sinkhorn_knopp(logits, 0.05, 3)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(sinkhorn_knopp(logits, 0.05, 3), expected)


def test_no_rows_are_no_assignments():
    assert sinkhorn_knopp(torch.zeros(0, 8), 0.05, 3).shape == (0, 8)


def test_logits_stay_as_they_are():
    logits = cosines(5, 4)
    before = logits.clone()
    sinkhorn_knopp(logits, 1.0, 2)
    assert torch.equal(logits, before)


def _sinkhorn_of_one_rank(rank, folder, logits, cuts):
    torch.set_num_threads(1)
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2
    )
    for cut in cuts:
        part = (logits[:cut], logits[cut:])[rank]
        torch.save(sinkhorn_knopp(part, 0.05, 3), f'{folder}/{cut}_{rank}.pt')
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_equal_one(tmp_path):
    logits = cosines(30, 8)
    cuts = [21, 30]  # then the second rank has no rows
    multiprocessing.spawn(_sinkhorn_of_one_rank, (str(tmp_path), logits, cuts), nprocs=2)
    expected = sinkhorn_knopp(logits, 0.05, 3)
    for cut in cuts:
        found = torch.cat([torch.load(tmp_path / f'{cut}_{rank}.pt') for rank in range(2)])
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_cross_entropy_by_hand():
    logits = torch.tensor([[0.0, 0.1 * math.log(3)], [0.0, 0.0]])
    target = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    # softmax of the first row over 0.1: 1/4, 3/4
    expected = torch.tensor([-0.25 * math.log(0.25) - 0.75 * math.log(0.75), math.log(2)])
    torch.testing.assert_close(prototype_cross_entropy(logits, target, 0.1), expected)


def test_gradient_of_cross_entropy_is_the_difference_of_assignments():
    logits = cosines(6, 5).requires_grad_()
    target = torch.softmax(cosines(6, 5, seed=1), 1)
    prototype_cross_entropy(logits, target, 0.1).sum().backward()
    expected = (torch.softmax(logits.detach() / 0.1, 1) - target) / 0.1
    torch.testing.assert_close(logits.grad, expected, rtol=1e-4, atol=1e-5)


def test_cross_entropy_is_in_single_precision_within_autocast():
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = prototype_cross_entropy(cosines(3, 4).bfloat16(), torch.full((3, 4), 0.25), 0.1)
    assert found.dtype == torch.float32


def test_views_count_alike_and_empty_ones_as_zero():
    x = torch.tensor([1.0, 3.0, 5.0])
    found = view_mean(x, torch.tensor([0, 0, 2]), 4)
    torch.testing.assert_close(found, torch.tensor((2.0 + 0 + 5 + 0) / 4))


def test_mean_over_no_rows_is_zero_with_a_gradient():
    x = torch.zeros(0, requires_grad=True)
    found = view_mean(x, torch.zeros(0, dtype=torch.int64), 2)
    found.backward()
    assert found.item() == 0
    assert x.grad.shape == (0,)


@pytest.mark.parametrize('num_rows', [8, 8000])
def test_usage_is_one_if_prototypes_share_the_rows(num_rows):
    logits = torch.eye(8).repeat(num_rows // 8, 1)
    order = torch.randperm(num_rows)
    torch.testing.assert_close(
        prototype_usage(logits[order], 0.05), torch.tensor(1.0), rtol=0.02, atol=0
    )


def test_usage_is_one_of_all_after_collapse():
    logits = torch.eye(8)[torch.zeros(100, dtype=torch.int64)]
    torch.testing.assert_close(prototype_usage(logits, 0.01), torch.tensor(1 / 8))


def test_usage_of_no_rows_is_finite():
    assert prototype_usage(torch.zeros(0, 8), 0.1).isfinite()
