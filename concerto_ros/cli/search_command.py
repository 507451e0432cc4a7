"""`concerto search`: its options, and what they ask of the rest."""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concerto_ros.cli.search_summary import print_answer
from concerto_ros.errors import ConfigError
from concerto_ros.visualization.files import check_target
from concerto_ros.visualization.heat_map import HeatScene, heat_picture

Corners = tuple[NDArray[np.float64], NDArray[np.float64]]


def add_search_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser to those of all commands, and return it."""
    parser: argparse.ArgumentParser = commands.add_parser(
        'search',
        help='search a map by text',
        allow_abbrev=False,
        description='Find what texts describe in a map that "concerto map" wrote: prints a table '
        'for each text, and draws a picture of how probable it is where. Pictures of an earlier '
        'search are replaced.',
        epilog='Example: concerto search out/kitchen "coffee mug" "something to sit on"',
    )
    parser.set_defaults(run=_run_search, interrupted='the map is as it was', more='texts')
    parser.add_argument(
        'map',
        metavar='MAP',
        type=Path,
        help='folder of "concerto map" or of a map that the node saved, or a map.safetensors',
    )
    parser.add_argument(
        'texts',
        metavar='TEXT',
        nargs='+',
        help='what to look for; the default language model reads English',
    )
    parser.add_argument(
        '-o',
        '--output',
        metavar='FILE.png',
        type=Path,
        help='the picture; of several texts FILE_1.png, FILE_2.png, ...; else search.png beside '
        'the map',
    )
    parser.add_argument(
        '--max-results', metavar='N', type=int, default=0, help='at most; 0: as the map was made'
    )
    parser.add_argument(
        '--min-score',
        metavar='P',
        type=float,
        default=0.0,
        help='only what is as probable, 0..1; 0: as the map was made',
    )
    parser.add_argument(
        '--region',
        metavar='X,Y,Z,X,Y,Z',
        default='',
        help='lower and upper corner of where to look, in metres; write --region=-1,0,0,1,2,2 '
        'where it begins with a minus',
    )
    parser.add_argument(
        '--translator', metavar='FILE', default='', help='another than the map was made with'
    )
    parser.add_argument(
        '--text-encoder',
        metavar='NAME',
        default='',
        help='another than the map was made with, as for semantics.text_encoder',
    )
    return parser


def _run_search(args: argparse.Namespace) -> None:
    region = _region(args.region)
    if args.output:
        check_target(args.output, '.png')
    # Read when torch is loaded: its threads must not spin for cores that others keep busy.
    os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
    from concerto_ros.cli.searched_map import open_map  # torch takes seconds to import
    from concerto_ros.search.object_search import check_query

    texts = list(dict.fromkeys(check_query(text) for text in args.texts))
    path, searched = open_map(args.map, args.translator, args.text_encoder)
    limits = {'max_results': args.max_results, 'min_score': args.min_score}
    for text, picture in zip(texts, _pictures(args, path, len(texts)), strict=True):
        result = searched.search(text, region=region, **limits)
        print_answer(text, result, has_region=region is not None)
        heat = searched.heat(text)
        scene = HeatScene(
            coord=heat.coord,
            color=heat.color,
            normal=heat.normal.astype(np.float32),
            voxel_size=searched.voxel_size,
            min_score=args.min_score or searched.min_score,
            region=region,
        )
        heat_picture(picture, scene, heat.probability, text, result)
        print(f'written  {picture}\n')


def _region(text: str) -> Corners | None:
    if not text:
        return None
    try:
        numbers = np.array([float(part) for part in text.split(',')])
        low, high = numbers.reshape(2, 3)
    except ValueError as err:
        raise ConfigError(
            f'--region must be six numbers, the lower and the upper corner in metres, such as '
            f'0,0,0,2.5,2,1, got {text!r}'
        ) from err
    return low, high


def _pictures(args: argparse.Namespace, map_path: Path, count: int) -> list[Path]:
    """Return the file of each picture."""
    path: Path = args.output or map_path.parent / 'search.png'
    if count == 1:
        return [path]
    return [path.with_stem(f'{path.stem}_{number}') for number in range(1, count + 1)]
