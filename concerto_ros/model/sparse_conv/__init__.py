"""Submanifold sparse convolution: a layer that owns the weights, and functions that compute.

backend = select_backend('auto', torch.device('cuda'))
use_backend(model, backend)
"""

from concerto_ros.model.sparse_conv.layer import SubMConv3d, use_backend
from concerto_ros.model.sparse_conv.neighborhood import Neighborhood, find_neighbors
from concerto_ros.model.sparse_conv.selection import Backend, select_backend

__all__ = [
    'Backend',
    'Neighborhood',
    'SubMConv3d',
    'find_neighbors',
    'select_backend',
    'use_backend',
]
