"""The whole method without ROS: what the map says is what the network says."""

import dataclasses
from itertools import islice

import numpy as np
import pytest
import torch

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.errors import (
    BackendUnavailable,
    CheckpointError,
    ConcertoError,
    FrameError,
    SearchError,
)
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.transforms import from_quaternion
from concerto_ros.model import (
    PointBatch,
    load_checkpoint,
    make_plan,
    save_checkpoint,
)
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.semantics import SCANNET20, ClassHead, Translator, load_text_encoder

WORDS = ('wall', 'chair', 'blue chair', 'lamp')
SMALL = {
    'map.device': 'cpu',
    'semantics.checkpoint': '',
    'depth.stride': 2,
}  # images are small, so most pixels are needed
CAMERA = PinholeCamera(width=64, height=48, fx=58.0, fy=58.0, cx=31.5, cy=23.5)


@pytest.fixture(scope='module')
def frames():
    return list(SyntheticRoom(3).frames(6, camera=CAMERA))


@pytest.fixture(scope='module')
def weights(tiny_weights):
    return tiny_weights()


def mapped(frames, values=None):
    pipeline = PerceptionPipeline(build(ConcertoConfig, {**SMALL, **(values or {})}))
    for frame in frames:
        pipeline.integrate(frame)
    return pipeline


def surface(pipeline):
    """Return the cloud in the order of `scores_of_surface`."""
    return pipeline._world().cloud(pipeline._map, pipeline._map.surface_rows())


def scores_of_surface(pipeline, query):
    """Return the score of each voxel of the surface; NaN where the network has not looked."""
    cell = pipeline._map.cell(pipeline._map.surface_rows())
    return torch.where(cell < 0, torch.nan, pipeline._labeler.scores(query)[cell]).numpy()


def direct_input(pipeline):
    """The network's input of the whole map, made only of what the map publishes."""
    cloud = pipeline.cloud()
    coord = torch.from_numpy(cloud.coord)
    grid = torch.floor(coord.double() / 0.02 + 1e-9).long()
    low, high = coord.amin(0), coord.amax(0)
    rank = int(0.01 * (len(coord) - 1))
    floor = coord[:, 2].sort().values[rank]
    start = torch.tensor([0, 0, int(grid[:, 2].sort().values[rank]) - 1])
    centered = coord - torch.stack([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, floor])
    color = torch.from_numpy(cloud.color) / 255
    return PointBatch(
        coord=centered,
        grid_coord=grid - start - (grid.amin(0) - start) // 16 * 16,
        feat=torch.cat([centered, color, torch.from_numpy(cloud.normal)], dim=1),
        offset=torch.tensor([len(coord)]),
    )


def test_labels_are_what_the_network_says_of_the_same_voxels(frames, weights):
    pipeline = mapped(frames, weights)
    assert pipeline.update_semantics() == len(pipeline.cloud()) > 1000
    cloud = pipeline.cloud()
    backbone, _ = load_checkpoint(weights['semantics.checkpoint'])
    with torch.inference_mode():
        points = direct_input(pipeline)
        plan = make_plan(points.grid_coord, points.offset, backbone.config, depth=16)
        pyramid = backbone(points, plan=plan)
        probability = ClassHead.load(weights['semantics.head'])
        label, confidence = probability.predict(pyramid)
        translator = Translator.load(weights['semantics.translator'])
        encoder = load_text_encoder(weights['semantics.text_encoder'])
        cosines = translator.scores(pyramid, translator.encode(encoder, ['wall', 'chair', 'lamp']))
    # colours are published as bytes, so features differ a little from those of the map
    assert (cloud.label == label.numpy()).mean() > 0.99
    np.testing.assert_allclose(cloud.confidence, confidence, atol=0.02)
    assert (cloud.language_label == cosines.argmax(1).numpy() + 1).mean() > 0.99
    np.testing.assert_allclose(
        cloud.language_confidence, (5 * cosines).softmax(1).amax(1), atol=0.02
    )
    assert len(np.unique(cloud.label)) > 3
    assert pipeline.labels.names == SCANNET20.names
    assert pipeline.language_labels.names == ('unknown', 'wall', 'chair', 'lamp')


