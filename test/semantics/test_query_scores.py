import numpy as np
import pytest
import torch

from concerto_ros.semantics import QueryScores, Rivals, Translator, load_text_encoder
from concerto_ros.semantics.query_scores import BACKGROUND

SCALE = 20.0


def translator(dim=8, channels=12):
    return Translator(
        weight=torch.randn(dim, channels),
        bias=torch.randn(dim),
        text_encoder='toy',
        logit_scale=SCALE,
    )


def unit(rows):
    return torch.nn.functional.normalize(torch.as_tensor(rows, dtype=torch.float32), dim=1)


def rivals_of(names, rows):
    return Rivals(names=tuple(names), text_embedding=unit(rows))


def explicit(translator, feat, texts):
    """Cosines of every voxel with every text, from vectors in the space of texts."""
    vectors = feat.double() @ translator.weight.double().t() + translator.bias.double()
    return torch.nn.functional.cosine_similarity(vectors[:, None], texts.double()[None], dim=2)


def test_it_is_the_softmax_over_the_query_and_its_rivals(dense_features):
    ours, feat = translator(), torch.randn(50, 12)
    rivals = rivals_of('abcde', torch.randn(5, 8))
    query = unit(torch.randn(1, 8))
    assert not rivals.same('query', query).any()
    scores = QueryScores(ours, dense_features(feat))
    logits = SCALE * explicit(ours, feat, torch.cat([query, rivals.text_embedding]))
    expected = logits.softmax(1)[:, 0].float()
    found = scores.probability('query', query, rivals)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_what_means_the_same_counts_for_the_query(dense_features):
    ours, feat = translator(), torch.randn(50, 12)
    rivals = rivals_of(['armchair', 'a', 'b', 'old chair', 'c'], torch.randn(5, 8))
    query = unit(rivals.text_embedding[:1] + 0.01 * torch.randn(1, 8))
    assert rivals.same('chair', query).tolist() == [True, False, False, True, False]
    logits = SCALE * explicit(ours, feat, torch.cat([query, rivals.text_embedding]))
    expected = logits.softmax(1)[:, [0, 1, 4]].sum(1).float()
    found = QueryScores(ours, dense_features(feat)).probability('chair', query, rivals)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert found.max() > 0.9


def test_points_that_nothing_or_one_text_fits(dense_features):
    identity = Translator(
        weight=torch.eye(2), bias=torch.zeros(2), text_encoder='toy', logit_scale=1000.0
    )
    rivals = rivals_of(['chair', 'wall'], [[1, 0], [-1, 0]])
    scores = QueryScores(identity, dense_features([[1, 0], [-1, 0], [0, 0]]))
    found = scores.probability('chair', unit([[1, 0]]), rivals)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0, 2 / 3]))


def test_without_rivals_it_is_the_cosine_moved_to_0_1(dense_features):
    ours, feat, query = translator(), torch.randn(5, 12), unit(torch.randn(1, 8))
    scores = QueryScores(ours, dense_features(feat))
    expected = ((explicit(ours, feat, query)[:, 0] + 1) / 2).float()
    for rivals in (rivals_of((), torch.zeros(0, 8)), rivals_of(['chair'], torch.randn(1, 8))):
        found = scores.probability('chair', query, rivals)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_memory_is_that_of_norms_and_rivals(dense_features):
    scores = QueryScores(translator(), dense_features(torch.randn(50, 12)))
    assert scores.num_bytes == 4 * 50
    scores.probability('x', unit(torch.randn(1, 8)), rivals_of('ab', torch.randn(2, 8)))
    assert scores.num_bytes == (4 + 4) * 50


@pytest.mark.parametrize('broken', [float('nan'), float('inf')])
def test_a_broken_point_harms_no_other(dense_features, broken):
    ours, feat = translator(), torch.randn(5, 12)
    query, rivals = unit(torch.randn(1, 8)), rivals_of('ab', torch.randn(2, 8))
    expected = QueryScores(ours, dense_features(feat)).probability('x', query, rivals)
    feat = torch.cat([feat, torch.full((1, 12), broken)])
    found = QueryScores(ours, dense_features(feat)).probability('x', query, rivals)
    torch.testing.assert_close(found[:5], expected, atol=1e-5, rtol=0)


def test_of_no_points_there_are_no_scores(dense_features):
    scores = QueryScores(translator(), dense_features(torch.zeros(0, 12)))
    rivals = rivals_of('ab', torch.randn(2, 8))
    assert scores.probability('x', unit(torch.randn(1, 8)), rivals).shape == (0,)


