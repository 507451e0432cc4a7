"""Masked Scene Modeling: `python -m training.pretrain_masked`."""
