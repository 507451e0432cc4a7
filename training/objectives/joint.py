"""JointObjective: points learn from themselves and from images at once."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from concerto_ros.errors import ConfigError
from concerto_ros.model import BackboneConfig, FeaturePyramid, PointBatch, make_plan
from concerto_ros.model.plan import draw_permutations
from training.backbone_sizes import backbone_config
from training.config import TrainingConfig
from training.objectives.cells import view_cells
from training.objectives.cross_modal import cross_modal, encode, token_hits
from training.objectives.heads import Branch
from training.objectives.masking import draw_mask, hide, mask_generator, order_generator
from training.objectives.self_distillation import (
    DistilledViews,
    self_distillation,
    student_heads,
    term_weights,
)
from training.objectives.teacher import start_teacher, update_teacher
from training.structures import DistillationValues, LossTerms, ViewBatch

Order = list[list[int]]  # of the curves, for each stage


class JointObjective(nn.Module):
    """A student learns to say of parts of a view what its own slow copy says of all of it.

    And, from points, what a frozen image encoder sees. Parts whose weights are zero do not exist.
    Names in the state dict are those of the published training checkpoints; the image encoder is
    no part of it.

    Args:
        config: Of the whole training.
        image_encoder: Makes (I, T, D) tokens of (I, 3, S, S) images, frozen, in eval mode and on
            the device of the batches; None if batches bring their tokens.
        image_channels: D.
        patches_per_side: P, so that T = P * P.

    Raises:
        ConfigError: All weights are zero, or the backbone has too few stages.

    Source: Concerto, arXiv 2510.23607, section 3, and its published code and configuration.
    """

    teacher: Branch | None
    patch_proj: nn.Linear | None

    def __init__(
        self,
        config: TrainingConfig,
        image_encoder: nn.Module | None,
        image_channels: int,
        patches_per_side: int,
    ) -> None:
        super().__init__()
        self.config = config
        self.weights = term_weights(config.distillation)
        backbone = backbone_config(config.backbone)
        heads = student_heads(config.distillation)
        self._level = self._token_level = 0
        if heads:
            self._level = _level('distillation', config.distillation.up_cast_level, backbone)
        self.student = Branch(backbone, heads, self._level, config.distillation)
        self.teacher = self._make_teacher(backbone, heads[:1]) if heads else None
        self.patch_proj = None
        if config.cross_modal.weight > 0:
            self.weights['cross_modal'] = config.cross_modal.weight
            self._token_level = _level('cross_modal', config.cross_modal.up_cast_level, backbone)
            in_channels = sum(backbone.enc_channels[self._token_level :])
            self.patch_proj = nn.Linear(in_channels, image_channels)
        if not self.weights:
            raise ConfigError('all weights of distillation.* and cross_modal.* are zero: set one')
        self._image_encoder = (image_encoder,)  # a tuple hides it from the module's own parts
        self._patches_per_side = patches_per_side

    def forward(self, batch: ViewBatch, values: DistillationValues) -> LossTerms:
        """Compute the losses of a batch.

        Random numbers depend on (run.seed, step) for the order of curves and on (run.seed, step,
        slot) for masks, not on the batch or rank a scene is in; drop path takes the global ones.
        Half precision is the caller's autocast; losses are computed in float32.

        Args:
            batch: Views on the device of the weights.
            values: Of the step.

        Returns:
            The weighted sum, and the terms `mask`, `roll`, `unmask`, `cross_modal` as far as they
            are on, with the monitors of `self_distillation`. If no rank has a token that is hit,
            `cross_modal` is absent and the other terms weigh more, so that the sum of the
            weights stays. The means of the losses over ranks are those of the whole batch.

        Raises:
            ConfigError: Tokens are absent or of another image encoder.
        """
        generator = order_generator(self.config.run.seed, values.step)
        orders = [draw_permutations(self.student.backbone.config, generator) for _ in range(3)]
        masked = self._pass_masked(batch, values, orders[0])
        losses: dict[str, Tensor] = {}
        monitors: dict[str, Tensor] = {}
        if self.teacher is not None:
            views = self._views(batch, self.teacher, masked, orders[1:])
            distillation, temp = self.config.distillation, values.teacher_temp
            losses, monitors = self_distillation(
                self.student, self.teacher, views, distillation, temp
            )
        factor, total_weight = 1.0, sum(self.weights.values())
        terms = losses | monitors
        if self.patch_proj is not None and masked is not None:
            losses['cross_modal'], num_hits = self._agree(batch, masked, self.patch_proj)
            if num_hits > 0:
                terms |= losses
            elif distillation_weight := total_weight - self.weights['cross_modal']:
                factor = total_weight / distillation_weight
        # A cross-modal loss without hits is zero, but gives the projection its gradient.
        total = torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()
        return LossTerms(factor * total, {name: term.detach() for name, term in terms.items()})

    def update_teacher(self, momentum: float) -> None:
        """Move the teacher towards the student, after each step of the optimiser."""
        if self.teacher is not None:
            update_teacher(self.teacher, self.student, momentum)

    def train(self, mode: bool = True) -> 'JointObjective':
        """Switch drop path on or off; the teacher never has it."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def _make_teacher(self, backbone: BackboneConfig, heads: list[str]) -> Branch:
        still = replace(backbone, drop_path=0.0)
        teacher = Branch(still, heads, self._level, self.config.distillation)
        start_teacher(teacher, self.student)
        return teacher

    def _pass_masked(
        self, batch: ViewBatch, values: DistillationValues, order: Order
    ) -> FeaturePyramid | None:
        """Show the student the global views with parts hidden, once for all terms that ask."""
        if self.weights.keys() <= {'unmask'}:
            return None
        points, run = batch.global_points, self.config.run
        views = range(len(points.offset) // len(batch.slots))
        generators = [
            mask_generator(run.seed, values.step, slot, view)
            for slot in batch.slots
            for view in views
        ]
        mask = draw_mask(points, values.mask_size, values.mask_ratio, generators)
        jitter, voxel_size = self.config.distillation.mask_jitter, self.config.data.voxel_size
        hidden = hide(points, mask, jitter, voxel_size, generators)
        return _pass(self.student, hidden, order, mask)

    def _views(
        self,
        batch: ViewBatch,
        teacher: Branch,
        masked: FeaturePyramid | None,
        orders: list[Order],
    ) -> DistilledViews:
        """Show the teacher the full global views and the student the local ones."""
        with torch.no_grad():
            full = _pass(teacher, batch.global_points, orders[0])
        local = None
        if 'unmask' in self.weights:
            # Nothing is hidden, but without a mask the mask token might be left without gradient.
            nothing = torch.zeros_like(batch.local_origin[:, 0], dtype=torch.bool)
            local = _pass(self.student, batch.local_points, orders[1], nothing)
        origin, level = batch.global_origin, self._level
        return DistilledViews(
            num_scenes=len(batch.slots),
            teacher=view_cells(full, origin, level),
            masked=None if masked is None else view_cells(masked, origin, level),
            local=None if local is None else view_cells(local, batch.local_origin, level),
        )

    def _agree(
        self, batch: ViewBatch, masked: FeaturePyramid, patch_proj: nn.Linear
    ) -> tuple[Tensor, Tensor]:
        """Compare what was predicted from masked views with what the image encoder sees."""
        hits = token_hits(batch, masked, self._token_level, self._patches_per_side)
        tokens = encode(self._image_encoder[0], batch)
        num_tokens, channels = self._patches_per_side**2, patch_proj.out_features
        if batch.num_images and tokens.shape[1:] != (num_tokens, channels):
            raise ConfigError(
                f'cross_modal.image_encoder makes ({num_tokens}, {channels}) tokens of an image, '
                f'this batch has {tuple(tokens.shape[1:])}: fill another cross_modal.token_cache, '
                'or give an image encoder if it has none'
            )
        seen = tokens.reshape(-1, channels)[hits.token]
        loss, num_hits = cross_modal(masked, self._token_level, hits, seen, patch_proj)
        return self.config.cross_modal.scale * loss, num_hits


def _level(section: str, up_cast_level: int, backbone: BackboneConfig) -> int:
    """Return the level that lies some steps below the coarsest."""
    level = backbone.num_stages - 1 - up_cast_level
    if level < 0:
        raise ConfigError(
            f'{section}.up_cast_level must be below the {backbone.num_stages} stages of the '
            f'backbone, got {up_cast_level}'
        )
    return level


def _pass(
    branch: Branch, points: PointBatch, order: Order, mask: Tensor | None = None
) -> FeaturePyramid:
    config = branch.backbone.config
    plan = make_plan(points.grid_coord, points.offset, config, permutations=order)
    pyramid: FeaturePyramid = branch.backbone(points, plan=plan, mask=mask)
    return pyramid
