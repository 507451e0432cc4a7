"""A query on a map against the fastest product of a stored 512-d float16 vector per voxel.

Features have the widths of base on synthetic rooms, in the order of a map, and are drawn at random
but for some cells that say what is asked for. Both sides read the same ones. With one thread,
times are those of the processor, so other programs hardly matter.

Ten million voxels need 16 GB of free memory and a minute or two; where it is missing, they are
left out.
"""

import os
import time

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.harness import paired
from bench.indoor_cloud import indoor_points
from bench.search_reference import fastest, in_float32
from concerto_ros.config.schema import SearchConfig
from concerto_ros.errors import BackendUnavailable
from concerto_ros.model import BackboneConfig, FeaturePyramid, PyramidLevel, StoredFeatures
from concerto_ros.search.object_search import ObjectSearch, SearchPoints
from concerto_ros.search.registry import ObjectRegistry
from concerto_ros.semantics import QueryScores, Rivals, Translator, load_text_encoder

_SIZES = (100_000, 1_000_000, 10_000_000)  # voxels
_SITE = 1_000_000  # more voxels are that many, side by side
_BYTES = 1600  # needed per voxel while it is measured
_ENCODER = 'sentence:all-MiniLM-L6-v2'
_DIM = 512  # of the text space
_NUM_QUERIES = 8
_NUM_RIVALS = 26
_NUM_ROUNDS = 43
_TOP = 100
_VOXEL_SIZE = 0.02  # metres
_ASKED_SHARE = 0.01  # of the coarsest cells
_MASK = 2**21 - 1  # of a coordinate in a key


def main() -> None:
    """Print the comparison for each size, and what reading a text takes."""
    generator = torch.Generator().manual_seed(0)
    for num_voxels in _SIZES:
        free = os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
        if free < num_voxels * _BYTES:
            print(
                f'search: {num_voxels:,} voxels need {num_voxels * _BYTES / 1e9:.0f} GB of free '
                f'memory and {free / 1e9:.0f} GB are free, so they are left out'
            )
        else:
            _compare(num_voxels, generator)
    _read_text()


def _clock() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


@torch.inference_mode()
def _compare(num_voxels: int, generator: torch.Generator) -> None:
    grid = _in_map_order(_grid(num_voxels))
    translator, texts = _translator(generator), _unit(_NUM_QUERIES + _NUM_RIVALS, generator)
    queries, rival_texts = texts[:_NUM_QUERIES], texts[_NUM_QUERIES:]
    names = tuple(f'rival {number}' for number in range(_NUM_RIVALS))
    rivals = Rivals(names=names, text_embedding=rival_texts)
    features = StoredFeatures(_pyramid(grid, translator, queries, generator))
    started = _clock()
    scores = QueryScores(translator, features)
    norms_ms = 1000 * (_clock() - started)
    started = _clock()
    scores.probability('query', queries[:1], rivals)
    first_ms = 1000 * (_clock() - started)
    vectors = _vectors(translator, features)
    overlap = _overlap(translator, scores, features, vectors, queries)
    num_vector_bytes = vectors.nbytes
    name, reference = fastest(vectors, _clock)
    del vectors
    times: list[float] = []

    def ours(i: int) -> None:
        begun = _clock()
        scores.probability('query', queries[i % _NUM_QUERIES, None], rivals)
        times.append(1000 * (_clock() - begun))

    result = paired(
        lambda i: reference(queries[i % _NUM_QUERIES]), ours, _NUM_ROUNDS, clock=_clock
    )
    num_bytes = features.num_bytes + scores.num_bytes
    print(
        f'search: {result.speedup:.2f} x as fast as {name} of {num_voxels:,} float16 '
        f'vectors of {_DIM} ({result}), with {num_vector_bytes / num_bytes:.1f} x fewer bytes '
        f'({num_bytes / num_voxels:.0f} against {num_vector_bytes / num_voxels:.0f} per voxel)'
    )
    print(f'  scores {_percentiles(times[3:])}')
    print(f'  {_objects(grid, scores, queries, rivals)}')
    print(f'  top {_TOP}: {overlap:.1%} the same')
    print(
        f'  once per run of the network: norms {norms_ms:.0f} ms, first query {first_ms:.0f} ms',
        flush=True,
    )


def _read_text() -> None:
    try:
        started = _clock()
        encoder = load_text_encoder(_ENCODER)
        loaded = _clock()
        encoder.encode(['blue chair'])
        first = _clock()
        encoder.encode(['green sofa'])
        second = _clock()
    except BackendUnavailable as err:
        print(f'  no text was read: {err}')
        return
    print(
        f'  a text, by {_ENCODER}: first {1000 * (first - loaded):.0f} ms, another '
        f'{1000 * (second - first):.0f} ms; loading it once {1000 * (loaded - started):.0f} ms'
    )


def _percentiles(times: list[float]) -> str:
    p50, p95 = np.percentile(times, [50, 95])
    return f'p50 {p50:.1f} ms, p95 {p95:.1f} ms'


