"""What the heads of the instance probe minimise."""

from torch import Tensor
from torch.nn import functional

from training.structures import IGNORED


def instance_loss(
    logits: Tensor, offset: Tensor, label: Tensor, true_offset: Tensor, has_offset: Tensor
) -> Tensor:
    """Return cross-entropy + mean L1 error of offsets + mean negative cosine of their direction.

    Args:
        logits: (R, L) float.
        offset: (R, 3) float [m].
        label: (R,) int64; `IGNORED` does not count.
        true_offset: (R, 3) float [m].
        has_offset: (R,) bool, rows whose offset counts.

    Returns:
        () float; a part without any row that counts is zero.

    Source: PointGroup, arXiv 2004.01658, equations 1 to 3.
    """
    entropy = functional.cross_entropy(logits, label, ignore_index=IGNORED, reduction='sum')
    found, true = offset[has_offset], true_offset[has_offset]
    distance = (found - true).abs().sum()
    cosine = functional.cosine_similarity(found, true, dim=1).sum()
    num_labels, num_offsets = (label != IGNORED).sum(), has_offset.sum()
    return entropy / num_labels.clamp(min=1) + (distance - cosine) / num_offsets.clamp(min=1)