@pytest.mark.parametrize('precision', ['bf16', 'fp16'])
def test_half_precision_hardly_changes_what_is_certain(frames, weights, precision):
    exact = mapped(frames, weights)
    rounded = mapped(frames, {**weights, 'semantics.precision': precision})
    exact.update_semantics()
    rounded.update_semantics()
    ours, reference = rounded.cloud(), exact.cloud()
    np.testing.assert_allclose(ours.confidence, reference.confidence, atol=0.1)
    assert not np.array_equal(ours.confidence, reference.confidence)
    assert (ours.label == reference.label).mean() > 0.95


def test_overflow_in_half_precision_is_told(frames, weights, tmp_path):
    backbone, _ = load_checkpoint(weights['semantics.checkpoint'])
    backbone.embedding.stem.linear.weight *= 1e6  # the next layer normalises
    save_checkpoint(backbone, tmp_path / 'backbone.pth')
    weights = {**weights, 'semantics.checkpoint': str(tmp_path / 'backbone.pth')}
    assert mapped(frames, {**weights, 'semantics.precision': 'bf16'}).update_semantics() > 0
    pipeline = mapped(frames, {**weights, 'semantics.precision': 'fp16'})
    with pytest.raises(ConcertoError, match=r'overflow in fp16.*semantics\.precision'):
        pipeline.update_semantics()
    assert not pipeline.cloud().label.any()


def test_voxels_of_another_size_than_in_training_are_warned_of(weights, tmp_path, caplog):
    mapped([], {**weights, 'map.voxel_size': 0.05})  # of this network it is not known
    assert not caplog.records
    backbone, _ = load_checkpoint(weights['semantics.checkpoint'])
    origin = {'settings': {'data.voxel_size': 0.04}}
    save_checkpoint(backbone, tmp_path / 'backbone.pth', origin)
    weights = {**weights, 'semantics.checkpoint': str(tmp_path / 'backbone.pth')}
    mapped([], {**weights, 'map.voxel_size': 0.04})
    assert not caplog.records
    mapped([], {**weights, 'map.voxel_size': 0.05})
    [record] = caplog.records
    assert record.levelname == 'WARNING'
    assert 'is 0.05 m, but semantics.checkpoint was trained on voxels of 0.04 m' in caplog.text


def test_the_network_sees_cells_of_the_size_it_was_trained_on(frames, weights, tmp_path, caplog):
    backbone, _ = load_checkpoint(weights['semantics.checkpoint'])
    save_checkpoint(backbone, tmp_path / 'b.pth', {'settings': {'data.voxel_size': 0.04}})
    pipeline = mapped(frames, {**weights, 'semantics.checkpoint': str(tmp_path / 'b.pth')})
    assert pipeline.update_semantics() == len(pipeline.cloud())
    assert not caplog.records
    cloud = surface(pipeline)
    cell = np.floor(cloud.coord.astype(float) / 0.04 + 1e-9).astype(np.int64)
    cells, row = np.unique(cell, axis=0, return_inverse=True)
    assert len(cells) < 0.6 * len(cell)
    scores = scores_of_surface(pipeline, 'chair')
    assert len(np.unique(cloud.label)) > 1
    for value in (cloud.label, cloud.confidence, cloud.language_label, scores):
        first = np.zeros(len(cells), value.dtype)
        first[row] = value
        np.testing.assert_array_equal(first[row], value)  # one value per cell


def test_a_new_vocabulary_labels_the_whole_map_at_once(frames, weights):
    pipeline, other = (
        mapped(frames, weights),
        mapped(frames, {**weights, 'semantics.vocabulary': 'lamp,blue chair'}),
    )
    for each in (pipeline, other):
        each.update_semantics()
    revision = pipeline.revision
    labels = pipeline.relabel(['lamp', 'blue chair'])
    assert labels.names == pipeline.language_labels.names == other.language_labels.names
    ours, reference = pipeline.cloud(), other.cloud()
    np.testing.assert_array_equal(ours.language_label, reference.language_label)
    np.testing.assert_array_equal(ours.language_confidence, reference.language_confidence)
    assert len(pipeline.changes(revision).key) == (pipeline.changes(0).num_points > 0).sum()
    pipeline.integrate(frames[0])
    pipeline.reset()
    assert pipeline.language_labels.names == labels.names


