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
from training.masked_scene.masks import draw_hidden
from training.masked_scene.objective import MaskedSceneObjective
from training.networks.concerto_unet import ConcertoUNet
from training.networks.hunet import HUNet
from training.networks.hunet_config import HUNetConfig
from training.objectives.masking import mask_generator
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
    assert (crop == 1) == terms.keys().isdisjoint(objective.weights)
    if settings == {} and crop > 1:
        assert all(p.grad.any() for n, p in objective.named_parameters() if p.requires_grad)


def test_names_in_the_state():
    objective = make_objective()
    parts = {name.split('.')[0] for name in objective.state_dict()}
    assert parts == {'student', 'teacher', 'heads', 'token', 'watch'}
    student = {n[8:] for n in objective.state_dict() if n.startswith('student.')}
    assert student == TinyUNet().state_dict().keys()
    assert 'heads.2.0.weight' in objective.state_dict()
    shallow = make_objective(**SHALLOW)
    assert shallow.teacher is None
    assert {name.split('.')[0] for name in shallow.state_dict()} == {'student', 'heads', 'token'}


class _Recording(TinyUNet):
    def forward(self, points, plan, token, hidden=None, permutations=None):
        self.hidden, self.plan, self.permutations = hidden, plan, permutations
        self.decoded = super().forward(points, plan, token, hidden, permutations)
        return self.decoded


def _voxels_hidden(objective, batch):
    """Return the rows of `batch.full` that the student was not shown."""
    student = objective.student
    return batch.crop[student.hidden[student.plan.stages[0].cells.inverse]]


def test_each_view_of_each_scene_is_masked_by_its_own_numbers():
    objective = make_objective(_Recording)
    objective(make_batch((4, 7)), VALUES)
    student = objective.student
    numbers = [(0, VALUES.step, slot, view) for slot in (4, 7) for view in (0, 1)]
    generators = [mask_generator(*four) for four in numbers]
    expected = draw_hidden(student.plan, 2, objective.config.masking.ratio, generators)
    assert torch.equal(student.hidden, expected)


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


def test_unknown_targets_teach_nothing():
    """Without normals, the loss is that of colours."""
    gradients = []
    for normal in (0.0, torch.nan):
        batch = make_batch()
        batch.point_target[..., 3:] *= 1 + normal
        objective = make_objective(**SHALLOW)
        total, _ = objective(batch, VALUES)
        total.backward()
        gradients.append(objective.heads['0'][2].weight.grad)
        assert all(p.grad.isfinite().all() for p in objective.parameters())
    assert not gradients[1][3:].any()
    torch.testing.assert_close(gradients[1][:3], 2 * gradients[0][:3])  # a mean of 3, not of 6


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


# --- what a blind student would say --------------------------------------------------------------

LOOK = {'collapse.blind_every': VALUES.step + 1}


def _blind_terms(terms):
    return {n.replace('blind', 'level'): t for n, t in terms.items() if n.startswith('blind')}


def test_losses_of_a_blind_student_are_those_of_features_that_are_zero():
    objective, batch = make_objective(**SHALLOW, **LOOK), make_batch()
    found = _blind_terms(objective(batch, VALUES).terms)
    full = replace(batch.full, feat=torch.zeros_like(batch.full.feat))
    terms = objective(replace(batch, full=full), VALUES).terms  # its targets stay as they are
    assert found == {name: terms[name] for name in objective.weights}
    assert found['level0'] != objective(batch, VALUES).terms['level0']


def test_at_times_losses_of_a_blind_student_are_told():
    objective, batch = make_objective(**LOOK), make_batch()
    steps = [s for s in range(12) if _blind_terms(objective(batch, replace(VALUES, step=s)).terms)]
    assert steps == [3, 7, 11]
    assert not _blind_terms(make_objective(collapse__blind_every=0)(batch, VALUES).terms)


