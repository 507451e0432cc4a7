"""The measurement of searches: answers made from the truth score fully, wrong ones nothing."""

import dataclasses
import json

import numpy as np
import pytest

from concerto_ros.config.tree import build, read_plain_yaml
from concerto_ros.errors import ConfigError
from concerto_ros.rooms.classes import ROOM_CLASSES
from concerto_ros.rooms.room import SHELL, SyntheticRoom
from concerto_ros.structures import Box, Labels, MapCloud, ObjectHit, SearchResult
from training.search_quality import frozen_rooms
from training.search_quality.__main__ import main
from training.search_quality.config import SearchQualityConfig
from training.search_quality.frozen_rooms import RESERVED, check_reserved, room_digest, steps
from training.search_quality.kitchen import Annotation, ask_all, class_scores
from training.search_quality.meanings import Meanings
from training.search_quality.measure_rooms import measure_rooms
from training.search_quality.outcomes import (
    ABSENT,
    GROUPS,
    HIT_1,
    HIT_3,
    MEASURES,
    SYNONYM_1,
    Outcome,
    judge,
    share,
)
from training.search_quality.questions import Asker, Kind, Question, is_inside
from training.search_quality.run import make_tour, node_config
from training.search_quality.sightings import Sightings
from training.search_quality.threshold import CANDIDATES, Calibration, fit_threshold
from training.translation.class_texts import read_class_texts

TINY = {
    'rooms.seeds': '2000:2002', 'rooms.num_frames': 3, 'rooms.width': 64, 'rooms.height': 48,
    'rooms.least_surface': 1, 'semantics.max_points': 2,
}  # fmt: skip
TEXTS = read_class_texts('', ROOM_CLASSES)
MEANINGS = Meanings.ours()


def config_of(**changes):
    return build(SearchQualityConfig, TINY | changes)


def hit(center, score=0.9):
    box = Box(center=np.array(center), size=np.ones(3))
    return ObjectHit(
        id='a', label='a', score=score, center=np.array(center), box=box, num_points=1,
        num_views=1, first_seen_ns=0, last_seen_ns=0,
    )  # fmt: skip


def class_of(text):
    """Return the class that a name or held-out synonym is listed for."""
    return next(t.trained[0] for t in TEXTS if text in (t.trained[0], *t.held_out))


class Knowing:
    """Answers from the truth; `lie` says the opposite. Its best score of all is 0.5."""

    language_labels = Labels(
        vocabulary='', names=('unknown', 'wall'), colors=np.zeros((2, 3), np.uint8)
    )

    def __init__(self, seeds, families='test', lie=False):
        self._rooms = iter([SyntheticRoom(seed, families=families) for seed in seeds])
        self._lie = lie

    def reset(self):
        self.room = next(self._rooms)

    def integrate(self, frame):
        pass

    def update_semantics(self):
        return 1

    def search(self, text, *, max_results=0, min_score=0.0):
        named = MEANINGS.named_by(text, class_of(text))
        right = [i.box.center for i in self.room.instances if i.class_name in named]
        if self._lie:
            right = [] if right else [np.zeros(3)]
        if min_score > 0.5 or not right:
            return SearchResult(verdict='absent', observed_share=1.0)
        return SearchResult(verdict='found', objects=tuple(map(hit, right[:max_results])))

    def cloud(self):
        coord = self.room.cloud(0.5).coord
        ones = np.ones(len(coord))
        return MapCloud(
            coord=coord, color=np.zeros((len(coord), 3), np.uint8), normal=coord,
            label=ones.astype(np.uint16), confidence=ones, language_label=ones.astype(np.uint16),
            language_confidence=ones,
        )  # fmt: skip


def measured(tmp_path, lie):
    config = config_of()
    robot = Knowing(config.rooms.range, lie=lie)
    return measure_rooms(config, make_tour(config, robot), tmp_path)


def test_answers_from_the_truth_score_fully(tmp_path):
    report = measured(tmp_path, lie=False)
    for shares in report.shares.values():
        assert all(s.value == 1 for s in shares.values() if s.count)
    assert all(report.shares['all objects'][m.title].count for m in MEASURES)
    content = json.loads((tmp_path / 'results.json').read_text())
    assert content['settings']['rooms.seeds'] == '2000:2002'
    assert set(content) >= {'code', 'weights', 'min_score', 'num_rooms', 'seconds', 'outcomes'}
    assert (tmp_path / 'table.md').read_text() == report.table()
    assert '| all objects | 100.0 (100.0 to 100.0) of ' in report.table()


