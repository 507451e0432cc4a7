"""A real kitchen: what is found by the queries that people listed, and what points are called.

The recording is annotated in part: two of several chairs, no wall. So an answer on another chair
counts as wrong, precision is that among the points of annotated places, and walls have no figures.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from concerto_ros.errors import SourceError
from concerto_ros.geometry.transforms import invert
from concerto_ros.io.frame_source import open_source
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.structures import SearchResult
from training.search_quality.config import SearchQualityConfig
from training.search_quality.meanings import Meanings
from training.search_quality.record import record, write

_ON_PLANE = 0.05  # from an annotated plane, in a recording whose poses drift that much [m]


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """An object of the kitchen; the world frame is that of its poses, the map is level.

    Attributes:
        name: Its own.
        queries: Texts that ask for it.
        center: (3,) [m], map frame.
        radius: Within which an answer is right [m]; 0: anywhere in its box.
        low: (3,) lower corner of its box [m], world frame.
        high: (3,) upper corner.
        plane: (2, 3) normal and point of the plane it lies on, world frame; None: no plane.
    """

    name: str
    queries: tuple[str, ...]
    center: NDArray[np.float64]
    radius: float
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    plane: NDArray[np.float64] | None

    def holds(self, world: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return (N,) bool, which points (N, 3) of the world are its surface."""
        held: NDArray[np.bool_] = np.all((world >= self.low) & (world <= self.high), axis=1)
        if self.plane is not None:
            normal, point = self.plane
            held &= np.abs((world - point) @ normal) <= _ON_PLANE
        return held


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a query; `rank` is the place of the first right object, 0: none."""

    name: str
    query: str
    verdict: str
    rank: int


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How well points of a class were told, 0..1; NaN where there are none."""

    labels: str
    name: str
    precision: float
    recall: float
    num_points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KitchenReport:
    """What was measured on the recording; `skipped` says why nothing was."""

    found: tuple[Found, ...] = ()
    classes: tuple[ClassScore, ...] = ()
    skipped: str = ''
    made_by: Mapping[str, Any]

    def table(self) -> str:
        """Return the queries of each object, and precision and recall in percent."""
        if self.skipped:
            return self.skipped + '\n'
        right = sum(f.rank == 1 for f in self.found)
        lines = ['| object | query | answer |', '|---|---|---|']
        for f in self.found:
            place = f'right at place {f.rank}' if f.rank else 'wrong'
            lines.append(
                f'| {f.name} | {f.query} | {place if f.verdict == "found" else f.verdict} |'
            )
        lines += ['', '| labels | class | precision | recall | points |', '|---|---|---|---|---|']
        for c in self.classes:
            shares = f'{100 * c.precision:.1f} | {100 * c.recall:.1f}'
            lines.append(f'| {c.labels} | {c.name} | {shares} | {c.num_points} |')
        return '\n'.join(lines) + (
            f'\n\nhit@1: {right} of {len(self.found)} queries. Precision is that among the points '
            'of annotated places; walls are not annotated.\n'
        )

    def for_the_node(self) -> str:
        """Return nothing: what was measured is how the node is set already."""
        return ''

    def content(self) -> dict[str, Any]:
        """Return what results.json holds."""
        return {
            'skipped': self.skipped,
            'queries': [asdict(f) for f in self.found],
            'classes': [asdict(c) for c in self.classes],
            **self.made_by,
        }


def measure_kitchen(config: SearchQualityConfig, folder: Path) -> KitchenReport:
    """Map the recording, ask for its objects, and write table.md and results.json.

    Raises:
        SourceError: A file of the recording is damaged.
    """
    source, made_by = Path(config.kitchen.folder), record(config)
    if not (source / 'objects.json').is_file():
        skipped = f'Skipped: {source / "objects.json"} is absent, the annotated recording.'
        report = KitchenReport(skipped=skipped, made_by=made_by)
    else:
        annotations, T_map_world = read_annotations(source)
        pipeline = _mapped(config, source)
        report = KitchenReport(
            found=tuple(ask_all(pipeline, annotations, T_map_world)),
            classes=tuple(_class_scores(pipeline, annotations, T_map_world)),
            made_by=made_by,
        )
    write(folder, report.table(), report.content())
    return report