def test_norms_and_rivals_are_read_once(dense_features):
    calls = []
    features = dense_features(torch.randn(5, 12))
    linear = features.linear
    features.linear = lambda weight, bias: calls.append(len(weight)) or linear(weight, bias)
    scores = QueryScores(translator(), features)
    rivals = rivals_of('abc', torch.randn(3, 8))
    for query in unit(torch.randn(4, 8)):
        scores.probability('x', query[None], rivals)
    assert calls[:3] == [8, 1, 3]  # norms, the query, its rivals
    assert max(calls[3:]) <= 2  # no vector per point, only the query and what means the same
    scores.probability('x', unit(torch.randn(1, 8)), rivals_of('ab', torch.randn(2, 8)))
    assert calls[-1] == 2


def test_after_an_update_scores_are_those_of_the_new_features(dense_features):
    ours, feat = translator(), torch.randn(5, 12)
    query, rivals = unit(torch.randn(1, 8)), rivals_of('abc', torch.randn(3, 8))
    scores = QueryScores(ours, dense_features(feat))
    scores.probability('x', query, rivals)
    feat = torch.cat([feat, torch.randn(3, 12)])  # rows 5 to 7 are new
    feat[2] = torch.randn(12)
    newer = dense_features(feat)
    scores.update(newer, ours.norms(newer), torch.tensor([2, 5, 6, 7]))
    expected = QueryScores(ours, newer).probability('x', query, rivals)
    torch.testing.assert_close(scores.probability('x', query, rivals), expected)


def test_an_update_weighs_the_rivals_at_changed_rows_only(dense_features):
    ours, features = translator(), dense_features(torch.randn(50, 12))
    query, rivals = unit(torch.randn(1, 8)), rivals_of('abc', torch.randn(3, 8))
    scores = QueryScores(ours, features)
    changed = torch.tensor([7, 3])
    scores.update(features, scores.norms, changed)  # no query yet: nothing to bring up to date
    scores.probability('x', query, rivals)
    linear, taken = features.linear, []
    features.linear = lambda weight, bias: taken.append('all') or linear(weight, bias)
    take = features.take
    features.take = lambda rows: taken.append(rows.tolist()) or take(rows)
    scores.update(features, scores.norms, changed)
    assert taken == [[7, 3]]


@pytest.mark.parametrize(
    ('query', 'name', 'is_same'),
    [
        ('blue chair', 'chair', True),
        ('curtain', 'shower curtain', True),
        ('Chair by the window', 'chair', True),
        ('picture on a wall', 'wall', False),
        ('something to sit on', 'something', True),
        ('table lamp', 'table', False),
        ('on the wall', 'wall', False),
    ],
)
def test_names_that_end_in_the_same_noun_do_not_compete(query, name, is_same):
    rivals = rivals_of([name, 'x'], [[0, 1, 0], [0, 0, 1]])
    assert rivals.same(query, unit([[1, 0, 0]])).tolist() == [is_same, False]


def test_synonyms_of_a_real_text_space_do_not_compete(shared_data):
    arrays = np.load(shared_data / 'clip_text' / 'lvis.npz')
    row = {str(name).split('_(')[0]: i for i, name in enumerate(arrays['names'])}
    names = ['cabinet', 'bed', 'chair', 'sofa', 'table', 'bookcase', 'painting', 'desk']
    names += ['curtain', 'refrigerator', 'toilet', 'sink', 'bathtub', 'mirror']

    def vectors(texts):
        return arrays['embedding'][[row[text] for text in texts]]

    rivals = rivals_of(names, vectors(names))
    found = {
        query: [names[i] for i in rivals.same(query, unit(vectors([query]))).nonzero()[:, 0]]
        for query in ('armchair', 'cupboard', 'table', 'stool', 'mug', 'pillow')
    }
    assert found == {
        'armchair': ['chair'], 'cupboard': ['cabinet'], 'table': ['table'],
        'stool': [], 'mug': [], 'pillow': [],
    }  # fmt: skip


def test_the_background_is_what_the_encoder_knows_of_it(tmp_path):
    path = tmp_path / 'words.npz'
    np.savez(path, names=['lamp', 'wall', 'thing'], embedding=np.eye(3), text_encoder='toy')
    ours, encoder = translator(dim=3), load_text_encoder(f'vocabulary:{path}')
    rivals = Rivals.build(ours, encoder, ['lamp', 'wall', 'lamp'])
    assert rivals.names == ('lamp', 'wall', 'thing')
    assert torch.equal(rivals.text_embedding, torch.eye(3))
    assert set(rivals.names[1:]) < set(BACKGROUND)
    assert Rivals.build(ours, encoder, []).names == ('wall', 'thing')
