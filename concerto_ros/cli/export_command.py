"""`concerto export`: the points of a saved map as a file that other programs open."""

import argparse
from pathlib import Path
from typing import Any

from concerto_ros.visualization.files import check_target
from concerto_ros.visualization.ply import write_ply


def add_export_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser to those of all commands, and return it."""
    parser: argparse.ArgumentParser = commands.add_parser(
        'export',
        help='write the points of a map as PLY',
        allow_abbrev=False,
        description='Write the points of a saved map, with colours, normals and labels, as a '
        'binary PLY file, which CloudCompare, MeshLab and Blender open.',
        epilog='Example: concerto export out/kitchen kitchen.ply',
    )
    parser.set_defaults(run=_run_export, interrupted='nothing was written')
    parser.add_argument(
        'map', metavar='MAP', type=Path, help='folder of "concerto map", or of a saved map'
    )
    parser.add_argument('file', metavar='FILE.ply', type=Path, help='replaced if it is there')
    return parser


def _run_export(args: argparse.Namespace) -> None:
    check_target(args.file, '.ply')
    from concerto_ros.semantic_map.reader import MapReader  # torch takes seconds to import
    from concerto_ros.storage import MapFolder, find_map

    num_points = write_ply(args.file, MapReader(MapFolder.open(find_map(args.map))).cloud())
    print(f'written  {args.file}, {num_points:,} points')