def test_what_has_no_features_is_unknown_in_a_new_vocabulary(frames, weights):
    pipeline = mapped(frames[:1], weights)
    pipeline.update_semantics()
    for frame in frames:
        pipeline.integrate(frame)
    pipeline.relabel(['wall', 'lamp'])
    label = pipeline.cloud().language_label
    assert (label == 0).any()
    assert (label > 0).any()


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        ([], 'needs 1 to 65535 names'),
        (['lamp', ' LAMP'], 'names lamp more than once'),
        (['lamp', ' '], 'no word'),
        (['lamp', 'griffin'], 'griffin'),
    ],
)
def test_a_vocabulary_that_cannot_be_is_refused_and_the_old_one_stays(
    frames, weights, names, message
):
    pipeline = mapped(frames[:1], weights)
    pipeline.update_semantics()
    before, revision = pipeline.language_labels.names, pipeline.revision
    with pytest.raises(SearchError, match=message):
        pipeline.relabel(names)
    assert pipeline.language_labels.names == before
    assert pipeline.revision == revision


def test_no_vocabulary_without_a_language_model(frames):
    with pytest.raises(SearchError, match='no language model is loaded'):
        mapped(frames[:1]).relabel(['lamp'])


def test_what_computes_is_chosen_by_name_or_said(weights):
    assert mapped([], weights).notices[1] == 'convolution by torch: as configured'
    notices = mapped([], {**weights, 'semantics.convolution': 'auto'}).notices
    assert 'convolution by torch: spconv is for CUDA' in notices[1]
    assert 'attention by sdpa: flash_attn is for CUDA' in notices[2]
    with pytest.raises(BackendUnavailable, match='convolution by spconv is not possible'):
        mapped([], {**weights, 'semantics.convolution': 'spconv'})
    with pytest.raises(BackendUnavailable, match='attention by flash is not possible'):
        mapped([], {**weights, 'semantics.attention': 'flash'})


def test_search_finds_the_voxels_that_score_high(frames, weights):
    pipeline = mapped(frames, {**weights, 'search.min_size': 0.04})
    pipeline.update_semantics()
    result = pipeline.search('blue chair')
    assert result.verdict == 'found'
    assert result.text_encoder == 'test space'
    assert not result.calibrated
    coord = pipeline.cloud().coord
    for hit in result.objects:
        assert np.linalg.norm(coord - hit.center, axis=1).min() < 1e-6
        assert 0 < hit.num_views <= len(frames)
        assert frames[0].stamp_ns <= hit.first_seen_ns + 10**7  # kept to 10 ms
        assert hit.last_seen_ns <= frames[-1].stamp_ns
    again = pipeline.search('blue chair')
    assert [hit.id for hit in again.objects] == [hit.id for hit in result.objects]


