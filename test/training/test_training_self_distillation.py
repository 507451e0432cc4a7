from dataclasses import replace

import pytest
import torch

from concerto_ros.model import BackboneConfig, FeaturePyramid
from concerto_ros.model.pyramid import PyramidLevel
from training.config import DistillationConfig
from training.objectives.cells import view_cells
from training.objectives.heads import Branch
from training.objectives.self_distillation import (
    DistilledViews,
    self_distillation,
    student_heads,
    term_weights,
)

CONFIG = DistillationConfig(hidden=12, embed=6, prototypes=10)
BACKBONE = BackboneConfig(
    enc_depths=(1,), enc_channels=(8,), enc_num_head=(1,), enc_patch_size=(16,), stride=()
)
TEMP = 0.05


def branches(config=CONFIG):
    heads = student_heads(config)
    student, teacher = Branch(BACKBONE, heads, 0, config), Branch(BACKBONE, heads[:1], 0, config)
    with torch.no_grad():
        for p in (*student.parameters(), *teacher.parameters()):
            p.normal_()
    return student, teacher.requires_grad_(False)


def cells(counts, seed, extent=0.8):
    """Views of random cells with random features, all in one place."""
    generator = torch.Generator().manual_seed(seed)
    num_rows = sum(counts)
    level = PyramidLevel(
        feat=torch.randn(num_rows, 8, generator=generator).requires_grad_(),
        grid_coord=torch.zeros(num_rows, 3, dtype=torch.int64),
        offset=torch.tensor(counts).cumsum(0),
        inverse=torch.arange(num_rows),
    )
    origin = torch.rand(num_rows, 3, generator=generator) * extent
    return view_cells(FeaturePyramid((level,)), origin, 0)


def some_views():
    return DistilledViews(
        num_scenes=2,
        teacher=cells([30, 20, 25, 40], seed=1),
        masked=cells([28, 21, 25, 39], seed=2),
        local=cells([9, 8, 7, 6, 5, 0], seed=3),
    )


def sinkhorn(logits, temp, num_iterations):
    q = (logits / temp).exp()
    for _ in range(num_iterations):
        q = q / q.sum(0)
        q = q / q.sum(1, keepdim=True)
    return q


def expected_term(student_head, teacher_head, student, teacher, answers, config=CONFIG):
    """Restate a term with loops over views; `answers` names the teacher's view of each."""
    logits = [
        head(part.pyramid, 0, torch.arange(len(part))).detach().double()
        for head, part in ((student_head, student), (teacher_head, teacher))
    ]
    pairs = []
    for row in range(len(student)):
        distance = (teacher.origin - student.origin[row]).norm(dim=1)
        distance[teacher.view != answers[student.view[row]]] = torch.inf
        if distance.min() < config.match_radius:
            pairs.append((row, int(distance.argmin())))
    rows, references = torch.tensor(pairs).t()
    target = sinkhorn(logits[1][references], TEMP, config.sinkhorn_iterations)
    loss = -(target * torch.log_softmax(logits[0][rows] / config.student_temp, 1)).sum(1)
    view = student.view[rows]
    per_view = [loss[view == v].mean() if (view == v).any() else 0 for v in range(len(answers))]
    return sum(per_view) / len(answers)


@pytest.mark.parametrize(
    ('name', 'student_cells', 'head', 'answers'),
    [
        ('mask', 'masked', 'mask_head', [0, 1, 2, 3]),
        ('roll', 'masked', 'mask_head', [1, 0, 3, 2]),
        ('unmask', 'local', 'unmask_head', [0, 0, 0, 2, 2, 2]),
    ],
)
def test_terms_are_those_of_a_plain_restatement(name, student_cells, head, answers):
    student, teacher = branches()
    views = some_views()
    losses, _ = self_distillation(student, teacher, views, CONFIG, TEMP)
    expected = expected_term(
        student.head(head),
        teacher.head('mask_head'),
        getattr(views, student_cells),
        views.teacher,
        answers,
    )
    torch.testing.assert_close(losses[name].detach().double(), expected, rtol=1e-4, atol=1e-5)


def test_radius_leaves_out_far_cells():
    student, teacher = branches()
    views = some_views()
    near = replace(CONFIG, match_radius=0.05)
    losses, monitors = self_distillation(student, teacher, views, near, TEMP)
    expected = expected_term(
        student.head('mask_head'),
        teacher.head('mask_head'),
        views.masked,
        views.teacher,
        [0, 1, 2, 3],
        near,
    )
    torch.testing.assert_close(losses['mask'].detach().double(), expected, rtol=1e-4, atol=1e-5)
    assert 0 < monitors['matched'] < 1


def test_gradient_is_in_the_student_alone():
    student, teacher = branches()
    views = some_views()
    losses, _ = self_distillation(student, teacher, views, CONFIG, TEMP)
    sum(losses.values()).backward()
    for name in ('mask_head', 'unmask_head'):
        trained = [p for p in student.head(name).parameters() if p.requires_grad]
        assert all(p.grad is not None and p.grad.any() for p in trained)
    assert all(p.grad is None for p in teacher.parameters())
    assert views.teacher.pyramid.levels[0].feat.grad is None
    assert views.masked.pyramid.levels[0].feat.grad.any()
    assert views.local.pyramid.levels[0].feat.grad.any()


def test_views_that_do_not_meet_give_zero_and_a_zero_gradient():
    student, teacher = branches()
    views = some_views()
    far = replace(views, teacher=replace(views.teacher, origin=views.teacher.origin + 100))
    losses, monitors = self_distillation(student, teacher, far, CONFIG, TEMP)
    sum(losses.values()).backward()
    assert [loss.item() for loss in losses.values()] == [0, 0, 0]
    assert monitors['matched'].item() == 0
    trained = [p for n in ('mask_head', 'unmask_head') for p in student.head(n).parameters()]
    assert all(p.grad is not None and not p.grad.any() for p in trained if p.requires_grad)


def test_all_cells_match_themselves():
    student, teacher = branches()
    views = some_views()
    config = replace(CONFIG, roll_weight=0.0, unmask_weight=0.0)
    same = replace(views, masked=views.teacher, local=None)
    losses, monitors = self_distillation(student, teacher, same, config, TEMP)
    assert losses.keys() == {'mask'}
    assert monitors['matched'].item() == 1
    assert 0 < monitors['prototypes'] <= 1


@pytest.mark.parametrize(
    ('off', 'heads'),
    [
        ('mask_weight', ['mask_head', 'unmask_head']),
        ('unmask_weight', ['mask_head']),
    ],
)
def test_what_has_no_weight_does_not_exist(off, heads):
    config = replace(CONFIG, **{off: 0.0})
    student, teacher = branches(config)
    assert student_heads(config) == heads
    losses, _ = self_distillation(student, teacher, some_views(), config, TEMP)
    assert losses.keys() == term_weights(config).keys()
    assert off.removesuffix('_weight') not in losses
