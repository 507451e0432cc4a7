"""Compares 3D encoders by frozen features of all levels: `python -m training.evaluate`."""
