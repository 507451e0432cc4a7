"""ImageDistillation: a small vision transformer learns from its own slow copy."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from training.image_encoders.small_vit import SmallViT
from training.images.config import ImageDistillationConfig, ImageTrainingConfig
from training.images.crops import ImageBatch
from training.images.places import draw_patch_mask, same_place
from training.objectives.losses import (
    prototype_cross_entropy,
    prototype_usage,
    sinkhorn_knopp,
)
from training.objectives.masking import generator_of
from training.objectives.teacher import start_teacher, update_teacher
from training.structures import DistillationValues, LossTerms


class ImageHead(nn.Module):
    """Says how much a token is like each of K learned directions.

    Embeddings are normalised over the rows of a rank, so that tokens differ from the first step;
    a network that starts from noise would take thousands of steps to get them apart.
    """

    def __init__(self, channels: int, config: ImageDistillationConfig) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(channels, config.hidden),
            nn.BatchNorm1d(config.hidden, track_running_stats=False),
            nn.GELU(),
            nn.Linear(config.hidden, config.embed),
            nn.BatchNorm1d(config.embed, affine=False, track_running_stats=False),
        )
        self.prototype = weight_norm(nn.Linear(config.embed, config.prototypes, bias=False))
        nn.init.ones_(self.prototype.parametrizations.weight.original0).requires_grad_(False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (R, K) float32 cosines of (R, C) tokens with the prototypes."""
        x: Tensor = self.prototype(functional.normalize(self.mlp(tokens).float(), dim=1))
        return x


class ImageBranch(nn.Module):
    """A transformer and the head on its tokens."""

    def __init__(self, config: ImageTrainingConfig) -> None:
        super().__init__()
        self.vit = SmallViT(config.network)
        self.head = ImageHead(config.network.channels, config.distillation)

    def forward(self, images: Tensor) -> Tensor:
        """Return (I * T, K) cosines of all patches."""
        cosines: Tensor = self.head(self.vit(images).flatten(0, 1))
        return cosines


class ImageDistillation(nn.Module):
    """The student sees crops with holes and small crops, the teacher whole large ones.

    Two terms, as points learn: `mask`, the student says of a hidden patch what the teacher says
    of it; `place`, of a patch of a small crop what the teacher says of the same place in a large
    one. There is no term for whole crops: it did not move, nor did it help the others.

    Args:
        config: Of the whole training.

    Source: Caron et al., DINO, arXiv 2104.14294 (teacher, crops); Zhou et al., iBOT, arXiv
        2111.07832 (masked patches); Caron et al., SwAV, arXiv 2006.09882 (balanced targets,
        normalised heads).
    """

    def __init__(self, config: ImageTrainingConfig) -> None:
        super().__init__()
        self.config = config
        c = config.distillation
        self.weights = {'mask': c.mask_weight, 'place': c.place_weight}
        self.student = ImageBranch(config)
        self.teacher = ImageBranch(config)
        start_teacher(self.teacher, self.student)

    def train(self, mode: bool = True) -> 'ImageDistillation':
        """Keep the teacher in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def update_teacher(self, momentum: float) -> None:
        """Move the teacher towards the student; it keeps the share `momentum` of itself."""
        update_teacher(self.teacher, self.student, momentum)

    def forward(self, batch: ImageBatch, values: DistillationValues) -> LossTerms:
        """Compute the losses of a batch.

        What is masked depends on (run.seed, step, slot).

        Args:
            batch: Crops on the device of the weights.
            values: Of which `step`, `mask_ratio` and `teacher_temp` matter.

        Returns:
            The weighted sum; the terms, of which `place` is absent if no crops overlap; and
            `prototypes`, see `prototype_usage`.
        """
        c = self.config.distillation
        images, small = batch.global_crops / 255, batch.local_crops / 255
        with torch.no_grad():
            logits = self.teacher(images)
            target = sinkhorn_knopp(logits, values.teacher_temp, c.sinkhorn_iterations)
        mask = self._mask(batch, values)
        large, local = self.student.vit(images, mask), self.student.vit(small)
        terms = self._patch_losses(batch, mask, large, local, target)
        total = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        shown = {name: term.detach() for name, term in terms.items()}
        shown['prototypes'] = prototype_usage(logits, values.teacher_temp)
        return LossTerms(total, shown)

    def _mask(self, batch: ImageBatch, values: DistillationValues) -> Tensor:
        """Return (2 B, P * P) bool, equally many in each crop."""
        network, c = self.config.network, self.config.distillation
        side = network.image_size // network.patch_size
        seed = self.config.run.seed
        generators = [generator_of(seed, values.step, slot) for slot in batch.slots]
        masks = [
            draw_patch_mask(side, c.mask_size, values.mask_ratio, g)
            for g in generators
            for _ in range(2)
        ]
        return torch.stack(masks).to(batch.global_crops.device)

    def _patch_losses(
        self, batch: ImageBatch, mask: Tensor, large: Tensor, local: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """Compare patches of the student with those of the teacher.

        Args:
            batch: For the places of the crops.
            mask: (2 B, T) bool.
            large: (2 B, T, C) student tokens of global crops with holes.
            local: (n B, t, C) of local crops.
            target: (2 B * T, K).
        """
        found, row = same_place(batch.local_box, batch.global_box, local.shape[1], large.shape[1])
        tokens = torch.cat([large[mask], local[found]])
        rows = torch.cat([mask.flatten().nonzero().squeeze(1), row])
        logits = self.student.head(tokens)
        temp = self.config.distillation.student_temp
        loss = prototype_cross_entropy(logits, target[rows], temp)
        num_masked = len(rows) - len(row)
        losses = {'mask': loss[:num_masked].mean()}
        if len(row):
            losses['place'] = loss[num_masked:].mean()
        return losses
