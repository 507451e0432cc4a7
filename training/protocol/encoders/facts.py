"""What results say of a network, and how it is frozen."""

import hashlib
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import nn

N = TypeVar('N', bound=nn.Module)
MEAN = 'mean of their points'  # of voxels


def frozen(network: N, device: torch.device) -> N:
    """Return a network in eval mode, without gradients, on a device."""
    return network.to(device).eval().requires_grad_(False)


def network_facts(network: nn.Module, voxel_size: float, voxels: str) -> Mapping[str, str | int]:
    """Return number of parameters, hash of the weights, and size and making of voxels."""
    return {
        'parameters': num_parameters(network),
        'weights': f'sha256:{weights_sha256(network)}',
        'voxel_size': f'{voxel_size:g} m',
        'voxels': voxels,
    }


def num_parameters(*modules: nn.Module) -> int:
    """Return how many numbers modules hold that training changes."""
    return sum(p.numel() for module in modules for p in module.parameters())


def weights_sha256(network: nn.Module) -> str:
    """Return the SHA-256 of all parameters and buffers, with their names, dtypes and shapes."""
    digest = hashlib.sha256()
    tensors = network.state_dict()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