def test_to_look_changes_no_training():
    def dropping():
        config = replace(GEOMETRY, enc_num_head=(1, 1, 1), enc_channels=(16, 16, 16))
        return ConcertoUNet(replace(config, drop_path=0.5))

    found = []
    for settings in ({}, LOOK):
        objective = make_objective(dropping, **settings).train()
        torch.manual_seed(1)
        total, terms = objective(make_batch(), VALUES)
        total.backward()
        found.append((total, torch.rand(3), objective.token.grad))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert terms['blind0'] != terms['level0']


# --- nothing to learn ----------------------------------------------------------------------------


@pytest.mark.parametrize('settings', [{}, SHALLOW])
def test_a_run_in_which_nothing_is_hidden_stops(settings, caplog):
    objective, batch = make_objective(**settings), make_batch(crop=1)
    with pytest.raises(ConcertoError, match='nothing was hidden in 20 steps, up to step 19'):
        _run_steps(objective, 21, batch)
    assert [r.getMessage().split(':')[0] for r in caplog.records] == [
        'step 0 has no hidden cell at any level of loss.levels'
    ]


# --- collapse ------------------------------------------------------------------------------------


def _run_steps(objective, num_steps, batch=None):
    batch = batch or make_batch()
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
    with pytest.raises(ConcertoError, match='have collapsed at all levels'):
        objective(make_batch(), replace(VALUES, step=4))


@pytest.mark.parametrize('norm', ['batch', 'whiten'])
def test_no_norm_hides_that_features_are_alike(norm):
    found = []
    for name in ('none', norm):
        objective = make_objective(**{'loss.target_norm': name})
        with torch.no_grad():
            for parameter in objective.teacher.parameters():
                parameter.mul_(0.01 if parameter.ndim > 1 else 10)
        terms = objective(make_batch(), VALUES).terms
        found.append({n: t for n, t in terms.items() if n not in objective.weights})
    assert found[0] == found[1]
    assert found[0]['cosine0'] > 0.99


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


RANKS = {  # settings, and what is not as usual of the first rank
    'plain': ({}, {'crop': 1}),  # nothing is hidden there
    'batch': ({'loss.target_norm': 'batch'}, {}),
    'whiten': ({'loss.target_norm': 'whiten'}, {}),
    'shallow': ({**SHALLOW, 'loss.target_norm': 'whiten'}, {}),
}


def _train_one_rank(rank, folder):
    distributed.init_process_group('gloo')
    found = [
        _losses(
            DistributedDataParallel(make_objective(**settings, **LOOK)),
            slots=(rank,),
            **({} if rank else first),
        )
        for settings, first in RANKS.values()
    ]
    torch.save(found, f'{folder}/{rank}.pt')
    distributed.destroy_process_group()


def _names_of_losses(terms):
    return {name for name in terms if name.startswith(('level', 'blind'))}


def test_two_ranks_do_what_one_does(tmp_path):
    assert run_ranks(_train_one_rank, tmp_path) == [0, 0]
    ranks = [torch.load(tmp_path / f'{rank}.pt') for rank in range(2)]
    for first, second, (settings, less) in zip(*ranks, RANKS.values(), strict=True):
        objective = make_objective(**settings, **LOOK)
        terms, gradients = _losses(objective, slots=(1,) if less else (0, 1))
        losses = _names_of_losses(terms)
        assert first[0].keys() == second[0].keys() == terms.keys()
        assert len(losses) == 2 * len(objective.weights)
        for name in losses:
            mean = (first[0][name] + second[0][name]) / 2
            torch.testing.assert_close(mean, terms[name], rtol=1e-4, atol=1e-6)
        for name, expected in gradients.items():
            torch.testing.assert_close(first[1][name], expected, rtol=1e-4, atol=1e-6)
            assert torch.equal(first[1][name], second[1][name])
        for name in first[0].keys() - losses:  # what stops a run is alike on all
            assert first[0][name] == second[0][name]
