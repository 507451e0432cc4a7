"""Making the views of a scene, against the steps of the published loader.

python -m bench training_views

A room of 160,000 points with four images of 518 x 518; files are read by neither side.
"""

import numpy as np
import torch

from bench.harness import paired
from bench.published_views import published_views
from bench.training_scene import our_views, room_sample
from training.config import TrainingConfig

_CONFIG = TrainingConfig()
_ROUNDS = 13


def main() -> None:
    """Print the comparison."""
    torch.set_num_threads(1)
    sample = room_sample()
    result = paired(
        lambda i: published_views(sample, np.random.default_rng(i), _CONFIG),
        lambda i: our_views(sample, np.random.default_rng(i), _CONFIG),
        _ROUNDS,
    )
    print(
        f'views: {result.speedup:.2f} x as fast as the published steps ({result.ours_ms:.0f} ms '
        f'against {result.reference_ms:.0f} ms, {len(sample.coord):,} points)'
    )


if __name__ == '__main__':
    main()
