"""Rigid transforms, pinhole cameras, RGB-D frames, and what follows from one depth image."""
