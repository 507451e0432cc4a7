"""What became of questions, and shares of right answers with their intervals."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from concerto_ros.rooms.classes import SCANNET20_OF, UNLABELLED
from concerto_ros.rooms.room import SHELL
from concerto_ros.structures import SearchResult, Verdict
from training.search_quality.questions import Kind, Question, is_inside

_DRAWS = 10_000  # of the bootstrap


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The answer to one question.

    Attributes:
        room: Seed of the room.
        text: What was asked.
        name: Class that it was asked for.
        kind: How.
        verdict: Of the search.
        rank: Place of the first right object, from 1; 0 if none is right.
        score: Of the best object; 0 if there is none.
    """

    room: int
    text: str
    name: str
    kind: Kind
    verdict: Verdict
    rank: int
    score: float


def judge(room: int, question: Question, result: SearchResult, slack: float) -> Outcome:
    """Hold an answer against the truth.

    Args:
        room: Its seed.
        question: What was asked.
        result: What was answered.
        slack: How far outside a true box a centre may be [m].
    """
    is_right = [
        any(is_inside(hit.center, box, slack) for box in question.right) for hit in result.objects
    ]
    return Outcome(
        room=room,
        text=question.text,
        name=question.name,
        kind=question.kind,
        verdict=result.verdict,
        rank=is_right.index(True) + 1 if True in is_right else 0,
        score=result.objects[0].score if result.objects else 0.0,
    )


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure: which questions it is about, and which outcomes are right."""

    title: str
    kind: Kind
    is_right: Callable[[Outcome], bool]


HIT_1 = Measure('hit@1', Kind.NAME, lambda o: o.rank == 1)
HIT_3 = Measure('hit@3', Kind.NAME, lambda o: 1 <= o.rank <= 3)
SYNONYM_1 = Measure('hit@1 by synonyms', Kind.SYNONYM, lambda o: o.rank == 1)
SYNONYM_3 = Measure('hit@3 by synonyms', Kind.SYNONYM, lambda o: 1 <= o.rank <= 3)
ABSENT = Measure('absent', Kind.ABSENT, lambda o: o.verdict == 'absent')
MEASURES = (HIT_1, HIT_3, SYNONYM_1, SYNONYM_3, ABSENT)

_FURNITURE = {n for n, s in SCANNET20_OF.items() if s != UNLABELLED} - set(SHELL)
GROUPS = {
    'all objects': frozenset(SCANNET20_OF) - set(SHELL),
    'furniture': frozenset(_FURNITURE),
    'other objects': frozenset(SCANNET20_OF) - _FURNITURE - set(SHELL),
    'wall, floor, ceiling': frozenset(SHELL),
}


@dataclass(frozen=True, slots=True)
class Share:
    """A share of right answers.

    Attributes:
        value: 0..1; NaN if nothing was asked.
        low: Lower end of the 95 % interval over rooms.
        high: Upper end of it.
        count: Questions.
    """

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        if not self.count:
            return '-'
        return (
            f'{100 * self.value:.1f} ({100 * self.low:.1f} to {100 * self.high:.1f}) '
            f'of {self.count}'
        )


def share(
    outcomes: Iterable[Outcome], measure: Measure, names: frozenset[str], seed: int
) -> Share:
    """Return the share of right answers, with the interval of a bootstrap over rooms.

    Whole rooms are drawn, because questions about one room go wrong together.

    Args:
        outcomes: Of all rooms.
        measure: What is counted.
        names: Classes that count.
        seed: Of the draws.
    """
    mine = [o for o in outcomes if o.kind == measure.kind and o.name in names]
    if not mine:
        return Share(float('nan'), float('nan'), float('nan'), 0)
    rooms = sorted({o.room for o in mine})
    right, asked = np.zeros(len(rooms)), np.zeros(len(rooms))
    for o in mine:
        place = rooms.index(o.room)
        asked[place] += 1
        right[place] += measure.is_right(o)
    times = np.random.default_rng(seed).multinomial(
        len(rooms), np.full(len(rooms), 1 / len(rooms)), size=_DRAWS
    )
    low, high = np.percentile((times @ right) / (times @ asked), [2.5, 97.5])
    return Share(float(right.sum() / asked.sum()), float(low), float(high), len(mine))


def right_and_asked(outcomes: Sequence[Outcome], measure: Measure) -> tuple[int, int]:
    """Return how many questions of a measure were answered rightly, and how many there are."""
    mine = [o for o in outcomes if o.kind == measure.kind]
    return sum(map(measure.is_right, mine)), len(mine)
