import math

import pytest
import torch

from training.evaluation.config import KnnSection
from training.evaluation.features import DenseFeatures, SceneFeatures
from training.evaluation.knn_probe import KnnClassifier
from training.evaluation.training_rows import TrainingRows

# Directions at 0, 30, 90 and 180 degrees, of different lengths.
MEMORY = [[2, 0], [math.cos(math.pi / 6), 0.5], [0, 5], [-1, 0]]
LABELS = [0, 1, 1, 2]


class Fixed:
    """A source that gives one matrix for any scene."""

    name, num_channels = 'fixed', 2

    def __init__(self, feat):
        self._feat = torch.tensor(feat, dtype=torch.float32).reshape(-1, 2)

    def __call__(self, scene):
        return SceneFeatures(
            features=DenseFeatures(self._feat), inverse=torch.arange(len(self._feat))
        )


def votes(feat, device=None, **changes):
    device = device or torch.device('cpu')
    rows = TrainingRows(feat=torch.tensor(MEMORY).half(), label=torch.tensor(LABELS))
    config = KnnSection(**{'temperature': 0.1, 'standardize': False, **changes})
    return KnnClassifier(rows, Fixed(feat), 4, config, device)(None).probability


def test_the_most_similar_direction_names_a_voxel():
    assert votes([[1, 0.1], [0.1, 1], [-3, 0.2]], k=1).tolist() == [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
    ]


def test_votes_weigh_by_cosine_and_temperature():
    found = votes([[1, 0]], k=3)[0]
    weights = [math.exp(c / 0.1) for c in (1, math.cos(math.pi / 6), 0)]
    expected = torch.tensor([weights[0], weights[1] + weights[2], 0, 0]) / sum(weights)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)  # the memory is in float16


def test_more_neighbours_than_there_are_means_all():
    torch.testing.assert_close(votes([[1, 0]], k=100).sum(), torch.tensor(1.0))


def test_no_voxels_have_no_votes():
    assert votes([], k=1).shape == (0, 4)


def test_channels_may_be_standardised_first():
    rows = TrainingRows(
        feat=torch.tensor([[0, 0], [0.01, 100]]).half(), label=torch.tensor([0, 1])
    )
    query = Fixed([[0.0099, 20.0]])  # nearer to the second in the small channel
    config = KnnSection(k=1, temperature=0.1, standardize=True)
    found = KnnClassifier(rows, query, 2, config, torch.device('cpu'))(None).probability
    assert found.tolist() == [[0, 1]]


@pytest.mark.gpu
def test_a_gpu_votes_as_the_cpu_does():
    if not torch.cuda.is_available():
        pytest.skip('no CUDA device')
    source = [[1, 0.1], [0.1, 1]]
    on_cpu = votes(source, k=3)
    rows = TrainingRows(feat=torch.tensor(MEMORY).half(), label=torch.tensor(LABELS))
    config = KnnSection(k=3, temperature=0.1, standardize=False)
    cuda = torch.device('cuda')
    fixed = Fixed(source)
    fixed._feat = fixed._feat.to(cuda)
    found = KnnClassifier(rows, fixed, 4, config, cuda)(None).probability
    torch.testing.assert_close(found.cpu(), on_cpu)
