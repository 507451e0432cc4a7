"""Labeler: runs the network over voxels of a map and writes down what they are."""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from concerto_ros import box
from concerto_ros.config.schema import SemanticsConfig
from concerto_ros.errors import BackendUnavailable, CheckpointError, ConcertoError, SearchError
from concerto_ros.mapping import VoxelMap
from concerto_ros.model import (
    FeaturePyramid,
    PointTransformerV3,
    StoredFeatures,
    load_checkpoint,
    make_plan,
    weights_digest,
)
from concerto_ros.model.attention import use_attention
from concerto_ros.model.attention_backend import select_attention
from concerto_ros.model.precision import DTYPES, precision
from concerto_ros.model.serialization import MAX_DEPTH
from concerto_ros.model.sparse_conv import select_backend, use_backend
from concerto_ros.network_input import prepare_rows
from concerto_ros.seen_features import SeenFeatures
from concerto_ros.semantics import (
    ClassHead,
    OpenVocabulary,
    QueryScores,
    Rivals,
    TextEncoder,
    Translator,
    load_text_encoder,
    make_labels,
)
from concerto_ros.storage import MapFeatures
from concerto_ros.structures import UNKNOWN, Labels

_Linear = TypeVar('_Linear', ClassHead, Translator)
_SEMANTIC, _LANGUAGE = 0, 1  # columns of labels in the map

_NO_LANGUAGE = (
    'no language model is loaded, so nothing can be searched by text: set semantics.checkpoint '
    'and semantics.translator to trained weights'
)
NO_WEIGHTS = (
    'no trained weights are loaded (parameter semantics.checkpoint is empty): the map is built, '
    'but all labels are "unknown" and search has no language model'
)


