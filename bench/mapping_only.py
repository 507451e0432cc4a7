"""A map without a network, for benchmarks of its size and its age."""

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.pipeline import PerceptionPipeline


def mapper(max_bytes: int, stride: int) -> PerceptionPipeline:
    """Make a pipeline on the CPU that labels nothing.

    Args:
        max_bytes: Budget of the map.
        stride: Every n-th pixel of the depth is used.
    """
    values = {
        'map.device': 'cpu',
        'map.max_bytes': max_bytes,
        'depth.stride': stride,
        'semantics.checkpoint': '',
        'semantics.head': '',
        'semantics.translator': '',
    }
    return PerceptionPipeline(build(ConcertoConfig, values))
