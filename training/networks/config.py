"""Which network is made, and what computes it, as settings."""

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


@dataclass(frozen=True, kw_only=True)
class NetworkSection(BackendsSection):
    """The U-Net that is trained."""

    kind: Literal['hunet', 'concerto'] = param(
        'hunet', 'hunet: that of the paper; concerto: our encoder, with a decoder for training.'
    )
    size: str = param(
        'released',
        'Of hunet: released (2 cm voxels), ablation (4 cm) or nano; '
        'of concerto: large, base, small, tiny or nano.',
    )
    drop_path: float = param(0.4, 'Largest share of dropped rows.', ge=0.0, le=0.9)
