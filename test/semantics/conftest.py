import pytest
import torch


class DenseFeatures:
    """Features held in one matrix: the simplest thing that heads and translators accept."""

    def __init__(self, feat):
        self.feat = feat

    @property
    def num_points(self):
        return len(self.feat)

    def linear(self, weight, bias):
        return self.feat @ weight.t() + bias

    def take(self, rows):
        return DenseFeatures(self.feat[rows])


@pytest.fixture
def dense_features():
    return lambda rows: DenseFeatures(torch.as_tensor(rows, dtype=torch.float32))
