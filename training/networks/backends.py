"""What computes the convolutions and the attention of networks, by name."""

import torch
from torch import nn

from concerto_ros.model.attention import use_attention
from concerto_ros.model.attention_backend import AttentionBackend, select_attention
from concerto_ros.model.precision import DTYPES
from concerto_ros.model.sparse_conv import Backend, select_backend, use_backend
from training.networks.band_attention import BAND_ATTENTION
from training.networks.hunet import HUNet


def use_backends(
    network: nn.Module,
    convolution: str,
    attention: str,
    *,
    device: torch.device,
    number_format: str,
) -> tuple[Backend, AttentionBackend]:
    """Choose what computes a network, or several in one module, and return it.

    Args:
        network: Any that this folder makes, or a `PointTransformerV3`, or what holds some.
        convolution: As for `select_backend`.
        attention: As for `select_attention`.
        device: Where the network runs.
        number_format: Of the run, as for `concerto_ros.model.precision`.

    Raises:
        BackendUnavailable: What is asked for cannot run here; the message says what would help.
    """
    dtype = DTYPES[number_format]
    convolve = select_backend(convolution, device)
    attend = select_attention(attention, device, dtype)
    use_backend(network, convolve)
    use_attention(network, attend)
    for part in network.modules():
        if isinstance(part, HUNet):
            part.attend = BAND_ATTENTION[attend.name]
    return convolve, attend
