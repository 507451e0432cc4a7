"""A robot walks through rooms and is asked what is there."""

import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from concerto_ros.errors import ConfigError
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.rooms.room import DEFAULT_CAMERA, SyntheticRoom
from concerto_ros.structures import SearchResult
from training.search_quality.config import SearchQualityConfig
from training.search_quality.outcomes import Outcome, judge
from training.search_quality.questions import Asker, Kind, Question
from training.search_quality.sightings import Sightings

_MAX_RESULTS = 3  # that count


class Robot(Protocol):
    """What answers; `PerceptionPipeline` does."""

    def reset(self) -> None:
        """Forget the room before."""

    def integrate(self, frame: RGBDFrame) -> object:
        """See one frame."""

    def update_semantics(self) -> int:
        """Look at the map with the network and return at how many voxels."""

    def search(self, text: str, *, max_results: int = 0, min_score: float = 0.0) -> SearchResult:
        """Answer a question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A room that the robot has in its map now, and what to ask about it."""

    room: SyntheticRoom
    questions: tuple[Question, ...]


class Tour:
    """Walks a robot through rooms.

    Attributes:
        seconds: Time by stage: rendering of frames, map, network, questions.
        slack: How far outside a true box the centre of a right answer may be [m].

    Args:
        robot: That is asked.
        asker: Makes the questions.
        config: How rooms are walked through, and what the node is set to.
    """

    def __init__(self, robot: Robot, asker: Asker, config: SearchQualityConfig) -> None:
        self.slack = config.map.voxel_size  # a centre is the mean of what a voxel measured
        self.seconds: dict[str, float] = defaultdict(float)
        self._robot = robot
        self._asker = asker
        self._rooms = config.rooms
        self._max_points = config.semantics.max_points

    def visit(self, seed: int) -> Visit:
        """Walk through a room.

        Raises:
            ConfigError: The network did not look at all of it.
        """
        with self._timed('frames'):
            room = SyntheticRoom(seed, families=self._rooms.families)
            camera = DEFAULT_CAMERA.scaled(self._rooms.width, self._rooms.height)
            walk = room.frames(self._rooms.num_frames, camera)
        self._robot.reset()
        sightings = Sightings()
        for index in range(len(walk)):
            with self._timed('frames'):
                frame = walk[index]
                sightings.add(frame, walk.frame_truth(index))
            with self._timed('map'):
                self._robot.integrate(frame)
        with self._timed('network'):
            looked = self._robot.update_semantics()
        if not 0 < looked < self._max_points:
            raise ConfigError(
                f'the network looked at {looked} voxels of room {seed}, not at all of them: set '
                f'semantics.max_points to more than {self._max_points}, and semantics.checkpoint '
                'to weights'
            )
        questions = self._asker.questions(room.instances, sightings.cells())
        return Visit(room=room, questions=questions)

    def ask(
        self, visit: Visit, kinds: Collection[Kind] = tuple(Kind), min_score: float = 0.0
    ) -> list[Outcome]:
        """Ask about the room that was visited last.

        Args:
            visit: Of that room.
            kinds: Of the questions that are asked.
            min_score: Instead of the configured one, if positive.
        """
        outcomes = []
        with self._timed('questions'):
            for question in visit.questions:
                if question.kind in kinds:
                    answer = self._robot.search(
                        question.text, max_results=_MAX_RESULTS, min_score=min_score
                    )
                    outcomes.append(judge(visit.room.seed, question, answer, self.slack))
        return outcomes

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - start
