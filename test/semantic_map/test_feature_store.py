"""What is stored of windows is what the network said, wherever its cells lie in the map."""

from dataclasses import dataclass, field

import pytest
import torch

from concerto_ros.errors import ConcertoError
from concerto_ros.model import PointBatch, StoredFeatures, load_checkpoint
from concerto_ros.semantic_map.feature_store import FeatureStore, LevelUpdate
from concerto_ros.semantics import ClassHead, OpenVocabulary, QueryScores, Rivals, Translator

WIDTHS = (3, 4, 5)
NUM_CELLS = (9, 4, 2)


@dataclass
class Cells:
    """Nine cells under four under two, unless told otherwise."""

    parent: list = field(default_factory=list)
    lengths: list = field(default_factory=lambda: list(NUM_CELLS))

    def __post_init__(self):
        finest = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 3], dtype=torch.int32)
        self.parent = self.parent or [finest, torch.tensor([0, 0, 1, 1], dtype=torch.int32)]

    def length(self, level):
        return self.lengths[level]

    def reserve(self, level):
        return 100_000 >> 2 * level


@pytest.fixture
def translator():
    return Translator(
        weight=torch.randn(6, sum(WIDTHS)), bias=torch.randn(6), text_encoder='toy', logit_scale=5
    )


@pytest.fixture
def new_store(translator):
    def make(cells=None):
        return FeatureStore(WIDTHS, cells or Cells(), translator.norms)

    return make


def update(slots, feats=None, weight=1.0):
    """Of each level the slots and what the network says of them."""
    slots = [torch.as_tensor(slot) for slot in slots]
    feats = feats or [torch.randn(len(slot), w) for slot, w in zip(slots, WIDTHS, strict=True)]
    return [
        LevelUpdate(slot, feat, torch.full((len(slot),), weight))
        for slot, feat in zip(slots, feats, strict=True)
    ]


def everything(largest=1.0):
    levels = update([torch.arange(n) for n in NUM_CELLS])
    for level in levels:
        level.feat.mul_(largest)
    return levels


def nothing():
    return torch.empty(0, dtype=torch.int64)


def concatenated(store):
    """The stored feature of every slot of the finest level, all levels side by side."""
    channels = sum(WIDTHS)
    return store.stored().linear(torch.eye(channels), torch.zeros(channels))


def write(store, levels, below):
    """Write a window of one part."""
    return store.write([levels], below)


def explicit(levels, parent):
    fine, middle, coarse = (level.feat for level in levels)
    above = parent[0].long()
    return torch.cat([fine, middle[above], coarse[parent[1].long()[above]]], dim=1)


@pytest.mark.parametrize('largest', [1.0, 1e6])
def test_the_feature_is_the_concatenated_one_to_1e_3(new_store, largest):
    store, levels = new_store(), everything(largest)
    changed = write(store, levels, nothing())
    assert changed.tolist() == list(range(9))
    expected = explicit(levels, Cells().parent)
    torch.testing.assert_close(concatenated(store), expected, rtol=1e-3, atol=1e-6 * largest)
    cosine = torch.cosine_similarity(concatenated(store), expected)
    assert (cosine - 1).abs().max() < 1e-3


@pytest.fixture
def window(tiny_weights):
    """What a network makes of some 300 cells, and where they lie."""
    model, _ = load_checkpoint(tiny_weights()['semantics.checkpoint'])
    grid = torch.unique(torch.randint(0, 40, (300, 3)), dim=0)
    batch = PointBatch(
        coord=grid * 0.02,
        grid_coord=grid,
        feat=torch.rand(len(grid), 9),
        offset=torch.tensor([len(grid)]),
    )
    with torch.inference_mode():
        return model(batch), grid


def test_a_network_s_features_come_back_as_the_pyramid_has_them(window):
    pyramid, _ = window
    counts = [len(level.feat) for level in pyramid.levels]
    orders = [torch.randperm(count) for count in counts]  # slots are in any order
    parent = [
        torch.empty(len(order), dtype=torch.int32).index_copy(0, order, above[level.inverse].int())
        for order, above, level in zip(orders, orders[1:], pyramid.levels[1:], strict=False)
    ]
    widths = [level.feat.shape[1] for level in pyramid.levels]
    store = FeatureStore(widths, Cells(parent, counts), lambda part: torch.ones(part.num_points))
    write(
        store,
        [
            LevelUpdate(order, level.feat, torch.ones(len(order)))
            for order, level in zip(orders, pyramid.levels, strict=True)
        ],
        nothing(),
    )
    weight, bias = torch.randn(7, sum(widths)), torch.randn(7)
    expected = pyramid.linear(weight, bias)
    found = store.stored().linear(weight, bias)[orders[0]]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 * float(expected.abs().max()))


