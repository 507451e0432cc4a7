import numpy as np
import pytest

import concerto_ros.rooms.furniture  # noqa: F401 - fills the catalogue
from concerto_ros.rooms.classes import (
    CLASS_NAMES,
    SCANNET20,
    SCANNET20_OF,
    UNLABELLED,
    scannet20_of,
)
from concerto_ros.rooms.primitives import bounds
from concerto_ros.rooms.sketch import FAMILIES, Sketch, choices

ENTRIES = [entry for entries in FAMILIES.values() for entry in entries]


def drawn(entry, seed):
    sketch = Sketch(np.random.default_rng(seed), {})
    entry.build(sketch)
    return sketch.finish(entry)


def test_every_class_counts_as_one_scannet_class_or_none():
    assert len(SCANNET20_OF) >= 25
    assert set(SCANNET20_OF.values()) == {*SCANNET20, UNLABELLED}
    assert len(SCANNET20) == 20
    assert CLASS_NAMES[0] == 'unknown'
    assert scannet20_of('unknown') == UNLABELLED


def test_every_class_but_the_shell_has_families():
    assert set(FAMILIES) == set(SCANNET20_OF) - {'wall', 'floor', 'ceiling'}


@pytest.mark.parametrize('class_name', sorted(FAMILIES))
def test_split_is_disjoint_and_both_sides_serve_every_mount(class_name):
    names = [entry.name for entry in FAMILIES[class_name]]
    assert len(set(names)) == len(names)
    for mount in {entry.mount for entry in FAMILIES[class_name]}:
        seen = {entry.name for entry in choices(class_name, mount, 'train')}
        unseen = {entry.name for entry in choices(class_name, mount, 'test')}
        assert seen
        assert unseen
        assert not seen & unseen
        both = {entry.name for entry in choices(class_name, mount, 'all')}
        assert both == seen | unseen


@pytest.mark.parametrize('entry', ENTRIES, ids=lambda entry: f'{entry.class_name}/{entry.name}')
def test_family_builds_a_sound_object_whatever_is_drawn(entry):
    for seed in range(6):
        model = drawn(entry, seed)
        corners = [bounds(part) for part in model.parts]
        assert all((part.half > 0).all() and 0 <= part.top <= 1 for part in model.parts)
        np.testing.assert_array_equal(model.low, np.min([low for low, _ in corners], axis=0))
        np.testing.assert_array_equal(model.high, np.max([high for _, high in corners], axis=0))
        assert (model.high - model.low).max() < 3.0
        if entry.mount in ('floor', 'top'):
            hung = entry.class_name == 'shower curtain'
            assert -0.02 < model.low[2] < (0.35 if hung else 0.03)
        if entry.mount == 'ceiling':
            assert -0.01 < model.high[2] < 0.01
        for support in model.supports:
            assert support.x[0] < support.x[1]
            assert support.y[0] < support.y[1]
            assert model.low[2] <= support.z <= model.high[2] + 1e-9
            assert support.clearance > 0


def test_doors_and_windows_and_nothing_else_need_an_opening():
    with_opening = {entry.class_name for entry in ENTRIES if drawn(entry, 0).opening[0] > 0}
    assert with_opening == {'door', 'window'}


def test_wanted_size_is_kept():
    entry = choices('counter', 'floor', 'train')[0]
    sketch = Sketch(np.random.default_rng(0), {'width': 1.9})
    entry.build(sketch)
    model = sketch.finish(entry)
    np.testing.assert_allclose(model.high[1] - model.low[1], 1.9)
