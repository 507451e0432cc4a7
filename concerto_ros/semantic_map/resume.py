"""What of a map goes into its header, and what comes out of it when mapping goes on."""

import math
from itertools import compress

import numpy as np
import torch

from concerto_ros.config.schema import ConcertoConfig, SemanticsConfig
from concerto_ros.config.tree import flatten
from concerto_ros.errors import MapFileError, SearchError
from concerto_ros.mapping import VoxelMap
from concerto_ros.mapping.submaps import Submaps
from concerto_ros.mapping.voxel_keys import CHUNK_SHIFT, submap_of_chunk
from concerto_ros.semantic_map.header import MapHeader, translator_digest
from concerto_ros.semantic_map.labeler import Labeler
from concerto_ros.semantic_map.labelled_map import LabelledMap
from concerto_ros.semantic_map.paging import Page, Paging
from concerto_ros.semantic_map.window_scheduler import is_due
from concerto_ros.storage import MapFolder, MapInfo

_SAME = 1e-6  # voxel sizes that differ by less, as a share


def describe(
    labelled: LabelledMap,
    paging: Paging,
    submaps: Submaps,
    leveled: frozenset[int],
    *,
    config: ConcertoConfig,
    frame_id: str,
    newest_stamp_ns: int,
) -> tuple[MapInfo, dict[int, int]]:
    """Return what a map says of itself now, and the revision of each chunk by its key."""
    labeler, chunks, voxels = labelled.labeler, labelled.voxels.chunks(), labelled.voxels
    key = chunks.key.cpu()
    header = MapHeader(
        start_ns=voxels.start_ns,
        revision=voxels.revision,
        cells=voxels.cells.layout if voxels.cells else None,
        widths=labeler.weights.widths if labeler.weights else (),
        translator=_translator_digest(labeler),
        submaps=submaps.saved(),
        leveled=leveled,
        due=_due(voxels) | frozenset(paging.due),
        names={k: names for k, names in paging.names.items() if names != labeler.vocabulary},
    )
    info = MapInfo(
        frame_id=frame_id,
        voxel_size=voxels.voxel_size,
        settings={p.name: p.value for p in flatten(config)},
        backbone=_backbone(labeler),
        text_encoder=_text_encoder(labeler, config),
        label_tables=_label_tables(labeler),
        vocabulary=labeler.vocabulary,
        submaps=dict(enumerate(submaps.poses)),
        first_seen_ns=voxels.start_ns or 0,
        last_seen_ns=newest_stamp_ns,
        header=header.saved(),
    )
    revisions = dict(zip(key.tolist(), chunks.revision.tolist(), strict=True))
    return info, revisions | paging.revisions


def compare(folder: MapFolder, header: MapHeader, labeler: Labeler, voxel_size: float) -> str:
    """Compare a saved map with what it is to be continued by.

    Returns:
        Why what a network knew of it is no use, as a sentence; empty: it is.

    Raises:
        MapFileError: It cannot be continued.
    """
    info, weights = folder.info, labeler.weights
    keys = torch.tensor(sorted(folder.chunks), dtype=torch.int64)
    if (submap_of_chunk(keys) >= len(header.submaps)).any():
        raise MapFileError(f'{folder.path} holds chunks of no submap: restore it from a copy')
    if not math.isclose(info.voxel_size, voxel_size, rel_tol=_SAME):
        raise MapFileError(
            f'{folder.path} was made with voxels of {info.voxel_size:g} m, and map.voxel_size is '
            f'{voxel_size:g}: set it to {info.voxel_size:g}, or choose another map'
        )
    if info.backbone and weights is None:
        checkpoint = info.settings.get('semantics.checkpoint', '')
        raise MapFileError(
            f'{folder.path} holds what a network made of it, and semantics.checkpoint is empty: '
            f'set it to the weights that the map was made with ({checkpoint}), or to others'
        )
    saved = info.backbone, header.translator, info.label_tables.get('label')
    ours = _backbone(labeler), _translator_digest(labeler), _label_tables(labeler)['label']
    layout = labeler.layout(voxel_size), weights.widths if weights else ()
    if (saved, header.cells, header.widths) == (ours, *layout):
        return ''
    return (
        f'{folder.path} was made with other weights, or with none, so the network looks at all of '
        'it again'
    )


def take_vocabulary(folder: MapFolder, labeler: Labeler, config: SemanticsConfig) -> str:
    """Name things as a saved map does, unless the settings say how.

    Returns:
        A sentence for people; empty: nothing has changed.
    """
    names = folder.info.vocabulary
    if config.vocabulary or labeler.language is None or names in ((), labeler.vocabulary):
        return ''
    try:
        labeler.relabel(names, config)
    except SearchError as err:
        return f'{folder.path} is labelled by other names than before: {err}'
    return (
        f'language labels are the {len(names)} names of {folder.path} now: set '
        'semantics.vocabulary for others'
    )


def adopt(folder: MapFolder, header: MapHeader, paging: Paging, *, is_known: bool) -> None:
    """Take over the chunks of a saved map; they stay on the disk until they are needed.

    Args:
        folder: The map.
        header: Of it.
        paging: Of an empty map.
        is_known: Whether what a network knew of it is of use.

    Raises:
        MapFileError: The disk is full.
    """
    for key, entry in folder.chunks.items():
        page = Page(
            num_voxels=entry.num_voxels,
            revision=entry.revision,
            is_due=key in header.due or not is_known,
        )
        names = header.names.get(key, folder.info.vocabulary) if is_known else None
        paging.adopt(key, entry.at(folder.path), page, names)


def _due(voxels: VoxelMap) -> frozenset[int]:
    """Return the keys of the chunks in memory at which the network has yet to look.

    Those that it is looking at count: they have no cells yet, and who loads the map gets none.
    """
    chunks, rows = voxels.chunks(), voxels.surface_rows()
    without_cell = voxels.key(rows[voxels.cell(rows) < 0]) >> CHUNK_SHIFT
    found, count = torch.unique(without_cell, return_counts=True)
    of_key = dict(zip(found.tolist(), count.tolist(), strict=True))
    key = chunks.key.tolist()
    num_unseen = np.array([of_key.get(k, 0) for k in key], dtype=np.int64)
    num_dirty = np.maximum(num_unseen, chunks.num_dirty.cpu().numpy())
    due = is_due(chunks.num_surface.cpu().numpy(), num_dirty)
    return frozenset(compress(key, due))


def _backbone(labeler: Labeler) -> str:
    return labeler.weights.digest if labeler.weights else ''


def _text_encoder(labeler: Labeler, config: ConcertoConfig) -> str:
    if labeler.language is None:
        return ''
    return config.semantics.text_encoder or labeler.language.translator.text_encoder


def _label_tables(labeler: Labeler) -> dict[str, tuple[str, ...]]:
    return {'label': labeler.labels.names, 'language_label': labeler.language_labels.names}


def _translator_digest(labeler: Labeler) -> str:
    return translator_digest(labeler.language.translator if labeler.language else None)