def test_what_is_known_moves_by_the_weight_and_the_rest_all_the_way(new_store):
    store = new_store()
    first, second = everything(), everything()
    known = [level.slot[: len(level.slot) // 2] for level in first]
    write(
        store,
        [
            LevelUpdate(slot, level.feat[slot], level.weight[slot])
            for slot, level in zip(known, first, strict=True)
        ],
        nothing(),
    )
    write(store, [level._replace(weight=level.weight * 0.25) for level in second], nothing())
    for slot, old, new in zip(known, first, second, strict=True):
        new.feat[slot] = 0.75 * old.feat[slot] + 0.25 * new.feat[slot]
    expected = explicit(second, Cells().parent)
    torch.testing.assert_close(concatenated(store), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('largest', [1.0, 3e5])
def test_weight_zero_leaves_what_is_known_as_it_is(new_store, largest):
    store = new_store()
    write(store, everything(largest), nothing())
    before = concatenated(store)
    write(store, [level._replace(weight=level.weight * 0) for level in everything()], nothing())
    assert torch.equal(concatenated(store), before)


def test_larger_values_rescale_what_is_there_without_rounding_it(new_store):
    store = new_store()
    write(store, everything(), nothing())
    before = concatenated(store)
    write(store, update([[8], [3], [1]], [torch.full((1, w), 5e6) for w in WIDTHS]), nothing())
    after = concatenated(store)
    assert after.isfinite().all()
    torch.testing.assert_close(after[8], torch.full((12,), 5e6), rtol=1e-3, atol=0)
    # Far smaller numbers are below what float16 holds: of the largest, no more than 1e-9.
    torch.testing.assert_close(after[:4], before[:4], rtol=1e-3, atol=5e6 * 1e-9)


def test_norms_are_those_of_the_translated_features(new_store, translator):
    store = new_store()
    write(store, everything(), nothing())
    vectors = concatenated(store) @ translator.weight.t() + translator.bias
    torch.testing.assert_close(store.norms, vectors.norm(dim=1), rtol=1e-4, atol=1e-4)


def test_norms_follow_below_a_rewritten_coarse_cell(new_store, translator):
    store = new_store()
    write(store, everything(), nothing())
    before = store.norms.clone()
    changed = write(store, update([[4], [2], [1]]), torch.tensor([4, 5, 6]))
    assert changed.tolist() == [4, 5, 6]
    expected = translator.norms(store.stored())
    torch.testing.assert_close(store.norms[:7], expected[:7], rtol=1e-4, atol=1e-4)
    assert (store.norms[4:7] != before[4:7]).all()
    assert torch.equal(store.norms[:4], before[:4])


def test_slots_nothing_is_known_of_are_harmless(new_store, translator):
    store = new_store()
    write(store, update([[0, 1], [0], [0]]), torch.tensor([2, 3]))
    assert store.is_known.tolist() == [True, True] + 7 * [False]
    assert (store.norms[2:] == 0).all()
    scores = QueryScores(translator, store.stored(), store.norms)
    text = torch.nn.functional.normalize(torch.randn(4, 6), dim=1)
    rivals = Rivals(names=('a', 'b', 'c'), text_embedding=text[1:])
    assert scores.probability('x', text[:1], rivals).isfinite().all()


def test_a_forgotten_slot_begins_anew(new_store):
    store = new_store()
    write(store, everything(), nothing())
    store.forget([torch.tensor([8]), nothing(), nothing()])
    assert not store.is_known[8]
    assert store.norms[8] == 0
    other = torch.full((1, 3), 7.0)
    write(store, [LevelUpdate(torch.tensor([8]), other, torch.tensor([0.1])), *_none()], nothing())
    assert (concatenated(store)[8, :3] == 7).all()


def _none():
    return [LevelUpdate(nothing(), torch.empty(0, w), torch.empty(0)) for w in WIDTHS[1:]]


def test_it_grows_with_the_map_and_keeps_what_is_known(new_store):
    cells = Cells()
    store = new_store(cells)
    write(store, everything(), nothing())
    before = concatenated(store)
    cells.parent = [
        torch.cat([cells.parent[0], torch.tensor([4, 4], dtype=torch.int32)]),
        torch.cat([cells.parent[1], torch.tensor([2], dtype=torch.int32)]),
    ]
    cells.lengths = [11, 5, 3]
    assert store.is_known.tolist() == 9 * [True] + 2 * [False]
    assert torch.equal(concatenated(store)[:9], before)
    write(store, update([[9, 10], [4], [2]]), nothing())
    assert store.is_known.all()


def test_what_is_taken_can_be_put_into_another_store_at_other_slots(new_store):
    store, other = new_store(), new_store()
    write(store, everything(1e5), nothing())
    write(other, everything(), nothing())
    source = [torch.arange(4, 9), torch.arange(2, 4), torch.arange(1, 2)]
    target = [torch.arange(5), torch.arange(2), torch.arange(1)]
    other._cells.parent = [
        torch.tensor([0, 0, 1, 1, 1, 3, 3, 3, 3], dtype=torch.int32),
        torch.tensor([0, 0, 1, 1], dtype=torch.int32),
    ]
    kept = concatenated(other)[5:]
    other.put(target, store.take(source))
    torch.testing.assert_close(concatenated(other)[:5], concatenated(store)[4:])
    torch.testing.assert_close(concatenated(other)[5:], kept, rtol=1e-3, atol=1e-3)
    assert torch.equal(other.norms[:5], store.norms[4:])


def test_what_was_not_known_when_taken_is_not_known_when_put(new_store):
    store, other = new_store(), new_store()
    write(other, everything(), nothing())
    slots = [torch.arange(n) for n in NUM_CELLS]
    other.put(slots, store.take(slots))
    assert not other.is_known.any()


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_numbers_that_are_not_finite_are_refused_and_nothing_changes(new_store, value):
    store = new_store()
    write(store, everything(), nothing())
    before = concatenated(store)
    levels = everything()
    levels[2].feat[1, 0] = value
    with pytest.raises(ConcertoError, match='features are not finite, so nothing is stored'):
        write(store, levels, nothing())
    assert torch.equal(concatenated(store), before)


def test_labels_of_a_part_are_those_of_the_whole(new_store, translator):
    store = new_store()
    write(store, everything(), nothing())
    head = ClassHead(
        weight=torch.randn(4, 12), bias=torch.randn(4), names=tuple('abcd'), vocabulary='toy'
    )
    text = torch.nn.functional.normalize(torch.randn(3, 6), dim=1)
    vocabulary = OpenVocabulary(translator=translator, names=tuple('abc'), text_embedding=text)
    slot = torch.tensor([7, 1, 4])
    part = store.part(slot)
    assert isinstance(part, StoredFeatures)
    for found, expected in (
        (head.predict(part), head.predict(store.stored())),
        (
            vocabulary.predict(part, store.norms[slot]),
            vocabulary.predict(store.stored(), store.norms),
        ),
    ):
        assert torch.equal(found[0].int(), expected[0].int()[slot])
        torch.testing.assert_close(found[1], expected[1][slot])


def test_reading_copies_no_features(new_store):
    store = new_store()
    write(store, everything(), nothing())
    places = [level.feat.data_ptr() for level in store.stored().levels]
    write(store, everything(), nothing())
    assert [level.feat.data_ptr() for level in store.stored().levels] == places


def test_bytes_are_counted_by_level(new_store):
    store = new_store()
    assert store.bytes_per_level == (0, 0, 0)
    write(store, everything(), nothing())
    finest, middle, coarse = store.bytes_per_level
    assert finest >= 9 * (2 * 3 + 1 + 4)
    assert middle >= 4 * (2 * 4 + 1)
    assert coarse >= 2 * (2 * 5 + 1)


def test_it_can_be_written_inside_and_outside_inference_mode(new_store):
    store = new_store()
    with torch.inference_mode():
        write(store, everything(), nothing())
    write(store, everything(), nothing())
    store.forget([torch.tensor([0]), nothing(), nothing()])
    assert not store.is_known[0]


def test_nothing_moves_while_the_map_grows_as_expected(new_store):
    cells = Cells()
    store = new_store(cells)
    before = [level.feat.data_ptr() for level in store.stored().levels] + [store.norms.data_ptr()]
    cells.lengths = [cells.reserve(level) for level in range(len(WIDTHS))]
    after = [level.feat.data_ptr() for level in store.stored().levels] + [store.norms.data_ptr()]
    assert len(store.norms) == 100_000
    assert after == before
