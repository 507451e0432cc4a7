"""Which settings of a run are not the published ones."""

from collections.abc import Mapping

from concerto_ros.config.tree import Value
from training.origin import settings_of
from training.protocol.config import PROBES, ProtocolConfig

_METHOD = ('data.voxel_size', 'sampling.', 'cache.', 'linear.', 'knn.', 'instances.')
_ASKED = 'sampling.levels'  # a question, not a way to answer it
# arXiv 2504.06719, tables 15 and 16, where S3DIS differs from ScanNet, as the defaults are.
_S3DIS: Mapping[str, Value] = {
    'linear.epochs': 100,
    'linear.warmup_epochs': 1,
    'linear.max_points': 200000,
    'instances.batch_size': 8,
    'instances.epochs': 100,
    'instances.excluded': '',
}


def deviations(config: ProtocolConfig) -> dict[str, dict[str, Value]]:
    """Return what differs from the published settings, or from the defaults that fill their gaps.

    Of data sets without published settings, from those of ScanNet. Those of probes that nobody
    asked for are left out.

    Returns:
        By the name of the setting, its value in this `run`, and the `published` one.
    """
    ours, published = settings_of(config), settings_of(ProtocolConfig())
    if config.run.published == 's3dis':
        published |= _S3DIS
    unasked = tuple(f'{probe}.' for probe in PROBES if probe not in config.chosen)
    return {
        name: {'run': ours[name], 'published': value}
        for name, value in published.items()
        if name.startswith(_METHOD) and not name.startswith(unasked)
        if name != _ASKED and ours[name] != value
    }