def _grid(num_voxels: int) -> Tensor:
    """Return (N, 3) voxels of rooms; from `_SITE` on, the same rooms again and again."""
    site = indoor_points(min(num_voxels, _SITE)).grid_coord
    step = (int(site[:, 0].max()) // 16 + 2) * 16  # cells of all levels stay cells
    copies = range(-(-num_voxels // _SITE))
    return torch.cat([site + torch.tensor([number * step, 0, 0]) for number in copies])


def _in_map_order(grid: Tensor) -> Tensor:
    """Return voxels group by group and block by block, as rows of a map are."""
    for shift in (0, 3, 4):
        grid = grid[_key(grid >> shift).argsort(stable=True)]
    return grid


def _key(grid: Tensor) -> Tensor:
    return (grid[:, 0] << 42) | (grid[:, 1] << 21) | grid[:, 2]


def _translator(generator: torch.Generator) -> Translator:
    channels = sum(BackboneConfig().enc_channels)
    return Translator(
        weight=torch.randn(_DIM, channels, generator=generator) / channels**0.5,
        bias=torch.randn(_DIM, generator=generator) / 10,
        text_encoder='random',
    )


def _unit(num: int, generator: torch.Generator) -> Tensor:
    return functional.normalize(torch.randn(num, _DIM, generator=generator), dim=1)


def _pyramid(
    grid: Tensor, translator: Translator, queries: Tensor, generator: torch.Generator
) -> FeaturePyramid:
    levels: list[PyramidLevel] = []
    inverse = torch.arange(len(grid))
    for channels in BackboneConfig().enc_channels:
        if levels:
            key, inverse = torch.unique(_key(levels[-1].grid_coord // 2), return_inverse=True)
            grid = torch.stack([key >> 42, (key >> 21) & _MASK, key & _MASK], dim=1)
        levels.append(
            PyramidLevel(
                feat=torch.randn(len(grid), channels, generator=generator),
                grid_coord=grid,
                offset=torch.tensor([len(grid)]),
                inverse=inverse,
            )
        )
    coarsest = levels[-1].feat
    asked = torch.randperm(len(coarsest), generator=generator)[
        : int(_ASKED_SHARE * len(coarsest)) + 1
    ]
    towards = queries[torch.arange(len(asked)) % _NUM_QUERIES]
    coarsest[asked] += (
        100 * towards @ torch.linalg.pinv(translator.weight[:, -coarsest.shape[1] :]).t()
    )
    return FeaturePyramid(tuple(levels))


def _vectors(translator: Translator, features: StoredFeatures) -> Tensor:
    """Return (N, 512) float16 unit vectors, what maps that store one per voxel hold."""
    vectors = torch.empty(features.num_points, _DIM, dtype=torch.float16)
    norms = translator.norms(features)[:, None]
    for start in range(0, _DIM, 16):
        part = slice(start, start + 16)
        vectors[:, part] = features.linear(translator.weight[part], translator.bias[part]) / norms
    return vectors


def _objects(grid: Tensor, scores: QueryScores, queries: Tensor, rivals: Rivals) -> str:
    """Time whole queries, and of them what comes after the scores: clusters, objects, boxes."""
    voxels, zeros = grid.numpy(), np.zeros(len(grid), np.int64)
    points = SearchPoints(
        coord=((voxels + 0.5) * _VOXEL_SIZE).astype(np.float32),
        grid_coord=voxels,
        num_views=zeros,
        first_seen_ns=zeros,
        last_seen_ns=zeros,
        label=zeros.astype(np.uint16),
        names=(),
        voxel_size=_VOXEL_SIZE,
    )
    search = ObjectSearch(SearchConfig(), ObjectRegistry())
    grouped, whole, counts = [], [], []
    for query in queries.repeat(2, 1):
        started = _clock()
        probability = scores.probability('query', query[None], rivals).numpy()
        middle = _clock()
        found = search.search(points, probability, 'query', max_results=_TOP)
        end = _clock()
        grouped.append(1000 * (end - middle))
        whole.append(1000 * (end - started))
        counts.append((len(found.objects), int((probability >= search.min_score).sum())))
    objects, above = np.median(counts, axis=0)
    return (
        f'objects {_percentiles(grouped)}, for {objects:.0f} of them in {above:,.0f} voxels above '
        f'the threshold; whole query {_percentiles(whole)}'
    )


def _overlap(
    translator: Translator,
    scores: QueryScores,
    features: StoredFeatures,
    vectors: Tensor,
    queries: Tensor,
) -> float:
    """Return which share of the best voxels both sides agree on."""
    ours = translator.scores(features, queries, scores.norms).topk(_TOP, dim=0).indices
    shares = []
    for column, query in zip(ours.T, queries, strict=True):
        best = in_float32(vectors, query).topk(_TOP).indices
        shares.append(torch.isin(best, column).float().mean())
    return float(torch.stack(shares).mean())


if __name__ == '__main__':
    main()
