"""ObjectSearch: scores of map voxels -> ranked objects and a verdict."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from concerto_ros.config.schema import SearchConfig
from concerto_ros.errors import SearchError
from concerto_ros.search.boxes import upright_box
from concerto_ros.search.clustering import connected_components
from concerto_ros.search.regions import Region, columns, inside, share_of
from concerto_ros.search.registry import ObjectRegistry
from concerto_ros.search.splitting import split
from concerto_ros.semantics import clean_name
from concerto_ros.structures import UNKNOWN, ObjectHit, SearchResult, Verdict

_LIKELIER = 0.5  # probability from which a query is likelier than all else together
_TOP_SHARE = 0.25  # of an object's voxels make its score
_OF_POINTS = ('coord', 'grid_coord', 'num_views', 'first_seen_ns', 'last_seen_ns', 'label')

Coordinates = Callable[[NDArray[np.intp]], NDArray[np.floating]]  # of rows (M,): (M, 3) [m]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPoints:
    """Surface voxels of a map, as a search needs them: all, or those that score high.

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
        lengths = {name: len(getattr(self, name)) for name in _OF_POINTS}
        if len(set(lengths.values())) > 1:
            raise SearchError(f'expected one value per point in every array, got {lengths}')

    def __len__(self) -> int:
        return len(self.coord)

    def take(self, rows: NDArray[np.intp]) -> 'SearchPoints':
        """Return rows (M,) alone."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _OF_POINTS})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chosen:
    """What a search looks at more closely.

    Attributes:
        rows: (M,) of the scores that were chosen from.
        scores: (M,) of these rows, all finite.
        least: No voxel of the region that scores as high is missing.
        num_judged: Voxels that have a score, without a region.
        num_points: Of the map.
        region: Where to look; None: everywhere.
        columns: (C,) sorted numbers of the columns of the region that hold a voxel with a score.
    """

    rows: NDArray[np.intp]
    scores: NDArray[np.floating]
    least: float
    num_judged: int
    num_points: int
    region: Region | None
    columns: NDArray[np.int64]

    def take(self, rows: NDArray[np.intp]) -> 'Chosen':
        """Return some of the chosen voxels alone, by their places (M,)."""
        return replace(self, rows=self.rows[rows], scores=self.scores[rows])

    @property
    def share(self) -> float:
        """0..1, what of the region, or of the map, has been looked at."""
        if self.region is not None:
            return share_of(self.columns, self.region)
        return self.num_judged / self.num_points if self.num_points else 0.0


def joined(
    parts: Sequence[tuple[SearchPoints, Chosen]],
) -> tuple[SearchPoints, Chosen]:
    """Return as one what was chosen in the parts of a map, at least one, by the same limits."""
    points, chosen = zip(*parts, strict=True)
    arrays = {name: np.concatenate([getattr(p, name) for p in points]) for name in _OF_POINTS}
    scores = np.concatenate([c.scores for c in chosen])
    return replace(points[0], **arrays), replace(
        chosen[0],
        rows=np.arange(len(scores)),
        scores=scores,
        num_judged=sum(c.num_judged for c in chosen),
        num_points=sum(c.num_points for c in chosen),
        columns=np.unique(np.concatenate([c.columns for c in chosen])),
    )


def check_query(query: str) -> str:
    """Return the query without article, control characters and surplus space.

    Raises:
        SearchError: It is empty, has no word, or is too long.
    """
    if not query.strip():
        raise SearchError('the query is empty; ask for an object, e.g. "blue chair"')
    return clean_name(query)


class ObjectSearch:
    """Groups voxels that score high into objects.

    Attributes:
        min_score: Least score of a voxel of an object where a query names none.

    Args:
        config: Limits, and what is used where a query names none.
        registry: Gives objects the ids they had before; a new one for a new map.
        fitted_min_score: Of the translator, where the configuration names none; 0: not fitted.
    """

    def __init__(
        self, config: SearchConfig, registry: ObjectRegistry, fitted_min_score: float = 0.0
    ) -> None:
        self._config = config
        self.min_score = config.min_score or fitted_min_score or _LIKELIER
        self._is_calibrated = fitted_min_score > 0
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
            max_results: Instead of the configured one, if positive; there may be fewer.
            min_score: Instead of the configured one, if positive; a lower one adds objects to
                those that are found by the configured one.

        Returns:
            Found, if any object scores high; else absent, if enough of the region has been
            looked at; else unobserved. What has been looked at is the share of the region's
            columns that hold a voxel with a score, or, without a region, of the voxels that
            have one.

        Raises:
            SearchError: The query is empty, too long or without words, the region is empty or
                not finite, `max_results` is negative, `min_score` is not in 0..1, or there is
                not one score per point.
        """
        if scores.shape != (len(points),):
            raise SearchError(f'expected {len(points)} scores, got shape {scores.shape}')
        chosen = self.choose(
            scores, points.coord.__getitem__, len(points), region=region, min_score=min_score
        )
        return self.find(
            points.take(chosen.rows), chosen, query, max_results=max_results, min_score=min_score
        )

    def choose(
        self,
        scores: NDArray[np.floating],
        coord: Coordinates,
        num_points: int,
        *,
        region: Region | None = None,
        min_score: float = 0.0,
    ) -> Chosen:
        """Choose the voxels that `find` must know: those in the region that score high.

        Args:
            scores: (N,) as for `search`; voxels without a score may be missing.
            coord: Called only where there is a region.
            num_points: Of the map, with or without a score.
            region: As for `search`.
            min_score: Least one that `find` will be asked for, 0: the configured one; voxels that
                reach the configured one are always chosen.

        Raises:
            SearchError: The region is empty or not finite, or `min_score` is not in 0..1.
        """
        least = min(self._least(min_score), self.min_score)
        judged = np.flatnonzero(np.isfinite(scores))
        held = np.empty(0, dtype=np.int64)
        if region is not None:
            where = coord(judged)
            within = inside(where, region)
            held = columns(where[within], region)
            judged = judged[within]
        rows = judged[scores[judged] >= least]
        return Chosen(
            rows=rows,
            scores=scores[rows],
            least=least,
            num_judged=len(judged),
            num_points=num_points,
            region=region,
            columns=held,
        )

    def find(
        self,
        points: SearchPoints,
        chosen: Chosen,
        query: str,
        *,
        max_results: int = 0,
        min_score: float = 0.0,
    ) -> SearchResult:
        """Return the objects among voxels that were chosen.

        Args:
            points: Of the rows that were chosen.
            chosen: From `choose`.
            query: As for `search`.
            max_results: As for `search`.
            min_score: As for `search`.

        Raises:
            SearchError: The query is empty, too long or without words, `max_results` is negative,
                or `min_score` is not in 0..1 or below the one that was chosen by.
        """
        query = check_query(query)
        if max_results < 0:
            raise SearchError(
                f'expected max_results of 0 (as configured) or more, got {max_results}'
            )
        scores, share, least = chosen.scores, chosen.share, self._least(min_score)
        if least < chosen.least:
            raise SearchError(
                f'the search began with a min_score of {chosen.least}, so it cannot end with '
                f'{least}: begin it with the lower one'
            )
        groups = self._layers(points, scores, least)
        ranked = sorted(groups, key=lambda rows: _rank(points, scores, rows))
        objects = self._described(
            points, scores, ranked[: max_results or self._config.max_results], query
        )
        verdict: Verdict = 'found'
        if not objects:
            verdict = (
                'absent' if share >= self._config.observed_share and share > 0 else 'unobserved'
            )
        return SearchResult(
            verdict=verdict,
            objects=objects,
            observed_share=share,
            calibrated=self._is_calibrated,
        )

    def _least(self, min_score: float) -> float:
        if not 0 <= min_score <= 1:
            raise SearchError(f'expected min_score between 0 and 1, got {min_score}')
        return min_score or self.min_score

    def _layers(
        self, points: SearchPoints, scores: NDArray[np.floating], least: float
    ) -> Iterator[NDArray[np.intp]]:
        """Yield the rows of each object: first as configured, then of what is left down to least.

        So a low limit adds objects, and none of the others melts into what surrounds it.
        """
        is_left = scores >= least
        for limit in dict.fromkeys((max(least, self.min_score), least)):
            for rows in self._groups(points, np.flatnonzero(is_left & (scores >= limit))):
                is_left[rows] = False
                yield rows

    def _groups(self, points: SearchPoints, rows: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
        """Yield the rows of each object, sorted by voxel, so the order of rows is no matter."""
        least = (self._config.min_size / points.voxel_size) ** 2 - 1e-6
        rows = rows[np.lexsort(points.grid_coord[rows].T[::-1])]
        gap = max(1, int(self._config.gap / points.voxel_size + 1e-6))
        for cluster in _parted(rows, connected_components(points.grid_coord[rows], gap)):
            if len(cluster) >= least:
                part = split(points.grid_coord[cluster], points.voxel_size)
                yield from (group for group in _parted(cluster, part) if len(group) >= least)

    def _described(
        self,
        points: SearchPoints,
        scores: NDArray[np.floating],
        groups: list[NDArray[np.intp]],
        query: str,
    ) -> tuple[ObjectHit, ...]:
        hits = [_describe(points, scores, rows, query) for rows in groups]
        voxels = [points.grid_coord[rows] for rows in groups]
        bounds = [np.stack([grid.min(axis=0), grid.max(axis=0)]) for grid in voxels]
        names = self._registry.identify(bounds, [hit.label for hit in hits])
        return tuple(replace(hit, id=name) for hit, name in zip(hits, names, strict=True))


def _parted(rows: NDArray[np.intp], number: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """Return the rows of each number from 0 on, in their order."""
    if not len(rows):
        return []
    ends = np.cumsum(np.bincount(number))
    return np.split(rows[np.argsort(number, kind='stable')], ends[:-1])


def _describe(
    points: SearchPoints, scores: NDArray[np.floating], rows: NDArray[np.intp], query: str
) -> ObjectHit:
    """Return the object of the given rows, still without an id."""
    coord = points.coord[rows].astype(np.float64)
    distance = np.linalg.norm(coord - np.median(coord, axis=0), axis=1)
    return ObjectHit(
        id='',
        label=_label(points, rows) or query,
        score=_score(scores[rows]),
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


def _rank(
    points: SearchPoints, scores: NDArray[np.floating], rows: NDArray[np.intp]
) -> tuple[float, ...]:
    """Return what sorts objects: best first, then largest, then by their first voxel."""
    return (-_score(scores[rows]), -len(rows), *points.grid_coord[rows[0]].tolist())


def _score(scores: NDArray[np.floating]) -> float:
    """Return the mean of the best scores of an object."""
    return float(np.sort(scores)[::-1][: max(1, int(len(scores) * _TOP_SHARE))].mean())
