from dataclasses import replace

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from concerto_ros.errors import ConfigError
from concerto_ros.model import PointBatch
from training.backbone_sizes import backbone_config
from training.config import (
    BackboneSection,
    CrossModalConfig,
    DistillationConfig,
    TrainingConfig,
)
from training.objectives.joint import JointObjective
from training.structures import DistillationValues, ViewBatch

PATCHES = 3  # per side of an image
CHANNELS = 8  # of a token
CONFIG = TrainingConfig(
    backbone=BackboneSection(depths='1,1,1', channels='16,16,32', heads='1,1,2', drop_path=0.0),
    distillation=DistillationConfig(
        hidden=32, embed=16, prototypes=24, up_cast_level=1, match_radius=0.2
    ),
    cross_modal=CrossModalConfig(up_cast_level=1),
)
VALUES = DistillationValues(
    step=3,
    lr=0.001,
    beta1=0.9,
    weight_decay=0.0,
    momentum=0.9,
    teacher_temp=0.05,
    mask_size=0.2,
    mask_ratio=0.5,
)


def with_weights(mask=0.125, roll=0.125, unmask=0.25, cross_modal=0.5):
    distillation = replace(
        CONFIG.distillation, mask_weight=mask, roll_weight=roll, unmask_weight=unmask
    )
    return replace(
        CONFIG,
        distillation=distillation,
        cross_modal=replace(CONFIG.cross_modal, weight=cross_modal),
    )


def make_objective(config=CONFIG, encoder=None):
    torch.manual_seed(0)
    objective = JointObjective(config, encoder, CHANNELS, PATCHES)
    for branch in (objective.student, objective.teacher):
        if branch is not None:  # at zero, as it starts, a norm blows rounding up to percents
            torch.nn.init.normal_(branch.backbone.embedding.mask_token)
    return objective


def point_batch(parts):
    """Put clouds, each (N, 3), together."""
    coord = torch.cat(parts)
    grid_coord = torch.cat([((part - part.amin(0)) / 0.02).long() for part in parts])
    feat = torch.cat([coord, coord.sin(), (10 * coord).sin()], 1)
    counts = torch.tensor([len(part) for part in parts])
    return PointBatch(coord=coord, grid_coord=grid_coord, feat=feat, offset=counts.cumsum(0))


def views_of(slot, sizes):
    generator = torch.Generator().manual_seed(slot)
    scene = torch.rand(300, 3, generator=generator)
    scene[:, 2] = scene[:, 0] > 0.5  # a floor with a step
    return [scene[torch.randperm(300, generator=generator)[:n]] for n in sizes]


def make_batch(slots=(0, 1), images=(2, 0), device='cpu'):
    """Scenes by slot; `images` is how many each has. Equal slots have equal scenes."""
    global_views = [view for slot in slots for view in views_of(slot, (200, 150))]
    local_views = [view for slot in slots for view in views_of(slot, (60, 50, 40))]
    links, tokens, first = [], [torch.zeros(0, PATCHES**2, CHANNELS)], 0
    for i, (slot, num_images) in enumerate(zip(slots, images, strict=True)):
        generator = torch.Generator().manual_seed(100 + slot)
        count = 80 * (num_images > 0)
        points = torch.randint(0, 200, (count,), generator=generator)
        image = torch.randint(0, max(1, num_images), (count,), generator=generator)
        patch = torch.rand(count, 2, generator=generator) * PATCHES
        links.append(torch.cat([points[:, None] + 350 * i, image[:, None] + first, patch], 1))
        tokens.append(torch.randn(num_images, PATCHES**2, CHANNELS, generator=generator))
        first += num_images
    link = torch.cat(links)
    local_points = point_batch(local_views)
    batch = ViewBatch(
        names=tuple(f'scene{slot}' for slot in slots),
        slots=tuple(slots),
        global_points=point_batch(global_views),
        global_origin=torch.cat(global_views),
        local_points=local_points,
        local_origin=local_points.coord,
        images=torch.zeros(0, 3, 6, 6),
        tokens=torch.cat(tokens),
        link_point=link[:, 0].long(),
        link_image=link[:, 1].long(),
        link_patch=link[:, 2:],
    )
    return batch.to(device)


def test_terms_and_their_weighted_sum(device):
    objective = make_objective().to(device)
    total, terms = objective(make_batch(device=device), VALUES)
    assert set(terms) == {'mask', 'roll', 'unmask', 'cross_modal', 'matched', 'prototypes'}
    assert not any(t.requires_grad for t in terms.values())
    expected = (
        terms['mask'] / 8 + terms['roll'] / 8 + terms['unmask'] / 4 + terms['cross_modal'] / 2
    )
    torch.testing.assert_close(total.detach(), expected)


