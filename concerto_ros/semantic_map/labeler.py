"""Labeler: lets the network look at windows of a map, and remembers what it knows of each cell.

window = read_window(voxel_map, chunk_key, halo, floor, max_points)  # reads the map
pyramids = labeler.run(window, config)         # any thread; takes long
labeler.write(window, pyramids, config)        # writes to the map
"""

import copy
import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from concerto_ros.config.schema import SemanticsConfig
from concerto_ros.errors import ConcertoError, SearchError
from concerto_ros.mapping import CellLayout, VoxelMap
from concerto_ros.model import FeaturePyramid, StoredFeatures, make_plan
from concerto_ros.model.precision import precision
from concerto_ros.model.serialization import MAX_DEPTH
from concerto_ros.semantic_map.feature_store import FeatureStore, LevelUpdate
from concerto_ros.semantic_map.network_input import Window, WindowPart, voxels_per_cell
from concerto_ros.semantic_map.trained_weights import Language, TrainedWeights
from concerto_ros.semantics import OpenVocabulary, QueryScores, Rivals, make_labels
from concerto_ros.structures import UNKNOWN, Labels

_SEMANTIC, _LANGUAGE = 0, 1  # columns of labels in the map
_AT_ONCE = 1 << 17  # cells that are labelled at a time, to bound memory

_NO_LANGUAGE = (
    'no language model is loaded, so nothing can be searched by text: set semantics.checkpoint '
    'and semantics.translator to trained weights'
)
NO_WEIGHTS = (
    'no trained weights are loaded (parameter semantics.checkpoint is empty): the map is built, '
    'but all labels are "unknown" and search has no language model'
)


