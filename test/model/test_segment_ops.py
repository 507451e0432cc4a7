import torch

from concerto_ros.model.segment_ops import segment_max, segment_mean

X = torch.tensor([[1.0, -5.0], [3.0, -7.0], [2.0, 0.5]])
SEGMENT = torch.tensor([1, 1, 0])


def test_maximum_and_mean_of_each_segment():
    assert segment_max(X, SEGMENT, 2).tolist() == [[2.0, 0.5], [3.0, -5.0]]
    assert segment_mean(X, SEGMENT, 2).tolist() == [[2.0, 0.5], [2.0, -6.0]]


def test_gradient_of_the_maximum_goes_to_the_largest_row():
    x = X.clone().requires_grad_()
    segment_max(x, SEGMENT, 2).sum().backward()
    assert x.grad.tolist() == [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]


def test_no_rows_give_no_segments():
    nothing = torch.zeros(0, dtype=torch.int64)
    assert segment_max(X[:0], nothing, 0).shape == (0, 2)
    assert segment_mean(X[:0], nothing, 0).shape == (0, 2)