def test_wrong_answers_score_nothing(tmp_path):
    report = measured(tmp_path, lie=True)
    for shares in report.shares.values():
        assert all(s.value == 0 for s in shares.values() if s.count)


def test_the_threshold_is_the_one_with_the_best_balance(tmp_path, monkeypatch):
    config = config_of(**{'rooms.families': 'train', 'rooms.seeds': '1000:1001'})
    monkeypatch.setattr('training.search_quality.threshold._write_translator', lambda *_: None)
    robot = Knowing(config.rooms.range, families='train')
    report = fit_threshold(config, make_tour(config, robot), robot, tmp_path)
    assert [c.hit for c in report.candidates] == [float(t <= 0.5) for t in CANDIDATES]
    assert {c.absent for c in report.candidates} == {1.0}
    assert report.best.balance == 1
    assert json.loads((tmp_path / 'results.json').read_text())['min_score'] == 0.05


def test_every_candidate_is_asked_as_a_node_that_is_set_to_it_would_answer():
    config = config_of(**{'run.task': 'threshold', 'search.min_score': 0.7})
    assert node_config(config).search.min_score <= min(CANDIDATES)
    assert node_config(config_of(**{'search.min_score': 0.7})).search.min_score == 0.7


def test_the_threshold_is_never_fitted_on_reserved_rooms(tmp_path):
    config = config_of(**{'rooms.seeds': '899999:900001'})
    with pytest.raises(ConfigError, match='reserved for the last measurement: fit on others'):
        fit_threshold(config, None, None, tmp_path)


def test_calibration_error_is_the_distance_of_probability_and_share(tmp_path):
    robot = Knowing([2000])
    robot.reset()
    cloud = robot.cloud()
    is_wall = robot.room.cloud(0.5).label == 1
    calibration = Calibration(MEANINGS)
    assert calibration.error() is None
    calibration.add(robot.room, cloud, robot.language_labels)
    assert calibration.error() == pytest.approx(1 - is_wall.mean(), abs=0.02)


def test_the_network_must_look_at_the_whole_room():
    config = config_of(**{'semantics.max_points': 1})
    tour = make_tour(config, Knowing([2000]))
    with pytest.raises(ConfigError, match=r'set semantics.max_points to more than 1'):
        tour.visit(2000)


def test_what_was_hardly_seen_is_not_asked_for_nor_called_absent():
    room = SyntheticRoom(2000, families='test')
    asker = Asker(TEXTS, MEANINGS, least_surface=50)
    plenty = {i.id: 50 for i in room.instances}
    asked = {q.name for q in asker.questions(room.instances, plenty) if q.kind is Kind.NAME}
    assert asked == {i.class_name for i in room.instances}
    name = room.instances[-1].class_name
    few = plenty | {i.id: 49 for i in room.instances if i.class_name == name}
    assert name not in {q.name for q in asker.questions(room.instances, few)}


def test_absent_classes_have_no_relative_in_the_room():
    (chair,) = [dataclasses.replace(SyntheticRoom(2000).instances[0], class_name='chair', id=1)]
    asker = Asker(TEXTS, MEANINGS, least_surface=1)
    questions = asker.questions([chair], {1: 1})
    absent = {q.name for q in questions if q.kind is Kind.ABSENT}
    assert absent == set(ROOM_CLASSES) - {'chair', 'office chair', 'armchair', *SHELL}


def test_a_text_of_several_classes_is_right_for_each():
    instance = SyntheticRoom(2000).instances[0]
    chair = dataclasses.replace(instance, class_name='chair', id=1)
    stool = dataclasses.replace(instance, class_name='stool', id=2)
    asker = Asker(TEXTS, MEANINGS, least_surface=1)
    by_text = {q.text: q for q in asker.questions([chair, stool], {1: 1, 2: 1})}
    assert by_text['seat'].right == (chair.box, stool.box)
    assert by_text['chair'].right == (chair.box,)


def test_meanings_are_of_texts_that_are_asked():
    asked = {text for t in TEXTS for text in (t.trained[0], *t.held_out)}
    assert set(MEANINGS.also) <= asked