class Labeler:
    """The network with what reads its features; remembers what it has looked at.

    Attributes:
        notices: Sentences for people: what is loaded, or that nothing is.
        voxel_size: Edge length of the voxels that the network was trained on [m]; None: unknown.
            Where it is a multiple of that of the map, the network sees such cells of the map.
        translator_file: Name or file of the translator; empty: none.

    Args:
        config: Which weights to load, and how to compute.
        device: Where the network runs.

    Raises:
        CheckpointError: A file of weights is missing, damaged, or does not fit the others.
        ConfigError: The text encoder is named in a way that is not understood.
        BackendUnavailable: The text encoder's package or weights are missing, or what is to
            compute convolutions or attention cannot run on the device.
        SearchError: The vocabulary holds a name that the text encoder does not know.
    """

    def __init__(self, config: SemanticsConfig, device: torch.device) -> None:
        self.notices: tuple[str, ...] = (NO_WEIGHTS,)
        self.voxel_size: float | None = None
        self.translator_file = ''
        self._no_language = _NO_LANGUAGE
        self._device = device
        self._backbone: PointTransformerV3 | None = None
        self._head: ClassHead | None = None
        self._translator: Translator | None = None
        self._text_encoder: TextEncoder | None = None
        self._vocabulary: OpenVocabulary | None = None
        self._rivals: Rivals | None = None
        self._rivals_of: OpenVocabulary | None = None
        self._scores: QueryScores | None = None
        self._seen: SeenFeatures | None = None
        if config.checkpoint:
            self._load(config)

    @property
    def has_network(self) -> bool:
        """Weights are loaded."""
        return self._backbone is not None

    @property
    def labels(self) -> Labels:
        """What the semantic label ids mean."""
        return make_labels('', ()) if self._head is None else self._head.labels

    @property
    def language_labels(self) -> Labels:
        """What the language label ids mean."""
        return make_labels('', ()) if self._vocabulary is None else self._vocabulary.labels

    @property
    def text_encoder(self) -> str:
        """Name of the language model; empty if there is none."""
        return '' if self._text_encoder is None else self._text_encoder.name

    @property
    def fitted_min_score(self) -> float:
        """Least score of what is found, fitted with the translator; 0: not fitted, or none."""
        return 0.0 if self._translator is None else self._translator.min_score

    def forget(self) -> None:
        """Forget the features, because the map was reset."""
        self._scores = self._seen = None

    @torch.inference_mode()
    def label(self, voxel_map: VoxelMap, rows: Tensor, config: SemanticsConfig) -> None:
        """Run the network over rows of a map and write their labels back.

        Args:
            voxel_map: The map.
            rows: (M,) int64, a window without holes.
            config: Precision, and least confidence of a label.

        Raises:
            ConcertoError: Features overflow in half precision; the map is untouched.
        """
        if self._backbone is None:
            return
        prepared = prepare_rows(voxel_map, rows, self.voxel_size)
        points, cell = prepared.points, prepared.inverse
        with precision(config.precision, self._device):
            # A fixed depth keeps the curves as they are while the map grows.
            plan = make_plan(
                points.grid_coord, points.offset, self._backbone.config, depth=MAX_DEPTH
            )
            pyramid = _in_single(self._backbone(points, plan=plan))
        if config.precision == 'fp16':
            _check_overflow(pyramid)
        if self._head is not None:
            label, confidence = self._head.predict(pyramid)
            label = torch.where(confidence >= config.min_confidence, label.int(), UNKNOWN)
            voxel_map.write_labels(
                rows, label[cell].to(torch.uint16), confidence[cell], column=_SEMANTIC
            )
        if self._translator is not None:
            features = StoredFeatures(pyramid)
            norms = self._translator.norms(features)
            seen = SeenFeatures(rows=rows, cell=cell, stored=features, norms=norms)
            if self._vocabulary is not None:
                label, confidence = _named(seen, self._vocabulary, config.min_confidence)
                voxel_map.write_labels(rows, label, confidence, column=_LANGUAGE)
            self._seen = seen if self._seen is None else self._seen.updated(seen, len(voxel_map))
            self._scores = QueryScores(self._translator, self._seen.stored, self._seen.norms)

    @torch.inference_mode()
    def relabel(self, voxel_map: VoxelMap, names: Sequence[str], config: SemanticsConfig) -> None:
        """Take another open vocabulary, and label by it what the network has looked at.

        All other voxels are unknown, as they were before.

        Args:
            voxel_map: The map.
            names: At least one, each once.
            config: Least confidence of a label.

        Raises:
            SearchError: There is no language model, or it does not know a name, or the list is
                empty or names a thing twice; nothing has changed.
        """
        translator, encoder = self._language()
        vocabulary = OpenVocabulary.build(translator, encoder, names)
        num_voxels = len(voxel_map)
        label = torch.zeros(num_voxels, dtype=torch.int32, device=self._device)
        confidence = torch.zeros(num_voxels, device=self._device)
        if self._seen is not None:
            found, confidence[self._seen.rows] = _named(
                self._seen, vocabulary, config.min_confidence
            )
            label[self._seen.rows] = found.int()
        rows = torch.arange(num_voxels, device=self._device)
        voxel_map.write_labels(rows, label.to(torch.uint16), confidence, column=_LANGUAGE)
        self._vocabulary = vocabulary

    @torch.inference_mode()
    def scores(self, query: str) -> tuple[Tensor, Tensor]:
        """Return how well the voxels that the network has looked at fit a text.

        The score is the probability of the query against the names of the vocabulary and what is
        in every room, see `QueryScores`.

        Returns:
            rows: (M,) int64 of the map, those that the network has looked at.
            scores: (M,) float32 in 0..1.

        Raises:
            SearchError: There is no language model, or it does not know the text.
        """
        translator, encoder = self._language()
        embedding = translator.encode(encoder, [query])
        if self._scores is None or self._seen is None:
            nothing = torch.empty(0, device=self._device)
            return nothing.long(), nothing
        rivals = self._current_rivals(translator, encoder)
        probability = self._scores.probability(query, embedding, rivals)
        return self._seen.rows, probability[self._seen.cell]

    def map_features(self, rows: Tensor, num_voxels: int) -> MapFeatures | None:
        """Return what the network knows of rows (S,) of the map.

        None if nothing is kept: there is no translator, or the network has not looked yet.
        """
        if self._backbone is None or self._translator is None or self._seen is None:
            return None
        cell = torch.full((num_voxels,), -1, dtype=torch.int32, device=self._device)
        cell[self._seen.rows] = self._seen.cell.int()
        return MapFeatures(
            stored=self._seen.stored,
            cell=cell[rows].cpu().numpy(),
            backbone=weights_digest(self._backbone),
            translator=self._translator,
            vocabulary=() if self._vocabulary is None else self._vocabulary.names,
        )

    def read(self, texts: Sequence[str]) -> None:
        """Read texts, and what all queries compete with, ahead; may be called by any thread.

        Raises:
            SearchError: There is no language model, or it does not know a text.
        """
        translator, encoder = self._language()
        translator.encode(encoder, texts)
        Rivals.build(translator, encoder, ())

    def _language(self) -> tuple[Translator, TextEncoder]:
        """Return the language model.

        Raises:
            SearchError: There is none.
        """
        if self._translator is None or self._text_encoder is None:
            raise SearchError(self._no_language)
        return self._translator, self._text_encoder

    def _current_rivals(self, translator: Translator, text_encoder: TextEncoder) -> Rivals:
        """Return what queries compete with, read anew only when the vocabulary has changed."""
        if self._rivals is None or self._rivals_of is not self._vocabulary:
            names = () if self._vocabulary is None else self._vocabulary.names
            self._rivals = Rivals.build(translator, text_encoder, names)
            self._rivals_of = self._vocabulary
        return self._rivals

    def _load(self, config: SemanticsConfig) -> None:
        backbone, report = load_checkpoint(config.checkpoint)
        convolution = select_backend(config.convolution, self._device)
        dtype = DTYPES[config.precision]
        attention = select_attention(config.attention, self._device, dtype)
        use_backend(backbone, convolution)
        use_attention(backbone, attention)
        self._backbone = backbone.to(self._device)
        self.voxel_size = report.voxel_size
        self.notices = (str(report), convolution.notice, attention.notice)
        if head_file := box.resolve(config.head, config.checkpoint, box.HEAD):
            head = ClassHead.load(head_file)
            _check_width('head', head_file, head.weight, backbone)
            head.check_backbone(weights_digest(backbone))
            self._head = _on_device(head, self._device)
        self.translator_file = box.resolve(config.translator, config.checkpoint, box.TRANSLATOR)
        if self.translator_file:
            try:
                self._load_language(config, backbone)
            except BackendUnavailable as err:
                if config.translator != box.AUTO or config.text_encoder:
                    raise
                self.translator_file = ''
                self._no_language = f'no language model is loaded: {err}'
                self.notices += (self._no_language,)

    def _load_language(self, config: SemanticsConfig, backbone: PointTransformerV3) -> None:
        translator = Translator.load(self.translator_file)
        _check_width('translator', self.translator_file, translator.weight, backbone)
        translator = _on_device(translator, self._device)
        if translator.backbone:
            translator.check_backbone(weights_digest(backbone))
        else:
            self.notices += (
                f'{self.translator_file} does not say which backbone it was trained on: labels '
                f'and search by text mean nothing if it was another than {config.checkpoint}',
            )
        encoder = load_text_encoder(config.text_encoder or translator.text_encoder)
        translator.check_encoder(encoder)
        names = [name.strip() for name in config.vocabulary.split(',') if name.strip()]
        names = names or list(translator.names)
        if not names and self._head is not None:
            names = list(self._head.names)
        if names:
            self._vocabulary = OpenVocabulary.build(translator, encoder, names)
        self._translator, self._text_encoder = translator, encoder


def _named(
    seen: SeenFeatures, vocabulary: OpenVocabulary, min_confidence: float
) -> tuple[Tensor, Tensor]:
    """Return names (M,) uint16 and confidences (M,) of the rows with features."""
    vocabulary = dataclasses.replace(vocabulary, min_confidence=min_confidence)
    label, confidence = vocabulary.predict(seen.stored, seen.norms)
    return label.int()[seen.cell].to(torch.uint16), confidence[seen.cell]


def _check_width(kind: str, path: str, weight: Tensor, backbone: PointTransformerV3) -> None:
    """Refuse weights of another backbone at the start, not at the first frame."""
    width = backbone.config.out_channels
    if weight.shape[1] != width:
        raise CheckpointError(
            f'{path} was made for features of {weight.shape[1]} channels, this backbone has '
            f'{width}: use a {kind} that was trained on it'
        )


def _on_device(linear: _Linear, device: torch.device) -> _Linear:
    """Move the weights of a head or translator, so that they are not copied for every window."""
    return dataclasses.replace(
        linear, weight=linear.weight.to(device), bias=linear.bias.to(device)
    )


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
