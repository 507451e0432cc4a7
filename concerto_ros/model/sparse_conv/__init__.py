"""Submanifold sparse convolution: a layer that owns the weights, and functions that compute."""

from concerto_ros.model.sparse_conv.layer import SubMConv3d
from concerto_ros.model.sparse_conv.neighborhood import Neighborhood, find_neighbors

__all__ = ['Neighborhood', 'SubMConv3d', 'find_neighbors']
