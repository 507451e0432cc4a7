"""MapReader: answers about a map that `MapSaver` wrote, without the network that looked at it.

reader = MapReader.open('out/map')
result = reader.search('blue chair')
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from concerto_ros.errors import CheckpointError, SearchError
from concerto_ros.search.object_search import ObjectSearch, check_query
from concerto_ros.search.regions import Region
from concerto_ros.search.registry import ObjectRegistry
from concerto_ros.semantic_map.header import TRANSLATOR, MapHeader, translator_digest
from concerto_ros.semantic_map.labeler import Labeler
from concerto_ros.semantic_map.labelled_map import LabelledMap
from concerto_ros.semantic_map.query import Elsewhere, begin_search
from concerto_ros.semantic_map.trained_weights import Language, TrainedWeights
from concerto_ros.semantic_map.world import World
from concerto_ros.semantics import Translator, load_text_encoder
from concerto_ros.storage import Heat, MapFolder, search_settings
from concerto_ros.structures import MapCloud, SearchResult

_SEMANTIC_ONLY = torch.tensor([1, 0], dtype=torch.int16)
_MAX_BYTES = 1 << 24  # of what is in memory beside the chunks at hand: nothing


class MapReader:
    """A map in a folder; some chunks are in memory at a time.

    Args:
        folder: The map.
        language: What reads texts; None: nothing is searched.

    Raises:
        MapFileError: The header of the map is damaged.
        SearchError: The text encoder does not know the vocabulary of the map.
        ConfigError: A setting is out of range.
    """

    def __init__(self, folder: MapFolder, language: Language | None = None) -> None:
        header, info = MapHeader.read(folder.info), folder.info
        labeler = Labeler(_weights(folder, header, language), torch.device('cpu'))
        self._config = search_settings(info.settings)
        self._labelled = LabelledMap(
            info.voxel_size, labeler, 'cpu', _MAX_BYTES, start_ns=header.start_ns
        )
        self._world = World(
            np.array([entry['T_world_submap'] for entry in header.submaps]), info.voxel_size
        )
        self._folder, self._header = folder, header
        self._is_measured = (  # by this translator
            language is None or translator_digest(language.translator) == header.translator
        )
        self._search = ObjectSearch(
            self._config.search, ObjectRegistry(), labeler.fitted_min_score
        )

    @classmethod
    def open(cls, path: str | Path, translator: str = '', text_encoder: str = '') -> 'MapReader':
        """Open a map to be searched.

        Args:
            path: Its folder.
            translator: Name or file of another translator than that in the map; empty: the same.
            text_encoder: Specification of another text encoder; empty: the same.

        Raises:
            MapFileError: There is no map, or it is damaged.
            SearchError: The map has no features, or the encoder does not know its vocabulary.
            CheckpointError: The other translator is missing or damaged, or a translator was made
                for another backbone or another text encoder.
            ConfigError: The text encoder is named in a way that is not understood.
            BackendUnavailable: The text encoder's package or weights are missing.
        """
        folder = MapFolder.open(path)
        if TRANSLATOR not in folder.manifest.weights and not (translator and folder.info.backbone):
            raise SearchError(
                'this map has no features, so it cannot be searched by text: map the recording '
                'with semantics.checkpoint and semantics.translator set to trained weights'
            )
        return cls(folder, _language(folder, translator, text_encoder))

    @property
    def min_score(self) -> float:
        """Least score of a point of an object where a query names none."""
        return self._search.min_score

    @property
    def voxel_size(self) -> float:
        """Edge length of a voxel [m]."""
        return self._labelled.voxels.voxel_size

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
            SearchError: The text is empty or not known to the encoder, a limit is not valid, or
                there is no language model.
            MapFileError: A chunk is gone or damaged.
        """
        find = begin_search(
            self._labelled,
            Elsewhere(self._keys, self._read),
            self._world,
            self._search,
            text,
            region=region,
            min_score=min_score,
        )
        return find(max_results=max_results, min_score=min_score)

    def heat(self, text: str) -> Heat:
        """Return all points, and how well each fits a text.

        Raises:
            SearchError, MapFileError: As for `search`.
        """
        text, found = check_query(text), []
        for part in self._parts():
            rows = part.voxels.surface_rows()
            scores = torch.cat([part.labeler.scores(text), torch.tensor([np.nan])])
            cloud = self._world.cloud(part.voxels, rows)
            probability = scores[part.voxels.cell(rows)].numpy()  # the last where it is -1
            found.append(Heat(cloud.coord, cloud.color, cloud.normal, probability))
        return Heat(*map(np.concatenate, zip(*found, strict=True)))

    def cloud(self) -> MapCloud:
        """Return the thin surface in the world.

        Raises:
            MapFileError: A chunk is gone or damaged.
        """
        return self._world.whole(part.voxels for part in self._parts())

    def _parts(self) -> Iterator[LabelledMap]:
        """Read the chunks, some at a time; first, a map without any."""
        return chain([self._labelled], self._read(self._keys))

    @property
    def _keys(self) -> frozenset[int]:
        return frozenset(self._folder.chunks)

    def _read(self, keys: Iterable[int]) -> Iterator[LabelledMap]:
        return self._labelled.parts(keys, self._record, self._config.semantics)

    def _record(self, key: int) -> tuple[Mapping[str, Tensor], Sequence[str]]:
        """Return the record of a chunk, and the vocabulary by which it is labelled."""
        record, vocabulary = self._folder.read(key), self._folder.info.vocabulary
        names = self._header.names.get(key, vocabulary)
        if self._labelled.labeler.language is None and names != vocabulary:
            record['label'] = record['label'] * _SEMANTIC_ONLY  # nothing can name it anew
        if self._is_measured:
            return record, names
        record.pop('feature_norm', None)
        return record, ()


def _weights(
    folder: MapFolder, header: MapHeader, language: Language | None
) -> TrainedWeights | None:
    """Return what is needed of the weights by which a map was labelled."""
    if header.cells is None:
        return None
    return TrainedWeights(
        backbone=None,
        digest=folder.info.backbone,
        stride=header.cells.stride,
        widths=header.widths,
        voxel_size=folder.info.voxel_size * header.cells.voxels_per_cell,
        head=None,
        language=language,
        no_language='',
        notices=(),
    )


def _language(folder: MapFolder, file: str, text_encoder: str) -> Language:
    if file:
        translator = _other_translator(file, folder.info.backbone)
    else:
        translator = Translator.load(folder.weights(TRANSLATOR))
    encoder = load_text_encoder(
        text_encoder or folder.info.text_encoder or translator.text_encoder
    )
    translator.check_encoder(encoder)
    return Language(
        translator=translator, encoder=encoder, file=file, names=folder.info.vocabulary
    )


def _other_translator(file: str, backbone: str) -> Translator:
    try:
        translator = Translator.load(file)
        translator.check_backbone(backbone)
    except CheckpointError as err:
        raise CheckpointError(f'this map cannot be searched with that translator: {err}') from err
    return translator
