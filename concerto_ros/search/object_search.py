"""ObjectSearch: scores of map voxels -> ranked objects and a verdict."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from concerto_ros.config.schema import SearchConfig
from concerto_ros.errors import SearchError
from concerto_ros.search.boxes import upright_box
from concerto_ros.search.clustering import connected_components
from concerto_ros.search.regions import Region, inside, observed_share
from concerto_ros.search.registry import ObjectRegistry
from concerto_ros.structures import UNKNOWN, ObjectHit, SearchResult, Verdict

_MAX_QUERY = 500  # characters
_TOP_SHARE = 0.25  # of an object's voxels make its score


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPoints:
    """The surface voxels of a map, as a search needs them.

    Attributes:
        coord: (N, 3) float32 [m], map frame.
        grid_coord: (N, 3) int, voxel of each point on the map's lattice.
        num_views: (N,) int, images that measured the voxel.
        first_seen_ns: (N,) int64, stamp of the first of them [ns].
        last_seen_ns: (N,) int64, stamp of the newest one [ns].
        label: (N,) uint16 id in the current vocabulary; 0 is unknown.
        names: Name of each id; empty where there is no vocabulary.
        voxel_size: Edge length of a voxel [m].

    Raises:
        SearchError: The arrays differ in length.
    """

    coord: NDArray[np.float32]
    grid_coord: NDArray[np.integer]
    num_views: NDArray[np.integer]
    first_seen_ns: NDArray[np.int64]
    last_seen_ns: NDArray[np.int64]
    label: NDArray[np.uint16]
    names: tuple[str, ...]
    voxel_size: float

    def __post_init__(self) -> None:
        fields = ('grid_coord', 'num_views', 'first_seen_ns', 'last_seen_ns', 'label')
        lengths = {name: len(getattr(self, name)) for name in ('coord', *fields)}
        if len(set(lengths.values())) > 1:
            raise SearchError(f'expected one value per point in every array, got {lengths}')

    def __len__(self) -> int:
        return len(self.coord)


def check_query(query: str) -> str:
    """Return the query without surrounding space.

    Raises:
        SearchError: It is empty or longer than 500 characters.
    """
    text = query.strip()
    if not text:
        raise SearchError('the query is empty; ask for an object, e.g. "blue chair"')
    if len(text) > _MAX_QUERY:
        raise SearchError(
            f'the query has {len(text)} characters, at most {_MAX_QUERY} are allowed; '
            'ask for one object, e.g. "blue chair"'
        )
    return text


class ObjectSearch:
    """Groups voxels that score high into objects.

    Args:
        config: Limits, and what is used where a query names none.
        registry: Gives objects the ids they had before; a new one for a new map.
    """

    def __init__(self, config: SearchConfig, registry: ObjectRegistry) -> None:
        self._config = config
        self._registry = registry

    def search(
        self,
        points: SearchPoints,
        scores: NDArray[np.floating],
        query: str,
        *,
        region: Region | None = None,
        max_results: int = 0,
        min_score: float = 0.0,
    ) -> SearchResult:
        """Return the objects among the voxels that score high, best first.

        Args:
            points: The voxels of the map.
            scores: (N,) 0..1, how well each voxel fits the query; not finite where the voxel has
                not been looked at yet, which counts as not observed.
            query: The text that was asked; names objects where there is no vocabulary.
            region: Where to look; voxels outside are ignored. None: the whole map.
            max_results: Instead of the configured one, if positive.
            min_score: Instead of the configured one, if positive.

        Raises:
            SearchError: The query is empty or too long, the region is empty or not finite,
                `min_score` is not in 0..1, or there is not one score per point.
        """
        query = check_query(query)
        if not 0 <= min_score <= 1:
            raise SearchError(f'expected min_score between 0 and 1, got {min_score}')
        if scores.shape != (len(points),):
            raise SearchError(f'expected {len(points)} scores, got shape {scores.shape}')
        judged = np.isfinite(scores)
        high = judged & (np.nan_to_num(scores, nan=-1.0) >= (min_score or self._config.min_score))
        if region is None:
            share = float(judged.any())
        else:
            share = observed_share(points.coord[judged], region)
            high &= inside(points.coord, region)
        groups = self._groups(points, np.flatnonzero(high))
        found = sorted((_describe(points, scores, g, query) for g in groups), key=_rank)
        objects = self._named(found[: max_results or self._config.max_results])
        verdict: Verdict = 'found'
        if not objects:
            verdict = (
                'absent' if share >= self._config.observed_share and share > 0 else 'unobserved'
            )
        return SearchResult(verdict=verdict, objects=objects, observed_share=share)

    def _groups(self, points: SearchPoints, rows: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        """Return the rows of each object, sorted by voxel, so the order of rows is no matter."""
        rows = rows[np.lexsort(points.grid_coord[rows].T[::-1])]
        gap = max(1, int(self._config.gap / points.voxel_size + 1e-6))
        component = connected_components(points.grid_coord[rows], gap)
        rows = rows[np.argsort(component, kind='stable')]
        sizes = np.bincount(component)
        groups = np.split(rows, np.cumsum(sizes)[:-1])
        return [group for group in groups if len(group) >= max(1, self._config.min_points)]

    def _named(self, found: list[ObjectHit]) -> tuple[ObjectHit, ...]:
        names = self._registry.identify([h.box for h in found], [h.label for h in found])
        return tuple(replace(hit, id=name) for hit, name in zip(found, names, strict=True))


def _describe(
    points: SearchPoints, scores: NDArray[np.floating], rows: NDArray[np.intp], query: str
) -> ObjectHit:
    """Return the object of the given rows, still without an id."""
    coord = points.coord[rows].astype(np.float64)
    ranked = np.sort(scores[rows])[::-1]
    distance = np.linalg.norm(coord - np.median(coord, axis=0), axis=1)
    return ObjectHit(
        id='',
        label=_label(points, rows) or query,
        score=float(ranked[: max(1, int(len(ranked) * _TOP_SHARE))].mean()),
        center=coord[distance.argmin()],
        box=upright_box(coord, points.voxel_size),
        num_points=len(rows),
        num_views=int(points.num_views[rows].max()),
        first_seen_ns=int(points.first_seen_ns[rows].min()),
        last_seen_ns=int(points.last_seen_ns[rows].max()),
    )


def _label(points: SearchPoints, rows: NDArray[np.intp]) -> str:
    """Return the most frequent known label of the rows; empty if none is known."""
    label = points.label[rows]
    known = label[(label != UNKNOWN) & (label < len(points.names))]
    return points.names[int(np.bincount(known).argmax())] if len(known) else ''


def _rank(hit: ObjectHit) -> tuple[float, ...]:
    return (-hit.score, -hit.num_points, *hit.center.tolist())
