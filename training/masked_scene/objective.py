"""MaskedSceneObjective: say of hidden parts of a scene what a teacher says of all of it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from concerto_ros.model import Plan, PointBatch, make_plan
from concerto_ros.model.plan import draw_permutations
from training.distributed import all_reduce_sum, world_size
from training.masked_scene.batch import MaskedBatch
from training.masked_scene.collapse import MONITORS, CollapseWatch, spread
from training.masked_scene.config import MaskedConfig
from training.masked_scene.heads import make_head
from training.masked_scene.masks import draw_hidden, hidden_cells
from training.masked_scene.nothing_hidden import NothingHiddenWatch
from training.masked_scene.targets import LevelTargets, cross_view_targets, shallow_targets
from training.networks.unet import UNet, in_plan_order, take_rows
from training.objectives.masking import mask_generator, order_generator
from training.objectives.teacher import start_teacher, update_teacher
from training.structures import LossTerms, StepValues

Order = list[list[int]]  # of the curves, for each stage

VIEWS = 2  # of a scene
SHALLOW_CHANNELS = 6  # colour and normal


class MaskedSceneObjective(nn.Module):
    """A student sees parts of two views and predicts, at every level, what it does not see.

    What it shall predict is what its slow copy, which sees the whole of the other view, says of
    the same points; or, for comparison, the colours and normals of these points.

    Names in the state dict: `student.*` and `teacher.*` are the tensors of the network,
    `heads.L.*` those of the head of level L, `token` is what decoding starts from where nothing
    is seen; `watch.*` is what the rule against collapse keeps in mind.

    Args:
        config: Of the whole training.
        make_network: Returns a new network; the student and the teacher are one each.

    Raises:
        ConfigError: `masking.level`, `loss.levels` or `loss.weights` do not fit the network.

    Source: Hermosilla et al., Masked Scene Modeling, CVPR 2025, arXiv 2504.06719; where the paper
        is silent, the choices are ours (see the README of this folder).
    """

    teacher: UNet | None

    def __init__(self, config: MaskedConfig, make_network: Callable[[], UNet]) -> None:
        super().__init__()
        self.config = config
        self.student = make_network()
        self.token = nn.Parameter(torch.empty(self.student.token_channels))
        nn.init.trunc_normal_(self.token, std=0.02)
        self.teacher = None
        if config.target == 'teacher':
            self.teacher = make_network()
            start_teacher(self.teacher, self.student)
        channels = self.student.channels
        self._level = config.masking.level_of(len(channels))
        weights = config.loss.level_weights(len(channels))
        self._levels = tuple(weights)
        self.weights = {f'level{level}': weight for level, weight in weights.items()}
        self.heads = nn.ModuleDict(
            {str(level): self._make_head(channels[level]) for level in self._levels}
        )
        if self.teacher is not None:
            warmup = round(config.optimizer.warmup * config.run.num_steps)
            self.watch = CollapseWatch(config.collapse, warmup, self._levels)
        self._nothing_hidden = NothingHiddenWatch()

    def forward(self, batch: MaskedBatch, values: StepValues) -> LossTerms:
        """Compute the losses of a batch.

        Random numbers depend on (run.seed, step) for the order of curves and on (run.seed, step,
        slot, view) for what is hidden; drop path takes the global ones. Half precision is the
        caller's autocast; losses are computed in float32.

        Args:
            batch: Views on the device of the weights.
            values: Of the step.

        Returns:
            The weighted sum; the terms `level0`, `level1`, ...; at times `blind0`, `blind1`, ...,
            the same losses of a student that is shown zeros as features; and with a teacher
            `std0`, `cosine0`, `rank0`, ... of its features before `loss.target_norm`, see
            `spread`, as means over ranks. A loss is absent where no rank has a hidden cell of its
            level. The means of the losses over ranks are those of the whole batch: over all views
            with hidden cells, of their means over cells.

        Raises:
            ConcertoError: The teacher's features have collapsed, or nothing was hidden for many
                steps.
        """
        generator = order_generator(self.config.run.seed, values.step)
        orders = [draw_permutations(self.student.geometry, generator) for _ in range(2)]
        points, plan = self._crops(batch, orders[0])
        hidden = self._hide(batch, plan, values.step)
        targets, monitors = self._targets(batch, plan, hidden, orders[1], values.step)
        decoded = self.student(points, plan, self.token, hidden, orders[0])
        total, terms = self._losses(decoded, targets, plan.num_clouds)
        self._nothing_hidden.check(values.step, bool(terms))
        if self._looks_blind(values.step):
            decoded = self._blind(points, plan, hidden, orders[0])
            _, blind = self._losses(decoded, targets, plan.num_clouds)
            terms |= {name.replace('level', 'blind'): loss for name, loss in blind.items()}
        return LossTerms(total, terms | monitors)

    def update_teacher(self, momentum: float) -> None:
        """Move the teacher towards the student; it keeps the share `momentum` of itself."""
        if self.teacher is not None:
            update_teacher(self.teacher, self.student, momentum)

    def train(self, mode: bool = True) -> 'MaskedSceneObjective':
        """Switch drop path on or off; the teacher never has it."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def _make_head(self, channels: int) -> nn.Module:
        out_channels = channels if self.teacher is not None else SHALLOW_CHANNELS
        return make_head(self.config.loss.head, channels, out_channels)

    def _crops(self, batch: MaskedBatch, order: Order) -> tuple[PointBatch, Plan]:
        """Return what the student is given, in the order of its plan; nothing is hidden yet."""
        kept = torch.zeros_like(batch.full.batch, dtype=torch.bool)
        kept[batch.crop] = True
        return _planned(take_rows(batch.full, kept), self.student, order)

    def _hide(self, batch: MaskedBatch, plan: Plan, step: int) -> Tensor:
        """Return (V,) bool, hidden voxels of the crops."""
        seed = self.config.run.seed
        generators = [
            mask_generator(seed, step, slot, view) for slot in batch.slots for view in range(VIEWS)
        ]
        return draw_hidden(plan, self._level, self.config.masking.ratio, generators)

    @torch.no_grad()
    def _targets(
        self, batch: MaskedBatch, crops: Plan, hidden: Tensor, order: Order, step: int
    ) -> tuple[list[LevelTargets], dict[str, Tensor]]:
        """Return the targets of all levels, finest first, and how different they are."""
        cells, norm = hidden_cells(hidden, crops), self.config.loss.target_norm
        if self.teacher is None:
            return shallow_targets(batch, crops, cells, norm), {}
        points, full = _planned(batch.full, self.teacher, order)
        feats = self.teacher(points, full, self.token, permutations=order)
        targets = cross_view_targets(batch, crops, cells, full, feats, norm)
        return targets, self._monitors(feats, step)

    def _looks_blind(self, step: int) -> bool:
        every = self.config.collapse.blind_every
        return every > 0 and (step + 1) % every == 0

    @torch.no_grad()
    def _blind(
        self, points: PointBatch, plan: Plan, hidden: Tensor, order: Order
    ) -> tuple[Tensor, ...]:
        """Return what the student decodes of places alone; random numbers stay as they are."""
        dark = replace(points, feat=torch.zeros_like(points.feat))
        with _own_random(self.token.device):
            decoded: tuple[Tensor, ...] = self.student(dark, plan, self.token, hidden, order)
        return decoded

    def _losses(
        self, decoded: tuple[Tensor, ...], targets: list[LevelTargets], num_views: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compare predictions with targets; return the weighted sum, and the terms."""
        counts = [len(torch.unique(targets[level].view)) for level in self._levels]
        counts = all_reduce_sum(self.token.new_tensor(counts)).tolist()
        # Adds nothing, but gives every parameter a gradient, whatever is hidden or compared.
        total = self.token.new_zeros(()) + sum(x[:0].float().sum() for x in (*decoded, self.token))
        terms = {}
        for level, count in zip(self._levels, counts, strict=True):
            target, head = targets[level], self.heads[str(level)]
            distance = self._distance(head(decoded[level][target.rows]), target.target)
            views = _view_means(distance, target.view, num_views)
            loss = world_size() * views.sum() / max(count, 1.0)
            total = total + self.weights[f'level{level}'] * loss
            if count:
                terms[f'level{level}'] = loss.detach()
        return total, terms

    def _distance(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return (R,) float32, over the known channels."""
        prediction = prediction.float()
        if self.config.loss.distance == 'cosine':
            return 1 - functional.cosine_similarity(prediction, target, eps=1e-6)
        compare = {'smooth_l1': functional.smooth_l1_loss, 'mse': functional.mse_loss}
        is_known = ~target.isnan()
        target = target.where(is_known, prediction.detach())
        each = compare[self.config.loss.distance](prediction, target, reduction='none')
        return each.sum(1) / is_known.sum(1)

    def _monitors(self, feats: Sequence[Tensor], step: int) -> dict[str, Tensor]:
        """Return how different features are, the mean over ranks; stop when they are all alike."""
        found = torch.zeros(len(self._levels), len(MONITORS) + 1, device=self.token.device)
        for row, level in zip(found, self._levels, strict=True):
            if len(feats[level]) > 1:
                row[:-1], row[-1] = spread(feats[level]), 1
        found = all_reduce_sum(found)
        means = found[:, :-1] / found[:, -1:]  # NaN where no rank has two cells
        self.watch.check(step, means[:, MONITORS.index('rank')].tolist())
        return {
            f'{name}{level}': value
            for level, row, count in zip(self._levels, means, found[:, -1].tolist(), strict=True)
            for name, value in zip(MONITORS, row, strict=True)
            if count
        }


def _own_random(device: torch.device) -> AbstractContextManager[None]:
    return torch.random.fork_rng([device] if device.type == 'cuda' else [])


def _planned(points: PointBatch, network: UNet, order: Order) -> tuple[PointBatch, Plan]:
    plan = make_plan(
        points.grid_coord,
        points.offset,
        network.geometry,
        depth=network.depth,
        permutations=order,
    )
    return in_plan_order(points, plan), plan


def _view_means(x: Tensor, view: Tensor, num_views: int) -> Tensor:
    """Return (V,): the mean over the rows of each view, 0 where there is none."""
    total = x.new_zeros(num_views).index_add(0, view, x)
    return total / view.bincount(minlength=num_views).clamp_min(1)
