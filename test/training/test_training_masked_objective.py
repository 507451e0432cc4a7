"""The objective of masked scene modelling: what is shown, compared, trained and watched."""

from dataclasses import replace

import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from training_masked import GEOMETRY, TinyUNet, make_batch
from training_ranks import run_ranks

from concerto_ros.config.tree import build
from concerto_ros.errors import ConcertoError
from training.masked_scene.config import MaskedConfig
from training.masked_scene.objective import MaskedSceneObjective
from training.networks.concerto_unet import ConcertoUNet
from training.networks.hunet import HUNet
from training.networks.hunet_config import HUNetConfig
from training.structures import StepValues

VALUES = StepValues(step=3, lr=0.001, beta1=0.9, weight_decay=0.0, momentum=0.9)
SHALLOW = {'target': 'shallow', 'loss.distance': 'smooth_l1'}
TOP_DOWN = {'masking.level': '0', 'masking.ratio': 0.1}


def make_objective(network=TinyUNet, **settings):
    torch.manual_seed(0)
    names = {name.replace('__', '.'): value for name, value in settings.items()}
    return MaskedSceneObjective(build(MaskedConfig, names), network)


def tiny_concerto():
    config = replace(GEOMETRY, enc_channels=(16, 16, 32), enc_num_head=(1, 1, 2), drop_path=0.0)
    return ConcertoUNet(config)


def tiny_hunet():
    config = HUNetConfig(
        encoder=(16, 16, 32),
        decoder=(16, 16, 32),
        convolution=(1, 1, 1),
        attention=(0, 0, 1),
        heads=(1, 1, 2),
        attention_dropout=0.0,
    )
    return HUNet(config)


NETWORKS = [TinyUNet, tiny_concerto, tiny_hunet]


@pytest.mark.parametrize(
    'settings', [{}, SHALLOW, {'loss.levels': 'last'}, {'loss.levels': '1,2'}]
)
@pytest.mark.parametrize('network', NETWORKS)
def test_terms_and_their_weighted_sum(settings, network, device):
    objective = make_objective(network, **settings).to(device)
    total, terms = objective(make_batch(device=device), VALUES)
    levels = {'last': [0], '1,2': [1, 2]}.get(settings.get('loss.levels'), [0, 1, 2])
    weights = {f'level{level}': 1 / len(levels) for level in levels}
    assert objective.weights == pytest.approx(weights)
    monitors = {f'{name}{level}' for name in ('std', 'cosine', 'rank') for level in levels}
    assert terms.keys() == set(weights) | (set() if settings == SHALLOW else monitors)
    assert not any(t.requires_grad for t in terms.values())
    expected = sum(weight * terms[name] for name, weight in weights.items())
    torch.testing.assert_close(total.detach(), expected)


@pytest.mark.parametrize(
    'settings',
    [
        {},
        SHALLOW,
        TOP_DOWN,
        {'loss.levels': 'last'},
        {'loss.levels': '2'},
        {'loss.head': 'linear'},
    ],
)
@pytest.mark.parametrize('crop', [60, 1])
@pytest.mark.parametrize('network', NETWORKS)
def test_every_parameter_gets_a_gradient_and_the_teacher_none(settings, crop, network):
    """Also where crops of a single voxel leave nothing to hide."""
    objective = make_objective(network, **settings)
    total, terms = objective(make_batch(crop=crop), VALUES)
    total.backward()
    for name, parameter in objective.named_parameters():
        is_taught = not name.startswith('teacher.')
        assert parameter.requires_grad == is_taught, name
        assert (parameter.grad is not None) == is_taught, name
        assert not is_taught or parameter.grad.isfinite().all(), name
    assert (crop == 1) == (not terms)
    if settings == {} and crop > 1:
        assert all(p.grad.any() for n, p in objective.named_parameters() if p.requires_grad)


