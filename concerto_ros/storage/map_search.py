"""MapSearch: answers about a map of one file, without the network that looked at it."""

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import CheckpointError, SearchError
from concerto_ros.search.object_search import ObjectSearch, check_query
from concerto_ros.search.regions import Region
from concerto_ros.search.registry import ObjectRegistry
from concerto_ros.semantics import QueryScores, Rivals, Translator, load_text_encoder
from concerto_ros.storage.saved_map import SavedMap
from concerto_ros.structures import SearchResult


class Heat(NamedTuple):
    """How well points fit a text.

    Attributes:
        coord: (N, 3) float32 in the world [m].
        color: (N, 3) uint8 RGB.
        normal: (N, 3) float32 unit vectors; zero where unknown.
        probability: (N,) float32 in 0..1; NaN where the network has not looked.
    """

    coord: NDArray[np.float32]
    color: NDArray[np.uint8]
    normal: NDArray[np.float32]
    probability: NDArray[np.float32]


class MapSearch:
    """Answers texts about a saved map as the pipeline that made it would.

    Args:
        saved: The map, as it was loaded.
        translator: Name or file of another translator than that in the map; empty: the same.
        text_encoder: Specification of another text encoder; empty: the same.

    Raises:
        SearchError: The map has no features, or the encoder does not know its vocabulary.
        CheckpointError: The other translator is missing or damaged, or a translator was made for
            another backbone or another text encoder.
        ConfigError: The text encoder is named in a way that is not understood.
        BackendUnavailable: The text encoder's package or weights are missing.
    """

    def __init__(self, saved: SavedMap, translator: str = '', text_encoder: str = '') -> None:
        if saved.features is None:
            raise SearchError(
                'this map has no features, so it cannot be searched by text: map the recording '
                'with semantics.checkpoint and semantics.translator set to trained weights'
            )
        self._points, self._cell = saved.points, saved.features.cell
        self._colors = saved.color, saved.normal.astype(np.float32)
        self._translator = saved.features.translator
        if translator:
            self._translator = _load_translator(translator, saved.features.backbone)
        spec = text_encoder or str(saved.settings.get('semantics.text_encoder', ''))
        self._encoder = load_text_encoder(spec or self._translator.text_encoder)
        vocabulary = saved.features.vocabulary
        self._rivals = Rivals.build(self._translator, self._encoder, vocabulary)
        self._scores = QueryScores(self._translator, saved.features.stored)
        self._search = ObjectSearch(
            saved.search_config, ObjectRegistry(), self._translator.min_score
        )

    @property
    def voxel_size(self) -> float:
        """Edge length of a voxel [m]."""
        return self._points.voxel_size

    @property
    def min_score(self) -> float:
        """Least score of a point of an object where a query names none."""
        return self._search.min_score

    def search(
        self,
        text: str,
        *,
        region: Region | None = None,
        max_results: int = 0,
        min_score: float = 0.0,
    ) -> SearchResult:
        """Find what a text describes; the arguments are those of `PerceptionPipeline.search`.

        Raises:
            SearchError: The text is empty or not known to the encoder, or a limit is not valid.
        """
        text = check_query(text)
        result = self._search.search(
            self._points,
            self._probability(text),
            text,
            region=region,
            max_results=max_results,
            min_score=min_score,
        )
        return dataclasses.replace(result, text_encoder=self._encoder.name)

    def heat(self, text: str) -> Heat:
        """Return all points, and how well each fits a text.

        Raises:
            SearchError: The text is empty or not known to the encoder.
        """
        probability = self._probability(check_query(text))
        return Heat(self._points.coord, *self._colors, probability)

    def _probability(self, text: str) -> NDArray[np.float32]:
        embedding = self._translator.encode(self._encoder, [text])
        of_cell = self._scores.probability(text, embedding, self._rivals).numpy()
        probability = np.full(len(self._points), np.nan, dtype=np.float32)
        is_known = self._cell >= 0
        probability[is_known] = of_cell[self._cell[is_known]]
        return probability


def _load_translator(file: str, backbone: str) -> Translator:
    try:
        translator = Translator.load(file)
        translator.check_backbone(backbone)
    except CheckpointError as err:
        raise CheckpointError(f'this map cannot be searched with that translator: {err}') from err
    return translator