def test_every_trained_parameter_gets_a_gradient_and_the_teacher_none():
    objective = make_objective()
    objective(make_batch(), VALUES).total.backward()
    for name, parameter in objective.named_parameters():
        is_fixed = name.startswith('teacher.') or name.endswith('original0')
        assert parameter.requires_grad != is_fixed, name
        assert (parameter.grad is None) == is_fixed, name
    assert objective.student.backbone.embedding.mask_token.grad.any()


@pytest.mark.parametrize(
    'weights',
    [
        {'mask': 0},
        {'roll': 0},
        {'unmask': 0},
        {'cross_modal': 0},
        {'mask': 0, 'roll': 0},
        {'mask': 0, 'roll': 0, 'cross_modal': 0},
        {'mask': 0, 'roll': 0, 'unmask': 0},
    ],
)
@pytest.mark.parametrize('images', [(2, 1), (0, 0)])
def test_what_has_no_weight_does_not_exist_and_the_rest_is_trained(weights, images):
    objective = make_objective(with_weights(**weights))
    total, terms = objective(make_batch(images=images), VALUES)
    assert not terms.keys() & weights.keys()
    total.backward()
    trained = {n: p.grad for n, p in objective.named_parameters() if p.requires_grad}
    assert [name for name, grad in trained.items() if grad is None] == []


def test_names_are_those_of_the_published_training_checkpoint():
    objective = make_objective(encoder=nn.Linear(2, 2))
    names = objective.state_dict().keys()
    head = {
        f'mask_head.{name}'
        for name in (
            'mlp.0.weight',
            'mlp.0.bias',
            'mlp.2.weight',
            'mlp.2.bias',
            'prototype.parametrizations.weight.original0',
            'prototype.parametrizations.weight.original1',
        )
    }
    backbone = {f'backbone.{name}' for name in objective.student.backbone.state_dict()}
    unmask = {name.replace('mask_head', 'unmask_head') for name in head}
    student = {f'student.{name}' for name in backbone | head | unmask}
    teacher = {f'teacher.{name}' for name in backbone | head}
    assert names == student | teacher | {'patch_proj.weight', 'patch_proj.bias'}
    assert 'backbone.enc.enc1.down.proj.weight' in backbone


@pytest.mark.parametrize(('up_cast_level', 'head'), [(2, 896), (1, 768)])
def test_widths_follow_the_published_arithmetic(up_cast_level, head):
    config = replace(
        CONFIG,
        backbone=BackboneSection(size='small'),
        distillation=replace(CONFIG.distillation, up_cast_level=up_cast_level),
        cross_modal=CrossModalConfig(up_cast_level=3),
    )
    with torch.device('meta'):
        assert backbone_config(config.backbone).enc_channels == (32, 64, 128, 256, 512)
        objective = make_objective(config)
    assert objective.student.head('mask_head').mlp[0].in_features == head
    assert objective.patch_proj.in_features == 960


def test_without_images_the_other_terms_weigh_as_much_as_all():
    objective = make_objective()
    total, terms = objective(make_batch(images=(0, 0)), VALUES)
    assert 'cross_modal' not in terms
    expected = 2 * (terms['mask'] / 8 + terms['roll'] / 8 + terms['unmask'] / 4)
    torch.testing.assert_close(total.detach(), expected)
    total.backward()
    assert not objective.patch_proj.weight.grad.any()


def test_images_go_through_the_encoder():
    encoder = nn.Sequential(
        nn.AvgPool2d(2), nn.Conv2d(3, CHANNELS, 1), nn.Flatten(2), Transposed()
    )
    batch = make_batch()
    images = torch.rand(2, 3, 2 * PATCHES, 2 * PATCHES)
    seen = replace(batch, images=images, tokens=torch.zeros(0, 0, 0))
    given = replace(batch, tokens=encoder(images).detach())
    found = make_objective(encoder=encoder)(seen, VALUES)
    expected = make_objective()(given, VALUES)
    torch.testing.assert_close(found.terms['cross_modal'], expected.terms['cross_modal'])
    found.total.backward()
    assert all(p.grad is None for p in encoder.parameters())


