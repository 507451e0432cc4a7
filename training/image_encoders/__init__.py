"""Frozen image encoders by name, and a small one of ours."""
