"""Sparse convolution, submanifold and with stride two.

Layers own the weights, functions compute:

backend = select_backend('auto', torch.device('cuda'))
use_backend(model, backend)
"""

from concerto_ros.model.sparse_conv.halving import Halving
from concerto_ros.model.sparse_conv.layer import DownConv3d, SubMConv3d, UpConv3d, use_backend
from concerto_ros.model.sparse_conv.neighborhood import Neighborhood, find_neighbors
from concerto_ros.model.sparse_conv.selection import Backend, select_backend

__all__ = [
    'Backend',
    'DownConv3d',
    'Halving',
    'Neighborhood',
    'SubMConv3d',
    'UpConv3d',
    'find_neighbors',
    'select_backend',
    'use_backend',
]
