"""Agreement of what points predict with what a frozen image encoder sees."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from concerto_ros.model import FeaturePyramid
from concerto_ros.model.segment_ops import segment_mean
from training.distributed import all_reduce_sum, world_size
from training.objectives.cells import cell_of_points, upcast_rows
from training.structures import ViewBatch


class TokenHits(NamedTuple):
    """Which cells are seen in which tokens.

    Attributes:
        token: (T,) int64, image * P * P + row * P + column of the tokens that are hit, growing.
        cell: (H,) int64, a row of the pyramid's level per hit.
        place: (H,) int64, which of the T tokens it hits.
    """

    token: Tensor
    cell: Tensor
    place: Tensor


def token_hits(
    batch: ViewBatch, pyramid: FeaturePyramid, level: int, patches_per_side: int
) -> TokenHits:
    """Find the token of each cell in each image: that of the mean place of its visible points.

    Args:
        batch: With links between points and patches.
        pyramid: Of its global views.
        level: Whose rows are the cells.
        patches_per_side: P; a place on the last border counts to the last patch.
    """
    num_images = max(1, batch.num_images)
    pair = cell_of_points(pyramid, level)[batch.link_point] * num_images + batch.link_image
    pair, inverse = torch.unique(pair, return_inverse=True)
    patch = segment_mean(batch.link_patch, inverse, len(pair)).long()
    row, column = patch.clamp(0, patches_per_side - 1).unbind(1)
    token = (pair % num_images * patches_per_side + row) * patches_per_side + column
    token, place = torch.unique(token, return_inverse=True)
    return TokenHits(token, pair // num_images, place)


def cross_modal(
    pyramid: FeaturePyramid,
    level: int,
    hits: TokenHits,
    tokens: Tensor,
    patch_proj: nn.Linear,
) -> tuple[Tensor, Tensor]:
    """Compare predicted with seen tokens.

    The features of all cells that hit a token are averaged and mapped to one prediction. Both
    sides are centred over their channels, so the cosine is their correlation. Only tokens that
    are hit are mapped and compared.

    Args:
        pyramid: Features of the student.
        level: Whose rows the hits name, with all coarser ones.
        hits: Cells and tokens.
        tokens: (T, D) float, of the image encoder, for the T tokens that are hit.
        patch_proj: From point features to D channels.

    Returns:
        loss: () float32, this rank's share of the mean of `1 - cosine` over the tokens of all
            ranks, times the number of ranks: its mean over the ranks is that mean. 0 where
            nothing is hit, with a zero gradient.
        count: () float32, tokens that are hit on all ranks.

    Source: Concerto, arXiv 2510.23607, section 3, and its published code.
    """
    feat = upcast_rows(pyramid, level, hits.cell)
    predicted = patch_proj(segment_mean(feat, hits.place, len(hits.token)))
    cosine = functional.cosine_similarity(_centred(predicted), _centred(tokens), eps=1e-6)
    count = all_reduce_sum(cosine.new_tensor(len(cosine)))
    return world_size() * (1 - cosine).sum() / count.clamp_min(1), count


def _centred(x: Tensor) -> Tensor:
    x = x.float()
    return x - x.mean(1, keepdim=True)


@torch.no_grad()
def encode(image_encoder: nn.Module | None, batch: ViewBatch) -> Tensor:
    """Return the (I, T, D) tokens of the batch, from its cache or from the encoder."""
    if image_encoder is None or len(batch.images) == 0:
        return batch.tokens
    tokens: Tensor = image_encoder(batch.images)
    return tokens
