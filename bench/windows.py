"""How close the labels of windows come to those of whole rooms, and what that costs.

Each room of a synthetic building is mapped once and labelled in one window, then anew in windows
of several kinds. Then the same frames go into one map, window by window as in a node.
WINDOWS_PICTURE names the PNG of floor plans, out/bench/seams.png by default.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.nn import functional

from bench.floor_plan import draw_plans
from bench.recordings import has_kitchen, kitchen_frames
from bench.window_scene import Ints, Look, Scene, look_again, mapped, nearest
from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.building import Building
from concerto_ros.rooms.building_tour import Tour

NUM_ROOMS = 4
HALOS = (0, 1, 2, 4)
_ALL = 1 << 10  # chunks
_WHOLE, _COLUMNS, _CHUNK = (_ALL, _ALL, _ALL), (2, 2, _ALL), (1, 1, 1)
_BY_CHUNKS = 1  # room that is looked at chunk by chunk as well, which takes long
_KITCHEN_FRAMES = 200
_EVERY = 10  # frames: semantics.period at 10 Hz
_SAME = 0.04  # how far apart a surface may be in two maps of the same frames [m]
_PICTURE = 'out/bench/seams.png'

Sums = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A room, labelled in one window and in several.

    Attributes:
        scene: The room.
        whole: What came of one window.
        look: What came of several.
    """

    scene: Scene
    whole: Look
    look: Look


def main() -> None:
    """Print how well windows agree, and draw floor plans."""
    building = Building(NUM_ROOMS, num_models=NUM_ROOMS)
    tour = building.tour()
    scenes = [
        Scene((tour[i] for i in np.flatnonzero(tour.place == room)), building.cloud(room))
        for room in range(NUM_ROOMS)
    ]
    whole = [scene.look(_WHOLE, 0) for scene in scenes]
    halos = {halo: _looks(scenes, whole, _COLUMNS, halo) for halo in HALOS}
    default = ConcertoConfig().semantics.halo
    cases = halos[default]
    print(
        f'windows: {_agreement(cases)[0]:.3f} x the labels of whole rooms in windows of 2x2 '
        f'columns of chunks with halo {default}, the default (aim 0.97; {NUM_ROOMS} rooms)'
    )
    print('  by the head / by the vocabulary; work: cells that were seen by cells of the scene')
    print(f'  whole rooms: {_figures(_looks(scenes, whole, _WHOLE, 0))}')
    for halo, others in halos.items():
        print(f'  2x2 columns, halo {halo}: {_figures(others)}')
    for room, case in enumerate(cases):
        kind = building.models[building.places[room].model][0].kind.replace('_', ' ')
        print(f'    {kind} alone, halo {default}: {_figures([case])}')
    for halo in HALOS:
        by_chunks = _looks(scenes[_BY_CHUNKS:][:1], whole[_BY_CHUNKS:][:1], _CHUNK, halo)
        print(f'  single chunks of room {_BY_CHUNKS + 1}, halo {halo}: {_figures(by_chunks)}')
    if has_kitchen():
        kitchen = [Scene(kitchen_frames(_KITCHEN_FRAMES), None)]
        recorded = _looks(kitchen, [kitchen[0].look(_WHOLE, 0)], _COLUMNS, default)
        print(f'  the kitchen recording, 2x2 columns, halo {default}: {_figures(recorded)}')
    as_node = _as_node(tour, cases)
    path = Path(os.environ.get('WINDOWS_PICTURE', _PICTURE))
    _draw(path, cases, as_node, default)
    print(f'  {path} shows where labels differ')


def _draw(path: Path, cases: Sequence[Case], as_node: Sequence[Ints], halo: int) -> None:
    draw_plans(
        path,
        [case.scene.coord for case in cases],
        {
            'each room in one window': [case.whole.label[:, 0] for case in cases],
            f'2x2 columns, halo {halo}': [case.look.label[:, 0] for case in cases],
            'one map, as in a node': [label[:, 0] for label in as_node],
        },
        cases[0].scene.labels,
    )


def _looks(
    scenes: Sequence[Scene], whole: Sequence[Look], edge: tuple[int, ...], halo: int
) -> list[Case]:
    return [
        Case(scene=scene, whole=one, look=scene.look(edge, halo))
        for scene, one in zip(scenes, whole, strict=True)
    ]


def _as_node(tour: Tour, cases: Sequence[Case]) -> list[Ints]:
    """Label all rooms in one map while it grows; return the (N, 2) labels of each."""
    pipeline, num_cells = mapped(tour, every=_EVERY)
    found = _transferred(pipeline, cases)
    num_there = sum(case.scene.num_cells for case in cases)
    print(
        f'  {NUM_ROOMS} rooms in one map, a window every {_EVERY} frames: '
        f'{_compared(found, cases)}, work {num_cells / num_there:.1f}'
    )
    num_cells = look_again(pipeline)
    print(
        f'    looked at anew in the end: {_compared(_transferred(pipeline, cases), cases)}, '
        f'work {num_cells / num_there:.1f}'
    )
    return found


def _transferred(pipeline: PerceptionPipeline, cases: Sequence[Case]) -> list[Ints]:
    """Return the (N, 2) labels of a map of all rooms for the voxels of each; 0: none is there."""
    cloud = pipeline.cloud()
    label = np.stack([cloud.label, cloud.language_label], axis=1).astype(np.int64)
    return [nearest(case.scene.coord, cloud.coord, label, _SAME) for case in cases]


def _compared(found: Sequence[Ints], cases: Sequence[Case]) -> str:
    truth = [
        np.where(label > 0, case.scene.truth, 0) for label, case in zip(found, cases, strict=True)
    ]
    there = 100 * (np.concatenate(found)[:, 0] > 0).mean()
    return (
        f'agree {_percent(_share(found, [case.whole.label for case in cases], found))}, right '
        f'{_percent(_share(found, truth, truth))} of the {there:.1f} % that have a label'
    )


def _figures(cases: Sequence[Case]) -> str:
    labels = [case.look.label for case in cases]
    truth = [case.scene.truth for case in cases]
    cosine = np.concatenate([_cosine(case) for case in cases]).mean()
    work = sum(case.look.num_cells for case in cases) / sum(c.scene.num_cells for c in cases)
    right = (
        f'right {_percent(_share(labels, truth, truth))}, ' if np.concatenate(truth).any() else ''
    )
    return f'agree {_percent(_agreement(cases))}, {right}cosine {cosine:.3f}, work {work:.1f}'


def _agreement(cases: Sequence[Case]) -> Sums:
    whole = [case.whole.label for case in cases]
    return _share([case.look.label for case in cases], whole, whole)


def _share(a: Sequence[Ints], b: Sequence[Ints], counted: Sequence[Ints]) -> Sums:
    """Return (2,), how much of (N, 2) labels is equal, of all rooms where one is not unknown."""
    is_counted = np.concatenate(counted) > 0
    is_equal = np.concatenate(a) == np.concatenate(b)
    share: Sums = (is_equal & is_counted).sum(0) / is_counted.sum(0)
    return share


def _cosine(case: Case) -> Sums:
    """Return (N,), of the features of all levels side by side."""
    both = (case.whole.feature.float(), case.look.feature.float())
    return functional.cosine_similarity(*both).numpy()


def _percent(share: Sums) -> str:
    return ' / '.join(f'{100 * s:.1f}' for s in share) + ' %'


if __name__ == '__main__':
    main()
