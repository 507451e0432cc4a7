"""Two sources side by side."""

from training.datasets.labelled import LabelledScene
from training.evaluation.features import FeatureSource, JoinedFeatures, SceneFeatures


class JoinedSource:
    """The channels of one source, then those of another of the same voxel size.

    Their scales differ, so probes should standardise channels.

    Args:
        first: Gives channels 0..C1-1.
        second: Gives the rest.
    """

    def __init__(self, first: FeatureSource, second: FeatureSource) -> None:
        self.name = f'{first.name}+{second.name}'
        self.num_channels = first.num_channels + second.num_channels
        self._first, self._second = first, second

    def __call__(self, scene: LabelledScene) -> SceneFeatures:
        """Return (V, C1 + C2) features of a scene."""
        one, two = self._first(scene), self._second(scene)
        joined = JoinedFeatures(one.features, two.features, self._first.num_channels)
        return SceneFeatures(features=joined, inverse=one.inverse)
