"""Heads between the decoder of the student and the targets; the teacher has none."""

from torch import nn


def make_head(kind: str, in_channels: int, out_channels: int) -> nn.Module:
    """Return the head of a level.

    Args:
        kind: mlp (two linear layers with GELU) or linear.
        in_channels: C of the decoder, also inside an mlp.
        out_channels: Of the targets.
    """
    last = nn.Linear(in_channels, out_channels)
    if kind == 'linear':
        return last
    return nn.Sequential(nn.Linear(in_channels, in_channels), nn.GELU(), last)