def test_a_turned_box_holds_what_is_in_it():
    box = Box(center=np.array([1.0, 2.0, 3.0]), size=np.array([2.0, 0.2, 0.4]), yaw=np.pi / 2)
    assert is_inside(np.array([1.0, 2.95, 3.0]), box, 0.0)
    assert not is_inside(np.array([1.95, 2.0, 3.0]), box, 0.0)
    assert not is_inside(np.array([1.11, 2.0, 3.0]), box, 0.0)
    assert is_inside(np.array([1.11, 2.0, 3.0]), box, 0.02)


@pytest.mark.parametrize(('place', 'hit_1', 'hit_3'), [(1, 1, 1), (3, 0, 1), (4, 0, 0)])
def test_the_place_of_the_right_answer_counts(place, hit_1, hit_3):
    question = Question(
        text='cup', name='cup', kind=Kind.NAME,
        right=(Box(center=np.zeros(3), size=np.ones(3)),),
    )  # fmt: skip
    hits = tuple(hit([0 if k == place else 5, 0, 0]) for k in range(1, 5))
    outcome = judge(0, question, SearchResult(verdict='found', objects=hits), 0.0)
    found = [share([outcome], m, GROUPS['all objects'], 0).value for m in (HIT_1, HIT_3)]
    assert found == [hit_1, hit_3]


def test_unobserved_is_not_absent():
    question = Question(text='cup', name='cup', kind=Kind.ABSENT, right=())
    outcome = judge(0, question, SearchResult(verdict='unobserved'), 0.0)
    assert share([outcome], ABSENT, GROUPS['all objects'], 0).value == 0


def outcome(room, rank, name='cup', kind=Kind.NAME):
    return Outcome(
        room=room, text=name, name=name, kind=kind, verdict='found', rank=rank, score=1.0
    )


def test_intervals_are_over_rooms():
    alike = [outcome(room, 1) for room in range(9) for _ in range(9)]
    assert share(alike, HIT_1, GROUPS['all objects'], 0).low == 1
    half = [outcome(room, int(room < 5)) for room in range(10) for _ in range(9)]
    found = share(half, HIT_1, GROUPS['all objects'], 0)
    assert found.value == 0.5
    assert 0.1 <= found.low <= 0.3  # 90 questions, but 10 rooms
    assert 0.7 <= found.high <= 0.9
    assert found == share(half, HIT_1, GROUPS['all objects'], 0)
    assert share(half, SYNONYM_1, GROUPS['all objects'], 0).count == 0


def test_groups_part_all_classes():
    furniture, other = GROUPS['furniture'], GROUPS['other objects']
    assert furniture | other == GROUPS['all objects'] == set(ROOM_CLASSES) - set(SHELL)
    assert not furniture & other
    assert {'wardrobe', 'sofa', 'picture'} <= furniture
    assert {'cup', 'lamp', 'nightstand'} <= other


def test_only_measured_surface_is_seen():
    walk = SyntheticRoom(2000, families='test').frames(2)
    frame, truth = walk[0], walk.frame_truth(0)
    full = Sightings()
    full.add(frame, truth)
    full.add(frame, truth)
    once = Sightings()
    once.add(frame, truth)
    assert full.cells() == once.cells()  # the same surface counts once
    assert set(full.cells()) <= set(np.unique(truth.instance).tolist())
    blind = Sightings()
    blind.add(dataclasses.replace(frame, depth=np.zeros_like(frame.depth)), truth)
    assert blind.cells() == {}
    wrong = Sightings()
    wrong.add(dataclasses.replace(frame, depth=frame.depth + np.float32(0.3)), truth)
    assert sum(wrong.cells().values()) < 0.05 * sum(full.cells().values())


def test_reserved_rooms_are_what_they_were():
    check_reserved([900_000, 900_021, 900_049])


def test_changed_reserved_rooms_are_refused(tmp_path, monkeypatch):
    path = tmp_path / 'rooms.json'
    path.write_text(json.dumps({'900000': '0' * 16}))
    monkeypatch.setattr(frozen_rooms, '_EXPECTED', path)
    check_reserved([2000])
    with pytest.raises(ConfigError, match='1 reserved rooms, 900000 first, are no longer'):
        check_reserved([900_000])


