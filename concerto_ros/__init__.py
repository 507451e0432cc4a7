"""Open-vocabulary 3D perception for robots: RGB-D in, a labelled, searchable map out."""

__version__ = '0.1.0'
