"""MapQuery: what a text search needs of a map that lies in memory and on the disk."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from concerto_ros.search.object_search import (
    Chosen,
    ObjectSearch,
    SearchPoints,
    check_query,
    joined,
)
from concerto_ros.search.regions import Region
from concerto_ros.semantic_map.labelled_map import LabelledMap
from concerto_ros.semantic_map.world import CloudPart, World
from concerto_ros.structures import SearchResult


class Elsewhere(NamedTuple):
    """Chunks of a map that are not in memory.

    Attributes:
        keys: Of the chunks.
        read: Reads some of them, each few as a map of their own; any thread may do so.
    """

    keys: frozenset[int]
    read: Callable[[Iterable[int]], Iterator[LabelledMap]]


def begin_search(
    labelled: LabelledMap,
    elsewhere: Elsewhere,
    world: World,
    search: ObjectSearch,
    text: str,
    *,
    region: Region | None = None,
    min_score: float = 0.0,
) -> Callable[..., SearchResult]:
    """Take from a map what a search needs; what lies on the disk is read by the function.

    Args:
        labelled: The map in memory.
        elsewhere: The rest of it.
        world: Where its submaps are.
        search: Groups voxels into objects.
        text: As for `PerceptionPipeline.search`.
        region: As for `PerceptionPipeline.search`, in the world.
        min_score: Least one that the function will be called with.

    Returns:
        As `PerceptionPipeline.begin_search`.

    Raises:
        SearchError: As for `PerceptionPipeline.search`.
    """
    text, least = check_query(text), min_score
    look = partial(_chosen, world=world, search=search, text=text, region=region)
    here = look(labelled, min_score=min_score)
    waiting = _in_region(elsewhere.keys, world, region)
    language = labelled.labeler.language

    def find(*, max_results: int = 0, min_score: float = 0.0) -> SearchResult:
        parts = [here]
        parts += (look(part, min_score=least) for part in elsewhere.read(waiting))
        points, chosen = joined([(points, chosen) for points, chosen, _ in parts])
        stands = np.flatnonzero(world.stands([part for _, _, part in parts]))
        points, chosen = points.take(stands), chosen.take(stands)
        result = search.find(points, chosen, text, max_results=max_results, min_score=min_score)
        return replace(result, text_encoder=language.encoder.name if language else '')

    return find


def _chosen(
    labelled: LabelledMap,
    *,
    world: World,
    search: ObjectSearch,
    text: str,
    region: Region | None,
    min_score: float,
) -> tuple[SearchPoints, Chosen, CloudPart]:
    """Return the voxels of a part of a map that score high in the region."""
    voxels, labeler = labelled.voxels, labelled.labeler
    of_cell = labeler.scores(text)
    surface = voxels.surface_rows()
    cell = voxels.cell(surface)
    is_known = cell >= 0
    rows = surface[is_known]
    scores = of_cell[cell[is_known]].cpu().numpy()

    def coord(some: NDArray[np.intp]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = world.coord(voxels, rows[some]).cpu().numpy()
        return found

    chosen = search.choose(scores, coord, len(surface), region=region, min_score=min_score)
    picked = rows[chosen.rows]
    return search_points(labelled, world, picked), chosen, world.part(voxels, picked)


def search_points(labelled: LabelledMap, world: World, rows: torch.Tensor) -> SearchPoints:
    """Return rows (M,) of a map as a search needs them."""
    voxels, labeler = labelled.voxels, labelled.labeler
    num_views, seen_ns = voxels.observations(rows)
    label = voxels.labels(rows)[0].cpu().numpy().view(np.uint16)
    has_vocabulary = len(labeler.vocabulary) > 0
    labels = labeler.language_labels if has_vocabulary else labeler.labels
    return SearchPoints(
        coord=world.coord(voxels, rows).cpu().numpy(),
        grid_coord=world.grid_coord(voxels, rows).cpu().numpy(),
        num_views=num_views,
        first_seen_ns=seen_ns[:, 0],
        last_seen_ns=seen_ns[:, 1],
        label=label[:, int(has_vocabulary)].copy(),
        names=labels.names,
        voxel_size=voxels.voxel_size,
    )


def _in_region(keys: frozenset[int], world: World, region: Region | None) -> list[int]:
    """Return those of the chunks that may hold points of a region."""
    chosen = torch.tensor(sorted(keys), dtype=torch.int64)
    if region is not None and len(chosen):
        low, high = world.box(chosen)
        below, above = (torch.as_tensor(np.asarray(corner, dtype=float)) for corner in region)
        chosen = chosen[((low <= above) & (high >= below)).all(1)]
    found: list[int] = chosen.tolist()
    return found