class Transposed(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


def test_the_image_encoder_is_no_part_of_the_module():
    plain, seeing = make_objective(), make_objective(encoder=nn.Linear(2, 2))
    assert plain.state_dict().keys() == seeing.state_dict().keys()
    assert len(list(plain.parameters())) == len(list(seeing.parameters()))
    assert len(list(plain.modules())) == len(list(seeing.modules()))


def test_tokens_of_another_encoder_are_refused():
    batch = replace(make_batch(), tokens=torch.zeros(2, PATCHES**2, CHANNELS + 1))
    with pytest.raises(ConfigError, match=r'\(9, 8\) tokens .* has \(9, 9\)'):
        make_objective()(batch, VALUES)


def test_images_without_encoder_are_refused():
    batch = replace(make_batch(), images=torch.rand(2, 3, 6, 6), tokens=torch.zeros(0, 0, 0))
    with pytest.raises(ConfigError, match='give an image encoder'):
        make_objective()(batch, VALUES)


def test_no_weights_are_refused():
    with pytest.raises(ConfigError, match='all weights'):
        make_objective(with_weights(0, 0, 0, 0))


def test_too_many_steps_up_are_refused():
    config = replace(CONFIG, cross_modal=CrossModalConfig(up_cast_level=3))
    with pytest.raises(ConfigError, match=r'cross_modal.up_cast_level must be below the 3'):
        make_objective(config)


def test_steps_up_of_what_is_off_do_not_matter():
    config = replace(CONFIG, cross_modal=CrossModalConfig(up_cast_level=3, weight=0.0))
    assert make_objective(config).patch_proj is None


def test_the_same_step_gives_the_same_loss_and_another_step_another_mask():
    objective, batch = make_objective(), make_batch()
    first, second = objective(batch, VALUES).total, objective(batch, VALUES).total
    assert torch.equal(first, second)
    assert not torch.equal(first, objective(batch, replace(VALUES, step=4)).total)


def test_teacher_follows_and_never_drops_paths():
    config = replace(CONFIG, backbone=replace(CONFIG.backbone, drop_path=0.5))
    objective = make_objective(config).train()
    weight = 'backbone.enc.enc0.block0.mlp.0.fc1.weight'
    student, teacher = objective.student.get_parameter(weight), objective.teacher
    assert objective.student.training
    assert not any(module.training for module in teacher.modules())
    start = student.detach().clone()
    assert torch.equal(teacher.get_parameter(weight), start)
    student.data.add_(1)
    objective.update_teacher(0.75)
    torch.testing.assert_close(teacher.get_parameter(weight), start + 0.25)


def test_points_alone_know_no_teacher_without_distillation():
    objective = make_objective(with_weights(0, 0, 0, 1))
    objective.update_teacher(0.5)
    assert {name.split('.')[0] for name in objective.state_dict()} == {'student', 'patch_proj'}


def test_one_batch_is_learned_by_heart():
    section = BackboneSection(depths='1,1', channels='16,32', heads='1,2', drop_path=0.0)
    objective, batch = make_objective(replace(CONFIG, backbone=section)), make_batch((0,), (1,))
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], 0.006)
    totals = []
    for _ in range(14):
        optimizer.zero_grad()
        terms = objective(batch, VALUES)
        terms.total.backward()
        optimizer.step()
        objective.update_teacher(0.99)
        totals.append(terms.total.item())
    assert totals[-1] < 0.6 * totals[0]
    assert terms.terms['prototypes'] > 3 / 24  # it did not learn to say one thing of all


def test_half_precision_trains():
    objective = make_objective()
    exact = objective(make_batch(), VALUES).total
    with torch.autocast('cpu', dtype=torch.bfloat16):
        total = objective(make_batch(), VALUES).total
    total.backward()
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, exact, rtol=0.02, atol=0)
    assert all(p.grad.isfinite().all() for p in objective.parameters() if p.grad is not None)


def _train_one_rank(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2
    )
    objective = make_objective()
    model = DistributedDataParallel(objective)
    results = []
    for images in ((2, 0), (2, 1), (0, 0)):  # one rank, both, none have images
        model.zero_grad()
        terms = model(make_batch((rank,), images[rank : rank + 1]), VALUES)
        terms.total.backward()
        results.append((terms.terms, gradients(objective)))
    torch.save(results, f'{folder}/{rank}.pt')
    distributed.destroy_process_group()


def gradients(objective):
    return {n: p.grad.clone() for n, p in objective.named_parameters() if p.requires_grad}


@pytest.mark.slow
def test_two_ranks_with_a_scene_each_equal_one_with_both(tmp_path):
    multiprocessing.spawn(_train_one_rank, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f'{rank}.pt') for rank in range(2))
    for i, images in enumerate(((2, 0), (2, 1), (0, 0))):
        objective = make_objective()
        terms = objective(make_batch((0, 1), images), VALUES)
        terms.total.backward()
        assert first[i][0].keys() == second[i][0].keys() == terms.terms.keys()
        for name in terms.terms.keys() - {'prototypes', 'matched'}:
            mean = (first[i][0][name] + second[i][0][name]) / 2
            torch.testing.assert_close(mean, terms.terms[name], rtol=1e-5, atol=1e-6)
        for name, expected in gradients(objective).items():
            error = (first[i][1][name] - expected).norm()
            assert error <= 1e-3 * expected.norm() + 1e-6, name  # rounding
            assert torch.equal(first[i][1][name], second[i][1][name])
