import numpy as np
import pytest
import torch
from training_scenes import labelled_scene

from concerto_ros.errors import ConcertoError
from concerto_ros.semantics import ClassHead
from training.evaluation.backbone_features import BackboneFeatures, load_backbone
from training.evaluation.class_lists import ClassList
from training.evaluation.config import HeadOptimizerSection, LinearSection
from training.evaluation.evaluate import HeadClassifier, evaluate
from training.evaluation.head_optimizer import HeadOptimizer
from training.evaluation.linear_probe import train_linear
from training.evaluation.raw_features import RawFeatures
from training.evaluation.scene_augmentation import scene_variants
from training.evaluation.training_rows import TrainingRows, collect_rows
from training.evaluation.variants import VariantsClassifier

CPU = torch.device('cpu')
CLASSES = ClassList('colours', ('red', 'green', 'blue'))
QUICK = LinearSection(num_steps=60, batch_size=64)


def colored_scene(seed=0, num_points=300):
    """Points of three classes, each of its own colour with some noise, a tenth unlabelled."""
    rng = np.random.default_rng(seed)
    segment = rng.integers(0, 3, num_points)
    color = 200 * np.eye(3)[segment] + rng.uniform(0, 50, (num_points, 3))
    coord = rng.uniform(0, 2, (num_points, 3)).astype(np.float32)
    label = np.where(rng.random(num_points) < 0.1, -1, segment)
    return labelled_scene(coord, label, color.astype(np.float32), name=f'scene{seed}')


def trained(source, config=QUICK, seed=0, lr=0.05):
    rows = collect_rows(source, [colored_scene(0)], 0, seed)
    return train_linear(rows, CLASSES, config, HeadOptimizerSection(lr=lr), seed, CPU)


def test_classes_that_a_plane_divides_are_found():
    source = RawFeatures(0.02, CPU)
    classifier = HeadClassifier(source, trained(source))
    assert evaluate(classifier, [colored_scene(1)], 3).miou == 1


def test_the_same_seed_gives_the_same_head_bit_for_bit():
    source = RawFeatures(0.02, CPU)
    first, again, other = (trained(source, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.weight, again.weight)
    assert torch.equal(first.bias, again.bias)
    assert not torch.equal(first.weight, other.weight)


def test_standardised_training_does_not_depend_on_the_scale_of_a_channel():
    rows = collect_rows(RawFeatures(0.02, CPU), [colored_scene(0)], 0, 0)
    feat = rows.feat.clone()
    feat[:, 0] *= 256
    scaled = TrainingRows(feat=feat, label=rows.label)
    heads = [
        train_linear(r, CLASSES, QUICK, HeadOptimizerSection(), 0, CPU) for r in (rows, scaled)
    ]
    torch.testing.assert_close(heads[0].weight[:, 0], heads[1].weight[:, 0] * 256)
    torch.testing.assert_close(heads[0].weight[:, 1:], heads[1].weight[:, 1:])


def test_published_training_does_not_standardise():
    source = RawFeatures(0.02, CPU)
    plain = LinearSection(num_steps=60, batch_size=64, standardize=False)
    assert (
        evaluate(HeadClassifier(source, trained(source, plain)), [colored_scene(1)], 3).miou > 0.9
    )


def test_the_saved_head_gives_the_node_the_labels_of_the_probe(tmp_path):
    source = BackboneFeatures(load_backbone('random', 'nano', 0), 'random', 0.05, CPU)
    trained(source).save(tmp_path / 'head.safetensors')
    head = ClassHead.load(tmp_path / 'head.safetensors')
    assert (head.names, head.vocabulary) == (CLASSES.names, 'colours')
    scene = colored_scene(1)
    probability, inverse = HeadClassifier(source, head)(scene)
    label, confidence = head.predict(source(scene).features.pyramid)
    assert torch.equal(label.long() - 1, probability.argmax(1))
    torch.testing.assert_close(confidence, probability.amax(1))
    assert len(inverse) == len(scene.coord)


def test_every_raw_point_is_judged():
    source = RawFeatures(0.5, CPU)  # many points share a voxel
    scores = evaluate(HeadClassifier(source, trained(source)), [colored_scene(1)], 3)
    assert scores.num_points.sum() == (colored_scene(1).segment >= 0).sum()


def test_thirteen_variants_are_rigid_but_for_their_scale():
    scene = colored_scene(0)
    variants = list(scene_variants(scene))
    assert len(variants) == 13
    lengths = [np.linalg.norm(v.coord[1:] - v.coord[0], axis=1) for v in variants]
    ratios = [length / lengths[0] for length in lengths]
    scales = np.repeat([1.0, 0.95, 1.05, 1.0], [4, 4, 4, 1])
    for ratio, scale in zip(ratios, scales, strict=True):
        np.testing.assert_allclose(ratio, scale, rtol=1e-4)


def test_variants_are_summed_at_the_raw_points():
    source = RawFeatures(0.02, CPU)
    classifier = HeadClassifier(source, trained(source))
    scene = colored_scene(1)
    total, point = VariantsClassifier(classifier)(scene)
    expected = sum(p[i] for p, i in map(classifier, scene_variants(scene)))
    torch.testing.assert_close(total[point], expected)
    torch.testing.assert_close(total.sum(1), torch.full((len(scene.coord),), 13.0))


def test_blocks_learn_slower_and_the_rate_goes_up_and_down():
    names = ('head.weight', 'enc.block0.weight')
    parameters = [(name, torch.nn.Parameter(torch.ones(1))) for name in names]
    optimizer = HeadOptimizer(parameters, HeadOptimizerSection(lr=0.01, weight_decay=0.0), 101)
    rates = []
    for _ in range(101):
        optimizer.zero_grad()
        loss = sum(p.sum() for _, p in parameters)
        loss.backward()
        before = [p.item() for _, p in parameters]
        optimizer.step(loss.detach())
        rates.append([b - p.item() for b, (_, p) in zip(before, parameters, strict=True)])
    head, block = np.array(rates).T
    np.testing.assert_allclose(head[0], 0.001, rtol=0.01)
    assert 4 < head.argmax() < 20  # the rate peaks at step 5, the momentum follows
    assert head[-1] < 1e-5
    np.testing.assert_allclose(block[:50], head[:50] / 10, rtol=0.02)


def test_a_loss_that_is_not_finite_stops():
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = HeadOptimizer([('p', parameter)], HeadOptimizerSection(), 10)
    with pytest.raises(ConcertoError, match='the loss is nan at step 0'):
        optimizer.step(torch.tensor(float('nan')))
