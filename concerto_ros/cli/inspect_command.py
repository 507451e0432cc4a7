"""`concerto inspect`: what is in a file of weights or a map, on one screen."""

import argparse
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concerto_ros.published_weights import LICENCE, PUBLISHED, find_weights, sha256_of

if TYPE_CHECKING:
    from torch import Tensor

_PART = re.compile(r'(?:(?:enc|dec)\.)?(embedding|enc\d+|dec\d+)\.')
_MAX_ITEMS = 40  # of a list
_WIDTH = 99


def add_inspect_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser to those of all commands, and return it."""
    parser: argparse.ArgumentParser = commands.add_parser(
        'inspect',
        help='print what is in a file of weights or a map',
        allow_abbrev=False,
        description='Print kind, configuration, sizes and SHA-256 of a backbone, a class head, '
        'a translator or a map.',
    )
    parser.set_defaults(run=_run_inspect, interrupted='nothing was changed')
    parser.add_argument(
        'checkpoint',
        metavar='CHECKPOINT',
        help='.pth or .safetensors file, folder of config.json and model.safetensors, folder of '
        f'"concerto map", or a published name: {", ".join(PUBLISHED)}',
    )
    return parser


def _run_inspect(args: argparse.Namespace) -> None:
    for name, text in _lines(args.checkpoint):
        print(textwrap.fill(f'{name:<12}{text}', _WIDTH, subsequent_indent=' ' * 12))


def _lines(name_or_path: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of all there is to say, and fail where that ends."""
    from concerto_ros.cli.map_lines import map_lines  # torch takes seconds to import
    from concerto_ros.model.checkpoint_config import STEM
    from concerto_ros.storage import FILE_NAME as MAP_NAME
    from concerto_ros.storage import FORMAT as MAP_FORMAT
    from concerto_ros.storage import MANIFEST, find_map
    from concerto_ros.weights_file import read_weights_file

    if (find_map(name_or_path) / MANIFEST).is_file():
        yield from map_lines(find_map(name_or_path))
        return
    path = find_weights(name_or_path)
    path = path / MAP_NAME if (path / MAP_NAME).is_file() else path
    config, tensors, origin = read_weights_file(path)
    yield 'file', str(path)
    if name_or_path in PUBLISHED:
        yield 'licence', LICENCE
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    yield 'size', f'{sum(file.stat().st_size for file in files) / 1e6:.2f} MB'
    for file in files:
        yield 'sha256', f'{sha256_of(file)}  {file.name}'
    dtypes = Counter(str(t.dtype).removeprefix('torch.') for t in tensors.values())
    yield 'tensors', ', '.join(f'{count} {dtype}' for dtype, count in dtypes.items())
    yield 'config', _config(config) or 'none in the file'
    if any(name.endswith(STEM) for name in tensors):
        yield from _backbone(path, tensors)
    elif any(name.startswith('seg_head.') for name in tensors):
        yield from _head(path)
    elif config.get('format') == MAP_FORMAT:
        yield from _map(path)
    elif 'text_encoder' in config:
        yield from _translator(path)
    else:
        yield 'kind', 'unknown: no backbone, class head or translator'
        yield 'names', _list([f'{k} {tuple(t.shape)}' for k, t in tensors.items()])
    for name, step in origin.get('made_by', {}).items():
        git = f' (git {step["git"]})' if 'git' in step else ''
        yield 'made by', f'{name}: python -m {step["command"]}{git}'
    for name, value in _flat(origin.get('metrics', {})):
        yield 'measured', f'{name} {value:.4g}'


def _backbone(path: Path, tensors: dict[str, 'Tensor']) -> Iterator[tuple[str, str]]:
    from concerto_ros.model import load_checkpoint
    from concerto_ros.model.checkpoint import backbone_prefix

    yield 'kind', 'Concerto backbone'
    prefix = backbone_prefix(path, tensors)
    parts: dict[str, list[int]] = {}
    for name, tensor in tensors.items():
        found = _PART.match(name.removeprefix(prefix)) if name.startswith(prefix) else None
        parts.setdefault(found[1] if found else 'other', []).append(tensor.numel())
    for part, sizes in parts.items():
        yield f'  {part}', f'{len(sizes)} tensors, {sum(sizes):,} parameters'
    model, report = load_checkpoint(path)
    if not report.has_config:
        yield 'implied', _config(asdict(model.config))
    yield 'parameters', f'{report.num_parameters:,}'
    yield 'features', f'{model.config.out_channels} channels of all stages together'
    if 'source' in report.origin:
        yield 'trained by', _list([f'{k} {v}' for k, v in report.origin['source'].items()])
    yield 'report', str(report)


def _head(path: Path) -> Iterator[tuple[str, str]]:
    from concerto_ros.semantics import ClassHead

    head = ClassHead.load(path)
    yield 'kind', f'class head for features of {head.weight.shape[1]} channels'
    yield 'vocabulary', head.vocabulary
    yield 'classes', f'{len(head.names)}: {_list(head.names)}'


def _translator(path: Path) -> Iterator[tuple[str, str]]:
    from concerto_ros.semantics import Translator

    translator = Translator.load(path)
    width, channels = translator.weight.shape
    yield 'kind', f'translator of features of {channels} channels into texts of {width} numbers'
    yield 'encoder', translator.text_encoder


def _map(path: Path) -> Iterator[tuple[str, str]]:
    from concerto_ros.storage import SavedMap

    saved = SavedMap.load(path)
    yield 'kind', f'map of {len(saved.points):,} points in frame {saved.frame_id}'
    yield 'labels', _list(saved.points.names)
    if saved.features is None:
        yield 'features', 'none, so it cannot be searched by text'
    else:
        num_known = int((saved.features.cell >= 0).sum())
        yield (
            'features',
            f'of {num_known:,} points, by the backbone of weights {saved.features.backbone}',
        )
        yield 'translator', str(saved.settings.get('semantics.translator', 'not named'))
        yield 'encoder', saved.features.translator.text_encoder


def _flat(values: Mapping[str, Any], before: str = '') -> Iterator[tuple[str, float]]:
    """Yield the numbers in nested mappings, with all their names."""
    for key, value in values.items():
        name = f'{before} {key}'.strip()
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        elif isinstance(value, float):
            yield name, value


def _config(config: dict[str, Any]) -> str:
    return _list([f'{k} {v}' for k, v in config.items() if k not in ('names', 'translator')])


def _list(items: Sequence[str]) -> str:
    more = [f'and {len(items) - _MAX_ITEMS} more'] if len(items) > _MAX_ITEMS else []
    return ', '.join([*items[:_MAX_ITEMS], *more])
