"""What a file of weights is, by the names in it; for messages about files of another kind."""

from pathlib import Path

from concerto_ros.errors import CheckpointError
from concerto_ros.model.checkpoint_config import STEM
from concerto_ros.weights_file import read_weights_file
from training.networks.released_checkpoint import PREFIX

# By what stands before the colon where training.evaluate is asked to judge such a file.
WHAT = {
    'masked': 'a state of training.pretrain_masked',
    'concerto': 'a file with a Concerto backbone',
    'msm': 'a released checkpoint of masked scene modelling',
}


def kinds_of(path: str | Path) -> tuple[str, ...]:
    """Return as which of `WHAT` a file can be judged; none if that cannot be told.

    Args:
        path: What `read_weights_file` takes.
    """
    try:
        _, tensors, origin = read_weights_file(path)
    except CheckpointError:
        return ()
    has_backbone = any(name.endswith(STEM) for name in tensors)
    is_of = {
        'masked': 'network.kind' in origin.get('settings', {})
        and any(name.startswith('student.') for name in tensors),
        'concerto': has_backbone,
        'msm': not has_backbone and any(name.startswith(PREFIX) for name in tensors),
    }
    return tuple(kind for kind, is_it in is_of.items() if is_it)