def read_annotations(
    folder: Path,
) -> tuple[tuple[Annotation, ...], NDArray[np.float64]]:
    """Return the objects of a recording, and (4, 4) T_map_world.

    Raises:
        SourceError: A file is missing or not as expected.
    """
    try:
        camera = json.loads((folder / 'camera.json').read_text())
        objects = json.loads((folder / 'objects.json').read_text())['objects']
        annotations = tuple(_annotation(name, o, camera) for name, o in objects.items())
        return annotations, np.array(camera['T_zup_from_world'], dtype=np.float64)
    except (OSError, ValueError, KeyError) as err:
        raise SourceError(f'{folder}: objects.json or camera.json cannot be read: {err}') from err


def _annotation(name: str, values: Mapping[str, Any], camera: Mapping[str, Any]) -> Annotation:
    plane = camera[f'{name}_plane'] if values['kind'] == 'plane' else None
    low, high = values['aabb_world']
    return Annotation(
        name=name,
        queries=tuple(values['queries']),
        center=np.array(values['center_zup']),
        radius=float(values.get('suggested_match_radius_m', 0.0)),
        low=np.array(low),
        high=np.array(high),
        plane=None if plane is None else np.array([plane['n'], plane['point']]),
    )


def _mapped(config: SearchQualityConfig, folder: Path) -> PerceptionPipeline:
    pipeline = PerceptionPipeline(config.node)
    with open_source(folder) as source:
        for frame in tqdm(source, desc='kitchen', disable=None):
            pipeline.integrate(frame)
    pipeline.update_semantics()
    return pipeline


def ask_all(
    robot: Any, annotations: Sequence[Annotation], T_map_world: NDArray[np.float64]
) -> Iterator[Found]:
    """Yield what a robot answers to each query; any object that lists a query answers it."""
    for annotation in annotations:
        for query in annotation.queries:
            asked_for = [a for a in annotations if query in a.queries]
            answer: SearchResult = robot.search(query, max_results=3)
            is_right = [
                any(_matches(hit.center, a, T_map_world) for a in asked_for)
                for hit in answer.objects
            ]
            rank = is_right.index(True) + 1 if True in is_right else 0
            yield Found(annotation.name, query, answer.verdict, rank)


def _matches(
    center: NDArray[np.float64], annotation: Annotation, T_map_world: NDArray[np.float64]
) -> bool:
    if annotation.radius:
        return bool(np.linalg.norm(center - annotation.center) <= annotation.radius)
    return bool(annotation.holds(_world(center[None], T_map_world))[0])


def _world(points: NDArray, T_map_world: NDArray[np.float64]) -> NDArray[np.float64]:
    T = invert(T_map_world)
    world: NDArray[np.float64] = points.astype(np.float64) @ T[:3, :3].T + T[:3, 3]
    return world


def _class_scores(
    pipeline: PerceptionPipeline,
    annotations: Sequence[Annotation],
    T_map_world: NDArray[np.float64],
) -> Iterator[ClassScore]:
    """Yield the scores of the class head, then those of the language labels."""
    cloud = pipeline.cloud()
    world = _world(cloud.coord, T_map_world)
    yield from class_scores('class head', world, cloud.label, pipeline.labels.names, annotations)
    names = pipeline.language_labels.names
    yield from class_scores('vocabulary', world, cloud.language_label, names, annotations)


def class_scores(
    kind: str,
    world: NDArray[np.float64],
    label: NDArray[np.uint16],
    names: Sequence[str],
    annotations: Sequence[Annotation],
) -> Iterator[ClassScore]:
    """Yield precision and recall of each annotated class that a vocabulary has.

    An object counts as the first of its queries that is a name; the label of an akin class is
    right, too (an office chair is a chair). A point in several objects is right as any of them.

    Args:
        kind: Where the labels come from.
        world: (N, 3) [m].
        label: (N,) place in `names`.
        names: Of the vocabulary.
        annotations: Of the recording.
    """
    meanings = Meanings.ours()
    regions: dict[str, NDArray[np.bool_]] = {}
    for annotation in annotations:
        name = next((q for q in annotation.queries if q in names), '')
        if name:
            nothing = np.zeros(len(world), dtype=np.bool_)
            regions[name] = regions.get(name, nothing) | annotation.holds(world)
    is_annotated = np.any([*regions.values(), np.zeros(len(world), dtype=np.bool_)], axis=0)
    for name, region in regions.items():
        is_akin = np.array([meanings.akin(name, other) for other in names])
        is_called = is_akin[label] & is_annotated
        both = np.count_nonzero(is_called & region)
        yield ClassScore(
            kind,
            name,
            precision=both / is_called.sum() if is_called.any() else float('nan'),
            recall=both / region.sum() if region.any() else float('nan'),
            num_points=int(region.sum()),
        )