def test_names_in_the_state():
    objective = make_objective()
    parts = {name.split('.')[0] for name in objective.state_dict()}
    assert parts == {'student', 'teacher', 'heads', 'token'}
    student = {n[8:] for n in objective.state_dict() if n.startswith('student.')}
    assert student == TinyUNet().state_dict().keys()
    assert 'heads.2.0.weight' in objective.state_dict()
    assert make_objective(**SHALLOW).teacher is None


class _Recording(TinyUNet):
    def forward(self, points, plan, token, hidden=None, permutations=None):
        self.hidden, self.plan, self.permutations = hidden, plan, permutations
        self.decoded = super().forward(points, plan, token, hidden, permutations)
        return self.decoded


def _voxels_hidden(objective, batch):
    """Return the rows of `batch.full` that the student was not shown."""
    student = objective.student
    return batch.crop[student.hidden[student.plan.stages[0].cells.inverse]]


@pytest.mark.parametrize('settings', [{}, TOP_DOWN])
def test_the_student_sees_nothing_of_what_is_hidden(settings):
    objective = make_objective(_Recording, **settings)
    batch = make_batch()
    objective(batch, VALUES)
    before = [feat.clone() for feat in objective.student.decoded]
    outside = torch.ones(len(batch.full), dtype=torch.bool)
    outside[batch.crop] = False
    feat = batch.full.feat.clone()
    feat[_voxels_hidden(objective, batch)] += 100
    feat[outside] += 100
    changed = replace(batch, full=replace(batch.full, feat=feat))
    _, terms = objective(changed, VALUES)
    for old, new in zip(before, objective.student.decoded, strict=True):
        assert torch.equal(old, new)
    assert not torch.equal(terms['level0'], objective(batch, VALUES).terms['level0'])


class _Shallow(TinyUNet):
    depth = (1, 1, 1)


def test_curves_are_as_deep_as_the_network_wants_them():
    with pytest.raises(ConcertoError, match='must fit into 1 levels'):
        make_objective(_Shallow)(make_batch(), VALUES)


def test_the_teacher_sees_everything_of_both_views():
    objective = make_objective(_Recording)
    batch = make_batch()
    objective(batch, VALUES)
    assert objective.teacher.hidden is None
    assert len(objective.teacher.plan.stages[0].cells) == len(batch.full) > len(batch.crop)
    assert objective.teacher.permutations != objective.student.permutations


@pytest.mark.parametrize('network', NETWORKS)
def test_two_passes_of_a_step_are_equal_and_of_two_steps_are_not(network):
    objective, batch = make_objective(network), make_batch()
    first = objective(batch, VALUES).terms
    assert objective(batch, VALUES).terms == first
    assert objective(batch, replace(VALUES, step=4)).terms != first


def test_a_scene_is_masked_alike_in_every_batch():
    objective = make_objective()
    both, one, two = (objective(make_batch(slots), VALUES).terms for slots in ((0, 1), (0,), (1,)))
    for name in ('level0', 'level1', 'level2'):
        torch.testing.assert_close(both[name], (one[name] + two[name]) / 2)


@pytest.mark.parametrize('keep', [0, 1])
def test_a_view_without_hidden_cells_does_not_count(keep):
    """The loss is the mean of the halves of view A and view B."""
    objective, batch = make_objective(), make_batch((0,))
    of_view = batch.full.batch[batch.crop] == keep
    halves = [
        objective(replace(batch, crop=batch.crop[rows]), VALUES).terms['level1']
        for rows in (of_view, ~of_view)
    ]
    torch.testing.assert_close(objective(batch, VALUES).terms['level1'], sum(halves) / 2)


@pytest.mark.parametrize(
    ('network', 'settings'),
    [
        (TinyUNet, {}),
        (tiny_concerto, {}),
        (tiny_hunet, {}),
        (TinyUNet, {'loss.distance': 'mse', 'loss.target_norm': 'layer'}),
        (TinyUNet, SHALLOW),
    ],
)
def test_the_loss_falls_on_one_batch(network, settings):
    objective, batch = make_objective(network, **settings), make_batch((0,))
    optimizer = torch.optim.AdamW(
        [p for p in objective.parameters() if p.requires_grad], lr=0.01, weight_decay=0.0
    )
    losses = []
    for _ in range(8):
        total = objective(batch, VALUES).total
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(total.detach())
    assert losses[-1] < 0.7 * losses[0]