class Labeler:
    """The network with what reads its features, for one map at a time.

    Attributes:
        weights: All that was trained; None: nothing is loaded.
        notices: Sentences for people: what is loaded, or that nothing is.
        store: What the network knows of the cells of the map; None before `attach`, and without
            weights.

    Args:
        weights: All that was trained; None: nothing is loaded.
        device: Where the network runs.

    Raises:
        SearchError: The vocabulary holds a name that the text encoder does not know.
    """

    def __init__(self, weights: TrainedWeights | None, device: torch.device) -> None:
        self._device = device
        self.weights = weights
        self.notices = self.weights.notices if self.weights else (NO_WEIGHTS,)
        self.store: FeatureStore | None = None
        self._map: VoxelMap | None = None
        self._scores: QueryScores | None = None
        self._vocabulary: OpenVocabulary | None = None
        self._rivals: Rivals | None = None
        self._rivals_of: OpenVocabulary | None = None
        if self.weights and self.weights.language and self.weights.language.names:
            self._vocabulary = self._read_vocabulary(self.weights.language.names)

    @property
    def labels(self) -> Labels:
        """What the semantic label ids mean."""
        head = self.weights and self.weights.head
        return head.labels if head else make_labels('', ())

    @property
    def language_labels(self) -> Labels:
        """What the language label ids mean."""
        return self._vocabulary.labels if self._vocabulary else make_labels('', ())

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Names of the language labels, without "unknown"."""
        return self._vocabulary.names if self._vocabulary else ()

    @property
    def language(self) -> Language | None:
        """The language model, if there is one."""
        return self.weights.language if self.weights else None

    @property
    def query_bytes(self) -> int:
        """Memory of what queries compete with, beside features and norms."""
        return self._scores.num_bytes - self._scores.norms.nbytes if self._scores else 0

    @property
    def fitted_min_score(self) -> float:
        """Least score of what is found, fitted with the translator; 0: not fitted, or none."""
        return self.language.translator.min_score if self.language else 0.0

    def layout(self, voxel_size: float) -> CellLayout | None:
        """Return how the network sees a map with voxels of a size [m]; None: no network.

        Raises:
            ConcertoError: Its cells are too large for the map.
        """
        if self.weights is None:
            return None
        number = voxels_per_cell(voxel_size, self.weights.voxel_size) or 1
        return CellLayout(voxels_per_cell=number, stride=self.weights.stride)

    def attach(self, voxel_map: VoxelMap) -> None:
        """Begin with a map of which nothing is known."""
        self._map = voxel_map
        self.store = self._scores = None
        if self.weights and voxel_map.cells:
            self.store = FeatureStore(
                self.weights.widths, voxel_map.cells, self._norms, self._device
            )
        if self.language and self.store:
            self._scores = QueryScores(
                self.language.translator, self.store.stored(), self.store.norms
            )

    @torch.inference_mode()
    def run(self, window: Window, config: SemanticsConfig) -> list[FeaturePyramid]:
        """Let the network look; touches no map, so any thread may do this, one at a time.

        Returns:
            What it makes of each part of the window.

        Raises:
            ConcertoError: Features overflow in half precision.
        """
        return [self._run(part, config) for part in window.parts]

    @torch.no_grad()  # the map grows, which others write to outside inference mode
    def write(
        self, window: Window, pyramids: Sequence[FeaturePyramid], config: SemanticsConfig
    ) -> None:
        """Write to the map what the network has made of a window."""
        voxel_map, store = self._attached()
        updates = [
            self._updates(part, pyramid)
            for part, pyramid in zip(window.parts, pyramids, strict=True)
        ]
        kept = [
            torch.cat([update.slot for update in level]) for level in zip(*updates, strict=True)
        ]
        store.forget(voxel_map.keep_cells(window.voxel_key, window.chunk_key, kept))
        changed = store.write(updates, voxel_map.cells_of(window.voxel_key))
        if self._scores:
            self._scores.update(store.stored(), store.norms, changed)
        self._name(changed, config, (_SEMANTIC, _LANGUAGE))

    def _run(self, part: WindowPart, config: SemanticsConfig) -> FeaturePyramid:
        assert self.weights is not None
        assert self.weights.backbone is not None
        points, backbone = part.points, self.weights.backbone
        with precision(config.precision, self._device):
            # A fixed depth keeps the curves as they are while the map grows.
            plan = make_plan(points.grid_coord, points.offset, backbone.config, depth=MAX_DEPTH)
            pyramid = _in_single(backbone(points, plan=plan))
        if config.precision == 'fp16':
            _check_overflow(pyramid)
        return pyramid

    def _updates(self, part: WindowPart, pyramid: FeaturePyramid) -> list[LevelUpdate]:
        """Number the cells of a part; return what is to be stored of each level."""
        voxel_map, _ = self._attached()
        keys, weights = [part.cell_key], [part.weight]
        inverses = [level.inverse for level in pyramid.levels[1:]]
        for inverse, level in zip(inverses, pyramid.levels[1:], strict=True):
            keys.append(_per_parent(keys[-1], inverse, len(level.feat)))
            weights.append(_per_parent(weights[-1], inverse, len(level.feat)))
        slots = voxel_map.claim_cells(keys, inverses)
        there = [slot >= 0 for slot in slots]
        return [
            LevelUpdate(slot[is_there], level.feat[is_there], weight[is_there])
            for slot, level, weight, is_there in zip(
                slots, pyramid.levels, weights, there, strict=True
            )
        ]

    def beside(self, voxel_map: VoxelMap) -> 'Labeler':
        """Return another labeler for another map, of the same weights and vocabulary."""
        other = copy.copy(self)
        other.attach(voxel_map)
        return other

    def take(self, slots: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return what is known of the cells of a chunk, to be kept elsewhere; see `put`."""
        return self.store.take(slots) if self.store else {}

    def forget(self, slots: Sequence[Tensor]) -> None:
        """Know nothing of cells any more, which the map has forgotten."""
        if self.store:
            self.store.forget(slots)

    @torch.no_grad()
    def put(
        self,
        slots: Sequence[Tensor],
        record: Mapping[str, Tensor],
        names: Sequence[str],
        config: SemanticsConfig,
    ) -> None:
        """Bring back what `take` returned, to cells that may have other numbers now.

        Args:
            slots: Per level, in the order in which they were taken.
            record: What `take` returned.
            names: The vocabulary that the cells were labelled by; where it is another now, they
                are labelled anew.
            config: Least confidence of a label.
        """
        if self.store is None:
            return
        self.store.put(slots, record)
        if self._scores:
            self._scores.update(self.store.stored(), self.store.norms, slots[0])
        if tuple(names) != self.vocabulary:
            self._name(slots[0], config, (_LANGUAGE,))

    def relabel(self, names: Sequence[str], config: SemanticsConfig) -> None:
        """Take another open vocabulary, and label by it what the network has looked at.

        Args:
            names: At least one, each once.
            config: Least confidence of a label.

        Raises:
            SearchError: There is no language model, or it does not know a name, or the list is
                empty or names a thing twice; nothing has changed.
        """
        self._vocabulary = self._read_vocabulary(names)
        if self.store:
            self._name(self.store.is_known.nonzero()[:, 0], config, (_LANGUAGE,))

    @torch.inference_mode()
    def scores(self, query: str) -> Tensor:
        """Return how well the cells of the map fit a text.

        The score is the probability of the query against the names of the vocabulary and what is
        in every room, see `QueryScores`.

        Returns:
            (N,) float32 in 0..1 per cell of level 0, by number; meaningless for free numbers.

        Raises:
            SearchError: There is no language model, or it does not know the text.
        """
        language = self._language()
        embedding = language.translator.encode(language.encoder, [query])
        if self._scores is None or self._scores.features.num_points == 0:
            return torch.empty(0, device=self._device)
        return self._scores.probability(query, embedding, self.rivals())

    def rivals(self) -> Rivals:
        """Return what queries compete with, read anew only when the vocabulary has changed.

        Raises:
            SearchError: There is no language model.
        """
        language = self._language()
        if self._rivals is None or self._rivals_of is not self._vocabulary:
            self._rivals = Rivals.build(language.translator, language.encoder, self.vocabulary)
            self._rivals_of = self._vocabulary
        return self._rivals

    def read_texts(self, texts: Sequence[str]) -> None:
        """Read texts, and what all queries compete with, ahead; may be called by any thread.

        Raises:
            SearchError: There is no language model, or it does not know a text.
        """
        language = self._language()
        language.translator.encode(language.encoder, texts)
        Rivals.build(language.translator, language.encoder, ())

    def _attached(self) -> tuple[VoxelMap, FeatureStore]:
        if self._map is None or self.store is None:
            raise ConcertoError('no network is loaded, or no map is there to be looked at')
        return self._map, self.store

    def _language(self) -> Language:
        """Return the language model.

        Raises:
            SearchError: There is none.
        """
        if self.language is None:
            raise SearchError((self.weights and self.weights.no_language) or _NO_LANGUAGE)
        return self.language

    def _read_vocabulary(self, names: Sequence[str]) -> OpenVocabulary:
        language = self._language()
        return OpenVocabulary.build(language.translator, language.encoder, names)

    def _norms(self, features: StoredFeatures) -> Tensor:
        if self.language is None:
            return torch.zeros(features.num_points, device=self._device)
        return self.language.translator.norms(features)

    @torch.no_grad()
    def _name(self, cells: Tensor, config: SemanticsConfig, columns: Sequence[int]) -> None:
        """Label cells (M,) by what is stored of them."""
        voxel_map, store = self._attached()
        head = self.weights.head if self.weights else None
        for cell in torch.split(cells, _AT_ONCE):
            part = store.part(cell)
            if head and _SEMANTIC in columns:
                label, confidence = head.predict(part)
                label = torch.where(confidence >= config.min_confidence, label.int(), UNKNOWN)
                voxel_map.write_labels(cell, label.to(torch.uint16), confidence, column=_SEMANTIC)
            if self._vocabulary and _LANGUAGE in columns:
                vocabulary = dataclasses.replace(
                    self._vocabulary, min_confidence=config.min_confidence
                )
                label, confidence = vocabulary.predict(part, store.norms[cell])
                voxel_map.write_labels(cell, label, confidence, column=_LANGUAGE)


def _per_parent(values: Tensor, inverse: Tensor, num_parents: int) -> Tensor:
    """Return, for each parent, the value of one of its children (N,)."""
    chosen = values.new_zeros(num_parents)
    return chosen.scatter_reduce(0, inverse, values, 'amax', include_self=False)


def _in_single(pyramid: FeaturePyramid) -> FeaturePyramid:
    """Return features as float32, so that nothing that reads them rounds once more."""
    levels = (dataclasses.replace(level, feat=level.feat.float()) for level in pyramid.levels)
    return dataclasses.replace(pyramid, levels=tuple(levels))


def _check_overflow(pyramid: FeaturePyramid) -> None:
    if not all(level.feat.isfinite().all() for level in pyramid.levels):
        raise ConcertoError(
            'features of these weights overflow in fp16 (beyond 65504): set semantics.precision '
            'to bf16 or fp32'
        )
