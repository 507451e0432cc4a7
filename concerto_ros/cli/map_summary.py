"""summary.json of a run, and what is printed of it."""

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from concerto_ros import __version__
from concerto_ros.cli.map_run import MapRun
from concerto_ros.config.tree import flatten
from concerto_ros.io.frame_source import FrameSource
from concerto_ros.structures import Labels, MapCloud

if TYPE_CHECKING:
    from concerto_ros.pipeline import PerceptionPipeline


def summarise(
    source: FrameSource, pipeline: 'PerceptionPipeline', run: MapRun, cloud: MapCloud
) -> dict[str, Any]:
    """Return the content of summary.json; lengths in metres, times in seconds."""
    first_ns, last_ns = run.stamps_ns
    coord = cloud.coord.astype(np.float64)
    low, high = (np.round(corner, 3).tolist() for corner in (coord.min(axis=0), coord.max(axis=0)))
    return {
        'source': {
            'description': source.description,
            'frame_id': source.frame_id,
            'first_stamp_ns': first_ns,
            'last_stamp_ns': last_ns,
            'T_map_fusion': source.T_map_fusion.tolist(),
        },
        'frames': {'used': run.num_frames, 'dropped': dict(run.dropped.most_common())},
        'map': {
            'points': len(cloud),
            'voxels': pipeline.num_voxels,
            'voxel_size': pipeline.config.map.voxel_size,
            'low': low,
            'high': high,
            'bytes': pipeline.memory,
            'bytes_per_surface_voxel': _per_voxel(pipeline),
            'paged_bytes': pipeline.paged_bytes,
        },
        'labels': _label_summary(pipeline.labels, cloud.label),
        'language_labels': _label_summary(pipeline.language_labels, cloud.language_label),
        'seconds': {stage: round(seconds, 3) for stage, seconds in run.seconds.items()},
        'notices': run.notices,
        'settings': {p.name: p.value for p in flatten(pipeline.config)},
        'versions': _versions(),
    }


def _per_voxel(pipeline: 'PerceptionPipeline') -> dict[str, float]:
    """Return the memory of each layer per voxel of the surface that is in memory [bytes]."""
    _, num_points = pipeline.num_language_labels()
    return {layer: round(size / max(1, num_points), 1) for layer, size in pipeline.memory.items()}


def _label_summary(labels: Labels, ids: np.ndarray) -> dict[str, Any]:
    counts = np.bincount(ids, minlength=len(labels.names))
    return {
        'vocabulary': labels.vocabulary,
        'names': list(labels.names),
        'points': counts.tolist(),
    }


def _versions() -> dict[str, str]:
    import torch

    return {
        'concerto_ros': __version__,
        'python': platform.python_version(),
        'numpy': np.__version__,
        'torch': torch.__version__,
    }


def print_summary(summary: dict[str, Any], folder: Path) -> None:
    """Print what people want to know of a summary, and where the files are."""
    frames, voxels, seconds = summary['frames'], summary['map'], summary['seconds']
    size = ' x '.join(f'{b - a:.1f}' for a, b in zip(voxels['low'], voxels['high'], strict=True))
    print(f'source   {summary["source"]["description"]}')
    print(f'frames   {frames["used"]} used, {sum(frames["dropped"].values())} dropped')
    for reason, count in frames['dropped'].items():
        print(f'           {count} x {reason}')
    print(
        f'map      {voxels["points"]:,} surface points of {voxels["voxels"]:,} voxels of '
        f'{voxels["voxel_size"]:g} m, {size} m'
    )
    print(f'memory   {_memory_sentence(voxels)}')
    print(f'labels   {_label_sentence(summary["labels"])}')
    stages = ', '.join(f'{stage} {value:.1f}' for stage, value in seconds.items())
    print(f'seconds  {stages}')
    for notice in summary['notices']:
        print(f'note     {notice}')
    names = ('map.ply', 'map.png', 'map', 'summary.json')
    print(f'written  {", ".join(str(folder / name) for name in names)}')


def _memory_sentence(voxels: dict[str, Any]) -> str:
    """Return how large the map is, and what of a voxel that is."""
    per_voxel = voxels['bytes_per_surface_voxel']
    layers = ', '.join(f'{layer} {size:.0f}' for layer, size in per_voxel.items() if size)
    paged = f', {voxels["paged_bytes"] / 1e6:.1f} MB on the disk' if voxels['paged_bytes'] else ''
    total = sum(voxels['bytes'].values()) / 1e6
    return f'{total:.1f} MB{paged}; {sum(per_voxel.values()):.0f} B per surface point: {layers}'


def _label_sentence(labels: dict[str, Any]) -> str:
    """Return the most frequent names with their shares."""
    total = max(1, sum(labels['points']))
    ranked = sorted(zip(labels['points'], labels['names'], strict=True), key=lambda r: -r[0])
    return ', '.join(f'{name} {count / total:.0%}' for count, name in ranked[:5] if count)
