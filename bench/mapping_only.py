"""A map without a network, for benchmarks of its size and its age."""

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build, flatten
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
    known = {p.name for p in flatten(ConcertoConfig())}
    return PerceptionPipeline(
        build(ConcertoConfig, {name: value for name, value in values.items() if name in known})
    )
