"""What computes a network, as settings."""

from dataclasses import dataclass
from typing import Literal

from concerto_ros.config.tree import param


@dataclass(frozen=True, kw_only=True)
class BackendsSection:
    """Base of the sections about a network; `use_backends` takes these names."""

    convolution: Literal['auto', 'torch', 'spconv'] = param(
        'torch',
        'What computes convolutions; auto: spconv where it can run, whose sums do not repeat bit '
        'by bit.',
    )
    attention: Literal['auto', 'sdpa', 'flash'] = param(
        'sdpa',
        'What computes attention: PyTorch, or the package flash_attn in half precision; auto: '
        'flash where it can run, unless run.precision is fp32.',
    )