def test_answers_are_in_the_world_as_it_is_known_now(frames, weights):
    pipeline = mapped(frames, {**weights, 'search.min_size': 0.04})
    pipeline.update_semantics()
    T = from_quaternion((10, 0, 1), (0, 0, 1, 1))
    before, here = pipeline.cloud(), {hit.id: hit for hit in pipeline.search('blue chair').objects}
    revision = pipeline.revision
    assert pipeline.correct(T)
    assert not pipeline.correct(T)
    assert pipeline.revision > revision
    cloud, there = pipeline.cloud(), {hit.id: hit for hit in pipeline.search('blue chair').objects}
    np.testing.assert_allclose(cloud.coord, moved(before.coord, T), rtol=0, atol=1e-4)
    np.testing.assert_allclose(cloud.normal, before.normal @ T[:3, :3].T, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(cloud.label, before.label)
    assert len(here) == len(there) > 0
    np.testing.assert_allclose(
        moved(np.array([h.center for h in here.values()]), T),
        np.array([h.center for h in there.values()]),
        rtol=0,
        atol=1e-4,
    )
    assert pipeline.update_semantics() == 0


def moved(points, T):
    return points @ T[:3, :3].T + T[:3, 3]


def test_voxels_that_came_after_the_network_are_not_judged(frames, weights):
    pipeline = mapped(frames[:1], weights)
    pipeline.update_semantics()
    assert pipeline.cloud().label.all()
    far = dataclasses.replace(
        frames[0], T_map_depth=from_quaternion((50, 0, 0), (0, 0, 0, 1)) @ frames[0].T_map_depth
    )
    pipeline.integrate(far)
    cloud = pipeline.cloud()
    is_new = cloud.coord[:, 0] > 30
    assert is_new.any()
    assert not cloud.label[is_new].any()
    assert cloud.label[~is_new].all()
    region = (cloud.coord[is_new].min(0) - 0.1, cloud.coord[is_new].max(0) + 0.1)
    assert pipeline.search('lamp', region=region).verdict == 'unobserved'
    pipeline.update_semantics()
    assert pipeline.search('lamp', region=region, min_score=0.01).objects


def test_the_network_runs_once_per_change(frames, weights):
    pipeline = mapped(frames[:2], weights)
    assert pipeline.update_semantics() > 0
    assert pipeline.update_semantics() == 0
    pipeline.integrate(frames[2])
    assert pipeline.update_semantics() > 0


def windows_of(pipeline):
    """Have the network look at what is due, and yield the windows."""
    while (window := pipeline.begin_semantics()) is not None:
        pipeline.finish_semantics(window, pipeline.run_semantics(window))
        yield window


def test_windows_are_as_small_as_configured_until_all_was_looked_at(frames, weights):
    pipeline = mapped(frames, {**weights, 'semantics.max_points': 1000})
    sizes = [len(window.voxel_key) for window in windows_of(pipeline)]
    cloud = pipeline.cloud()
    assert max(sizes) <= 1000
    assert sum(sizes) > len(cloud)  # what lies between windows is seen more than once
    assert cloud.label.all()


def test_what_the_network_has_looked_at_stays_searchable(frames, weights):
    """Windows smaller than the map, as where a robot drives on."""
    pipeline = mapped(frames, {**weights, 'semantics.max_points': 1000})
    some = list(islice(windows_of(pipeline), 2))
    assert len(some) == 2
    cloud, share = surface(pipeline), pipeline.search('lamp').observed_share
    is_labelled = cloud.language_label > 0
    assert 1000 < is_labelled.sum() < len(is_labelled)
    assert pipeline.num_language_labels() == (is_labelled.sum(), len(is_labelled))
    pipeline.relabel(['wall', 'lamp'])
    np.testing.assert_array_equal(surface(pipeline).language_label > 0, is_labelled)
    scores = scores_of_surface(pipeline, 'lamp')
    np.testing.assert_array_equal(np.isfinite(scores), is_labelled)
    assert is_labelled.mean() == pytest.approx(share, abs=0.02)
    window = next(windows_of(pipeline))
    key = pipeline._map.key(pipeline._map.surface_rows())
    beyond = ~torch.isin(key, window.voxel_key).numpy() & is_labelled
    assert beyond.mean() > 0.1
    after = scores_of_surface(pipeline, 'lamp')
    assert np.isfinite(after).sum() > np.isfinite(scores).sum()
    # the others share coarse cells with what the window shows
    assert (np.abs(after - scores)[beyond] < 1e-5).mean() > 0.5


def test_unsure_labels_are_unknown(frames, weights):
    pipeline = mapped(frames, {**weights, 'semantics.min_confidence': 1.0})
    pipeline.update_semantics()
    cloud = pipeline.cloud()
    assert (cloud.label[cloud.confidence < 1] == 0).all()
    assert (cloud.language_label[cloud.language_confidence < 1] == 0).all()


def test_without_weights_labels_are_unknown_and_search_says_so(frames):
    pipeline = mapped(frames)
    assert pipeline.update_semantics() == 0
    cloud = pipeline.cloud()
    assert not cloud.label.any()
    assert not cloud.confidence.any()
    assert pipeline.labels.names == ('unknown',)
    assert pipeline.labels.vocabulary == ''
    assert 'no trained weights are loaded' in pipeline.notices[0]
    with pytest.raises(SearchError, match='no language model is loaded'):
        pipeline.search('chair')
    with pytest.raises(SearchError, match='the query is empty'):
        pipeline.search(' ')


def test_changes_carry_what_the_map_holds(frames, weights):
    pipeline = mapped(frames, weights)
    first = pipeline.changes(0)
    assert first.num_points.sum() == len(first.cloud) == len(pipeline.cloud())
    assert first.group_size == pytest.approx(0.32)
    assert first.stamp_ns == frames[-1].stamp_ns
    assert len(pipeline.changes(first.revision).key) == 0
    pipeline.update_semantics()
    labelled = pipeline.changes(first.revision)
    assert labelled.cloud.label.all()
    assert (labelled.sequence > first.revision).all()


def test_a_reset_forgets_the_map_and_raises_the_epoch(frames, weights):
    pipeline = mapped(frames, weights)
    pipeline.update_semantics()
    epoch, revision = pipeline.epoch, pipeline.revision
    pipeline.reset()
    assert (pipeline.num_voxels, pipeline.newest_stamp_ns) == (0, 0)
    assert pipeline.epoch == epoch + 1
    assert pipeline.revision > revision
    assert len(pipeline.cloud()) == len(pipeline.changes(0).key) == 0
    assert pipeline.search('lamp').verdict == 'unobserved'
    assert pipeline.update_semantics() == 0
    pipeline.integrate(frames[0])
    fresh = mapped(frames[:1])
    assert (pipeline.cloud().coord == fresh.cloud().coord).all()


def test_a_frame_without_depth_changes_nothing(frames):
    pipeline = mapped(frames[:2])
    before, revision = pipeline.cloud(), pipeline.revision
    empty = dataclasses.replace(frames[2], depth=np.zeros_like(frames[2].depth))
    with pytest.raises(FrameError, match='no usable depth'):
        pipeline.integrate(empty)
    assert (pipeline.cloud().coord == before.coord).all()
    assert pipeline.revision == revision


def test_live_settings_apply_to_the_next_frame(frames):
    pipeline = mapped([])
    coarse = build(ConcertoConfig, {'depth.stride': 16}, pipeline.config)
    assert pipeline.integrate(frames[0]).num_points > 300
    pipeline.update_config(coarse)
    assert pipeline.integrate(frames[1]).num_points <= 12


def test_a_map_on_its_side_is_named(frames):
    T = from_quaternion((0, 0, 0), (1, 0, 0, 1))  # lies on its side
    pipeline = mapped([])
    tilted = [dataclasses.replace(f, T_map_depth=T @ f.T_map_depth) for f in frames]
    reports = [pipeline.integrate(frame) for frame in tilted * 6]
    assert any('is z up?' in report.warning for report in reports)


def test_weights_that_do_not_fit_each_other_are_refused(weights, tmp_path):
    wide = ClassHead(
        weight=torch.zeros(2, 7), bias=torch.zeros(2), names=('a', 'b'), vocabulary='x'
    )
    wide.save(tmp_path / 'head.pth')
    with pytest.raises(CheckpointError, match=r'made for features of 7 channels, this backbone'):
        mapped([], {**weights, 'semantics.head': str(tmp_path / 'head.pth')})


def test_an_encoder_that_the_translator_was_not_made_for_is_refused(weights, tmp_path):
    path = tmp_path / 'other.npz'
    np.savez(path, names=np.array(WORDS), embedding=np.eye(8)[:4], text_encoder='other space')
    with pytest.raises(CheckpointError, match='trained for the text encoder test space'):
        mapped([], {**weights, 'semantics.text_encoder': f'vocabulary:{path}'})


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(BackendUnavailable, match=r'map\.device is "cuda:77"'):
        mapped([], {'map.device': 'cuda:77'})
