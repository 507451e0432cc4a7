"""A query on a map against the fastest product of a stored 512-d float16 vector per voxel.

Features have the widths of base on synthetic rooms, in the order of a map, and are drawn at random
but for some cells that say what is asked for. Both sides read the same ones.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.harness import paired
from bench.indoor_cloud import indoor_points
from concerto_ros.config.schema import SearchConfig
from concerto_ros.model import BackboneConfig, FeaturePyramid, PyramidLevel, StoredFeatures
from concerto_ros.search.object_search import ObjectSearch, SearchPoints
from concerto_ros.search.registry import ObjectRegistry
from concerto_ros.semantics import QueryScores, Rivals, Translator

_SIZES = (100_000, 1_000_000)  # voxels
_DIM = 512  # of the text space
_NUM_QUERIES = 8
_NUM_RIVALS = 26
_NUM_ROUNDS = 43
_TOP = 100
_VOXEL_SIZE = 0.02  # metres
_ASKED_SHARE = 0.01  # of the coarsest cells

Product = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    """Print the comparison for each size."""
    generator = torch.Generator().manual_seed(0)
    for num_voxels in _SIZES:
        _compare(num_voxels, generator)


@torch.inference_mode()
def _compare(num_voxels: int, generator: torch.Generator) -> None:
    grid = _in_map_order(indoor_points(num_voxels).grid_coord)
    translator, texts = _translator(generator), _unit(_NUM_QUERIES + _NUM_RIVALS, generator)
    queries, rival_texts = texts[:_NUM_QUERIES], texts[_NUM_QUERIES:]
    names = tuple(f'rival {number}' for number in range(_NUM_RIVALS))
    rivals = Rivals(names=names, text_embedding=rival_texts)
    features = StoredFeatures(_pyramid(grid, translator, queries, generator))
    vectors = _vectors(translator, features)
    started = time.perf_counter()
    scores = QueryScores(translator, features)
    norms_ms = 1000 * (time.perf_counter() - started)
    started = time.perf_counter()
    scores.probability('query', queries[:1], rivals)
    first_ms = 1000 * (time.perf_counter() - started)

    name, product = _fastest(vectors, queries[0].half())
    times: list[float] = []

    def ours(i: int) -> None:
        begun = time.perf_counter()
        scores.probability('query', queries[i % _NUM_QUERIES, None], rivals)
        times.append(1000 * (time.perf_counter() - begun))

    result = paired(
        lambda i: product(vectors, queries[i % _NUM_QUERIES].half()), ours, _NUM_ROUNDS
    )
    num_bytes = features.num_bytes + scores.norms.nbytes + 4 * num_voxels  # 4: of the rivals
    print(
        f'search: {result.speedup:.2f} x as fast as {name} of {num_voxels:,} float16 vectors of '
        f'{_DIM} ({result}), with {vectors.nbytes / num_bytes:.1f} x fewer bytes '
        f'({num_bytes / num_voxels:.0f} against {vectors.nbytes / num_voxels:.0f} per voxel)'
    )
    p50, p95 = np.percentile(times[3:], [50, 95])
    print(
        f'  scores p50 {p50:.1f} ms, p95 {p95:.1f} ms; once per run of the network: norms '
        f'{norms_ms:.0f} ms, first query {first_ms:.0f} ms'
    )
    print(f'  objects {_objects_ms(grid, scores, queries, rivals)}')
    print(f'  top {_TOP}: {_overlap(translator, scores, features, vectors, queries):.1%} the same')


def _in_map_order(grid: Tensor) -> Tensor:
    """Return voxels group by group and block by block, as rows of a map are."""
    for shift in (0, 3, 4):
        key = ((grid[:, 0] >> shift) << 42) | ((grid[:, 1] >> shift) << 21) | (grid[:, 2] >> shift)
        grid = grid[key.argsort(stable=True)]
    return grid


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
            grid, inverse = torch.unique(levels[-1].grid_coord // 2, dim=0, return_inverse=True)
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


def _fastest(vectors: Tensor, query: Tensor) -> tuple[str, Product]:
    """Return the fastest way of torch to multiply all vectors by one, and its name."""
    seconds = {}
    for name, product in _PRODUCTS.items():
        for _ in range(3):  # the last counts
            started = time.perf_counter()
            product(vectors, query)
            seconds[name] = time.perf_counter() - started
    best = min(seconds, key=lambda name: seconds[name])
    return best, _PRODUCTS[best]


def _in_float32(vectors: Tensor, query: Tensor) -> Tensor:
    """Multiply in parts that stay in the cache as float32."""
    single, result = query.float(), torch.empty(len(vectors))
    for part, out in zip(vectors.split(512), result.split(512), strict=True):
        torch.mv(part.float(), single, out=out)
    return result


_PRODUCTS: dict[str, Product] = {
    'torch.mv': torch.mv,
    'torch.mm': lambda vectors, query: torch.mm(vectors, query[:, None]),
    'a linear layer': lambda vectors, query: functional.linear(query[None], vectors),
    'torch.mv in float32, part by part,': _in_float32,
}


def _objects_ms(grid: Tensor, scores: QueryScores, queries: Tensor, rivals: Rivals) -> str:
    """Time what comes after the scores: clusters, objects, boxes and ids."""
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
    times, counts = [], []
    for query in queries:
        probability = scores.probability('query', query[None], rivals).numpy()
        started = time.perf_counter()
        found = search.search(points, probability, 'query', max_results=_TOP)
        times.append(1000 * (time.perf_counter() - started))
        counts.append((len(found.objects), int((probability >= 0.5).sum())))
    objects, above = np.median(counts, axis=0)
    return (
        f'p50 {np.median(times):.1f} ms, worst {max(times):.1f} ms, for {objects:.0f} objects of '
        f'{above:,.0f} voxels above the threshold'
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
        best = _in_float32(vectors, query).topk(_TOP).indices
        shares.append(torch.isin(best, column).float().mean())
    return float(torch.stack(shares).mean())


if __name__ == '__main__':
    main()