def test_the_teacher_follows_and_is_never_noisy():
    objective = make_objective().train()
    assert objective.student.training
    assert not objective.teacher.training
    with torch.no_grad():
        for parameter in objective.student.parameters():
            parameter.add_(1)
    before = [p.clone() for p in objective.teacher.parameters()]
    objective.update_teacher(1.0)
    for old, new in zip(before, objective.teacher.parameters(), strict=True):
        assert torch.equal(new, old)
    objective.update_teacher(0.75)
    for old, new in zip(before, objective.teacher.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.25)


@pytest.mark.parametrize('network', NETWORKS)
def test_half_precision_of_the_caller_leaves_losses_in_float32(network):
    objective, batch = make_objective(network), make_batch()
    expected = objective(batch, VALUES)
    with torch.autocast('cpu', torch.bfloat16):
        found = objective(batch, VALUES)
    assert found.total.dtype == torch.float32
    torch.testing.assert_close(found.total, expected.total, rtol=0.05, atol=0.01)


# --- collapse ------------------------------------------------------------------------------------


def _run_steps(objective, num_steps):
    batch = make_batch()
    for step in range(num_steps):
        objective(batch, replace(VALUES, step=step))


WATCH = {'run.num_steps': 10, 'optimizer.warmup': 0.2, 'collapse.patience': 3}


def test_a_run_stops_when_all_targets_are_alike():
    objective = make_objective(**WATCH)
    with torch.no_grad():
        for name, parameter in objective.teacher.named_parameters():
            if name.endswith('weight'):
                parameter.zero_()
    _run_steps(objective, 4)  # of which two count
    with pytest.raises(ConcertoError, match='targets have collapsed'):
        objective(make_batch(), replace(VALUES, step=4))


@pytest.mark.parametrize('network', NETWORKS)
def test_untrained_networks_have_not_collapsed(network):
    _run_steps(make_objective(network, **WATCH), 8)


# --- two ranks -----------------------------------------------------------------------------------


def _losses(model, **batch):
    """Return terms and gradients of a pass."""
    total, terms = model(make_batch(**batch), VALUES)
    total.backward()
    objective = getattr(model, 'module', model)
    return terms, {n: p.grad for n, p in objective.named_parameters() if p.requires_grad}


def _train_one_rank(rank, folder):
    distributed.init_process_group('gloo')
    batches = {
        'none': {'slots': (rank,), 'crop': 60 if rank else 1},  # nothing is hidden on the first
        'batch': {'slots': (rank,)},
    }
    found = [
        _losses(DistributedDataParallel(make_objective(**{'loss.target_norm': norm})), **batch)
        for norm, batch in batches.items()
    ]
    torch.save(found, f'{folder}/{rank}.pt')
    distributed.destroy_process_group()


def test_two_ranks_do_what_one_does(tmp_path):
    assert run_ranks(_train_one_rank, tmp_path) == [0, 0]
    first, second = (torch.load(tmp_path / f'{rank}.pt') for rank in range(2))
    alone = [
        _losses(make_objective(), slots=(1,)),
        _losses(make_objective(**{'loss.target_norm': 'batch'}), slots=(0, 1)),
    ]
    for i, (terms, gradients) in enumerate(alone):
        assert first[i][0].keys() == second[i][0].keys() == terms.keys()
        for name in ('level0', 'level1', 'level2'):
            mean = (first[i][0][name] + second[i][0][name]) / 2
            torch.testing.assert_close(mean, terms[name])
        for name, expected in gradients.items():
            torch.testing.assert_close(first[i][1][name], expected, rtol=1e-4, atol=1e-6)
            assert torch.equal(first[i][1][name], second[i][1][name])
        for name in terms.keys() - make_objective().weights:  # what stops a run is alike on all
            assert first[i][0][name] == second[i][0][name]
