"""ImageDistillation: a small vision transformer learns from its own slow copy."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.image_config import ImageTrainingConfig
from training.image_crops import ImageBatch
from training.image_encoders.small_vit import SmallViT
from training.objectives.heads import PrototypeHead
from training.objectives.losses import (
    prototype_cross_entropy,
    prototype_usage,
    sinkhorn_knopp,
)
from training.objectives.masking import generator_of
from training.objectives.teacher import start_teacher, update_teacher
from training.structures import LossTerms, StepValues


class ImageBranch(nn.Module):
    """A transformer and its heads for whole crops and for patches."""

    def __init__(self, config: ImageTrainingConfig) -> None:
        super().__init__()
        self.vit = SmallViT(config.network)
        heads = config.distillation.points()
        self.class_head = PrototypeHead(config.network.channels, heads)
        self.patch_head = PrototypeHead(config.network.channels, heads)


class ImageDistillation(nn.Module):
    """The student sees crops with holes and small crops, the teacher whole large ones.

    Three terms: `class`, the student says of a crop what the teacher says of other crops of the
    image; `mask`, of a hidden patch what the teacher says of it; `place`, of a patch what the
    teacher says of the same place in another crop. The last two make tokens that tell what is
    where, which is what points learn from.

    Args:
        config: Of the whole training.

    Source: Caron et al., DINO, arXiv 2104.14294; Zhou et al., iBOT, arXiv 2111.07832; Sinkhorn
        targets and untied heads as in DINOv2, arXiv 2304.07193, section 4.
    """

    def __init__(self, config: ImageTrainingConfig) -> None:
        super().__init__()
        self.config = config
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

    def forward(self, batch: ImageBatch, values: StepValues) -> LossTerms:
        """Compute the losses of a batch.

        What is masked depends on (run.seed, step, slot).

        Args:
            batch: Crops on the device of the weights.
            values: Of which `step`, `mask_ratio` and `teacher_temp` matter.
        """
        c = self.config.distillation
        images, small = batch.global_crops / 255, batch.local_crops / 255
        mask = self._mask(batch, values)
        with torch.no_grad():
            seen = self.teacher.vit(images)
            class_logits = cosines(self.teacher.class_head, seen[0])
            patch_logits = cosines(self.teacher.patch_head, seen[1])
            class_target = sinkhorn_knopp(class_logits, values.teacher_temp, c.sinkhorn_iterations)
            patch_target = sinkhorn_knopp(
                patch_logits.flatten(0, 1), values.teacher_temp, c.sinkhorn_iterations
            )
        student = self.student
        large, local = student.vit(images, mask), student.vit(small)
        terms = {
            'class': self._class_loss(torch.cat([large[0], local[0]]), class_target),
            **self._patch_losses(batch, mask, large[1], local[1], patch_target),
        }
        weights = {'class': c.class_weight, 'mask': c.mask_weight, 'place': c.place_weight}
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        monitors = {'prototypes': prototype_usage(patch_logits.flatten(0, 1), values.teacher_temp)}
        return LossTerms(total, {n: t.detach() for n, t in {**terms, **monitors}.items()})

    def _mask(self, batch: ImageBatch, values: StepValues) -> Tensor:
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

    def _class_loss(self, student: Tensor, target: Tensor) -> Tensor:
        """Compare the class tokens of global and local crops with those of the other globals.

        Args:
            student: (2 B + n B, C), global crops first.
            target: (2 B, K).
        """
        num_images = len(target) // 2
        pairs = target.view(num_images, 2, -1)
        num_local = len(student) // num_images - 2
        other = pairs.flip(1).flatten(0, 1)
        both = pairs.mean(1).repeat_interleave(num_local, 0)
        logits = cosines(self.student.class_head, student)
        temp = self.config.distillation.student_temp
        return prototype_cross_entropy(logits, torch.cat([other, both]), temp).mean()

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
        logits = cosines(self.student.patch_head, tokens)
        temp = self.config.distillation.student_temp
        loss = prototype_cross_entropy(logits, target[rows], temp)
        num_masked = len(rows) - len(row)
        losses = {'mask': loss[:num_masked].mean()}
        if len(row):
            losses['place'] = loss[num_masked:].mean()
        return losses


def cosines(head: PrototypeHead, tokens: Tensor) -> Tensor:
    """Return (..., K) float32 cosines of (..., C) tokens with the prototypes of a head."""
    x: Tensor = head.prototype(functional.normalize(head.mlp(tokens).float(), dim=-1))
    return x


def draw_patch_mask(side: int, size: int, ratio: float, generator: torch.Generator) -> Tensor:
    """Return (side * side,) bool, true for the patches in a share of the cells.

    Args:
        side: Patches per side.
        size: Edge of a cell, in patches; cells at the right and lower edge may be smaller.
        ratio: Share of the cells; at least one is masked.
        generator: Draws.
    """
    cells = -(-side // size)
    chosen = torch.zeros(cells * cells, dtype=torch.bool)
    count = max(1, round(ratio * cells * cells))
    chosen[torch.randperm(cells * cells, generator=generator)[:count]] = True
    grid = chosen.view(cells, cells).repeat_interleave(size, 0).repeat_interleave(size, 1)
    return grid[:side, :side].flatten()


def same_place(
    local_box: Tensor, global_box: Tensor, num_local: int, num_global: int
) -> tuple[Tensor, Tensor]:
    """Find the patch of a global crop that covers the centre of a patch of a local crop.

    Args:
        local_box: (n B, 4) see `Crops`.
        global_box: (2 B, 4).
        num_local: t, patches of a local crop, a square number.
        num_global: T, patches of a global crop, a square number.

    Returns:
        found: (n B, t) bool, patches that the first or else the second global crop covers.
        row: (found.sum(),) int64, their rows among the (2 B * T) patches of the global crops.
    """
    num_images = len(global_box) // 2
    per_image = len(local_box) // num_images
    side, fine = round(num_global**0.5), round(num_local**0.5)
    step = (torch.arange(fine, device=local_box.device) + 0.5) / fine
    within = torch.stack(torch.meshgrid(step, step, indexing='ij'), -1).view(1, -1, 2)
    place = local_box[:, None, :2] + within * local_box[:, None, 2:]  # (n B, t, 2)
    owner = torch.arange(num_images, device=place.device).repeat_interleave(per_image)
    found = torch.zeros(place.shape[:2], dtype=torch.bool, device=place.device)
    row = torch.zeros(place.shape[:2], dtype=torch.int64, device=place.device)
    for crop in (1, 0):  # the first one has the last word
        index = 2 * owner + crop
        box = global_box[index][:, None]
        cell = ((place - box[..., :2]) / box[..., 2:] * side).floor().long()
        inside = ((cell >= 0) & (cell < side)).all(-1)
        here = index[:, None] * num_global + cell[..., 0] * side + cell[..., 1]
        row = torch.where(inside, here, row)
        found |= inside
    return found, row[found]