def test_every_reserved_room_has_a_digest():
    expected = json.loads(frozen_rooms._EXPECTED.read_text())
    assert set(expected) == {str(seed) for seed in RESERVED}
    assert len(set(expected.values())) == len(RESERVED)


def test_the_digest_of_a_room_follows_its_parts(monkeypatch):
    before = room_digest(2000)
    assert room_digest(2000) == before != room_digest(2001)
    monkeypatch.setattr(frozen_rooms, '_FRAME', 19)
    assert room_digest(2000) != before


def test_rounding_does_not_change_a_digest():
    round_numbers = np.array([0.0, 0.0005, 0.25, 1.5, -0.001, 2.0])
    for noise in (1e-7, -1e-7):
        assert steps(round_numbers + noise, 1e-3) == steps(round_numbers, 1e-3)
    assert steps(round_numbers + 1e-3, 1e-3) != steps(round_numbers, 1e-3)


CHAIR = Annotation(
    name='chair_1', queries=('seat', 'chair'), center=np.zeros(3), radius=0.2,
    low=np.full(3, -0.5), high=np.full(3, 0.5), plane=None,
)  # fmt: skip
TABLE = Annotation(
    name='table', queries=('table',), center=np.array([9.0, 0, 0]), radius=0.0,
    low=np.array([1.0, -1, -1]), high=np.array([3.0, 1, 1]),
    plane=np.array([[0.0, 0, 1], [0, 0, 0.5]]),
)  # fmt: skip


class Answering:
    def search(self, text, *, max_results):
        centers = {'seat': [0.1, 0, 0], 'chair': [0.3, 0, 0], 'table': [2.0, 0, 0.5]}
        return SearchResult(verdict='found', objects=(hit([7, 7, 7]), hit(centers[text])))


def test_the_kitchen_is_matched_by_radius_or_by_plane():
    found = list(ask_all(Answering(), [CHAIR, TABLE], np.eye(4)))
    assert [(f.query, f.rank) for f in found] == [('seat', 2), ('chair', 0), ('table', 2)]


def test_points_of_the_kitchen_are_judged_where_it_is_annotated():
    names = ('unknown', 'chair', 'office chair', 'table')
    world = np.array([[0, 0, 0], [0, 0, 0.1], [0, 0, 0.2], [2, 0, 0.5], [2, 0, 0.9], [8, 8, 8]])
    label = np.array([1, 2, 3, 3, 1, 1], dtype=np.uint16)
    chair, table = class_scores('head', world.astype(float), label, names, [CHAIR, TABLE])
    assert (chair.name, chair.precision, chair.recall, chair.num_points) == (
        'chair', 1.0, pytest.approx(2 / 3), 3,
    )  # fmt: skip
    assert (table.precision, table.recall, table.num_points) == (0.5, 1.0, 1)


def test_without_the_recording_the_kitchen_is_skipped(root, tmp_path, capsys):
    status = main([
        str(root / 'config/training/search_kitchen.yaml'), f'run.output={tmp_path / "out"}',
        f'kitchen.folder={tmp_path}',
    ])  # fmt: skip
    assert status == 0
    assert 'Skipped: ' in capsys.readouterr().out
    assert 'absent' in json.loads((tmp_path / 'out' / 'results.json').read_text())['skipped']


def test_without_weights_the_command_says_what_to_set(root, tmp_path, capsys):
    status = main([
        str(root / 'config/training/search_rooms.yaml'), f'run.output={tmp_path / "out"}',
        'rooms.seeds=2000:2001', 'rooms.num_frames=1', 'rooms.width=32', 'rooms.height=24',
        'semantics.checkpoint=',
    ])  # fmt: skip
    assert status == 2
    assert 'semantics.checkpoint to weights' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['rooms', 'threshold', 'kitchen'])
def test_our_settings_build(root, name):
    values = read_plain_yaml(root / f'config/training/search_{name}.yaml')
    config = build(SearchQualityConfig, values)
    assert config.run.task == name
    if name == 'rooms':
        assert config.rooms.range == RESERVED


def test_wrong_seeds_are_told():
    with pytest.raises(ConfigError, match='must be A:B with A below B, such as 0:50, got 5'):
        _ = config_of(**{'rooms.seeds': '5'}).rooms.range
