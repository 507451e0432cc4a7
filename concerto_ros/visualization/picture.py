"""One picture of a map for people: by label and by colour, with a legend and what was found."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from concerto_ros.structures import Labels, MapCloud, ObjectHit
from concerto_ros.visualization.boxes import COLORS, draw_objects
from concerto_ros.visualization.canvas import GREY, PAPER, Canvas
from concerto_ros.visualization.files import replacing
from concerto_ros.visualization.render import fit_view, render_points

_SIZE = (1600, 800)  # of the file [px]
_PANELS = ((24, 84, 788, 640), (812, 84, 1576, 640))  # left, top, right, bottom: labels, colour
_LEGEND_TOP, _LEGEND_BOTTOM, _ROW = 660, 788, 26


def map_picture(
    path: str | Path,
    cloud: MapCloud,
    labels: Labels,
    *,
    objects: Sequence[ObjectHit] = (),
    voxel_size: float = 0.02,
) -> None:
    """Write a PNG (1600 x 800) of a map by label and by colour, with a legend.

    Args:
        path: File to write, ending in .png; an older one is replaced.
        cloud: The map, z up [m]; may be empty.
        labels: Names and colours of `cloud.label`; an empty vocabulary is said in the picture.
        objects: What a search found; drawn as numbered boxes and listed, in this order.
        voxel_size: Edge length of a voxel [m], so that points are drawn as a closed surface.

    Raises:
        MapFileError: Another extension, a missing folder, or the disk refuses.
        BackendUnavailable: Pillow is older than 10.1 and there is no font in the system.
    """
    canvas = Canvas(_SIZE)
    canvas.text((24, 18), _title(cloud), size=26)
    canvas.text((24, 54), _label_note(labels), size=17, color=GREY)
    canvas.text((812, 54), 'colour', size=17, color=GREY)
    if len(cloud):
        _draw_map(canvas, cloud, labels, objects, voxel_size)
    else:
        for panel in _PANELS:
            canvas.panel(panel, None)
            canvas.text((panel[0] + 24, panel[1] + 24), 'the map is empty', size=20, color=GREY)
    _draw_legend(canvas, cloud, labels)
    _draw_objects_list(canvas, objects)
    with replacing(path, '.png') as temporary:
        canvas.reduced().save(temporary, format='PNG')


def _title(cloud: MapCloud) -> str:
    if not len(cloud):
        return 'Map: 0 points'
    x, y, z = np.ptp(cloud.coord, axis=0)
    return f'Map: {len(cloud):,} points, {x:.1f} x {y:.1f} x {z:.1f} m'


def _label_note(labels: Labels) -> str:
    if not labels.vocabulary:
        return 'labels: unknown (no trained weights loaded)'
    return f'labels: {labels.vocabulary}'


def _draw_map(
    canvas: Canvas,
    cloud: MapCloud,
    labels: Labels,
    objects: Sequence[ObjectHit],
    voxel_size: float,
) -> None:
    view = fit_view(cloud.coord, cloud.normal, **canvas.panel_size(_PANELS[0]))
    known = np.minimum(cloud.label, len(labels.names) - 1)
    colorings = (labels.colors[known], cloud.color)
    images = render_points(cloud.coord, colorings, cloud.normal, radius=voxel_size, view=view)
    for panel, image in zip(_PANELS, images, strict=True):
        canvas.panel(panel, image)
        draw_objects(canvas, panel, view, objects)


def _draw_legend(canvas: Canvas, cloud: MapCloud, labels: Labels) -> None:
    """List the labels that occur, the most frequent first, in columns below the left panel."""
    ids, counts = np.unique(cloud.label, return_counts=True)
    order = np.argsort(-counts, kind='stable')
    num_rows, num_columns = (_LEGEND_BOTTOM - _LEGEND_TOP) // _ROW, 4
    width = (_PANELS[0][2] - _PANELS[0][0]) / num_columns
    slots = num_rows * num_columns
    shown = order if len(order) <= slots else order[: slots - 1]
    for slot, i in enumerate(shown):
        x, y = _slot(_PANELS[0][0], width, slot, num_rows)
        label = int(ids[i])
        known = label < len(labels.names)
        name = labels.names[label] if known else f'label {label}'
        swatch = tuple(int(v) for v in labels.colors[label if known else -1])
        canvas.rectangle((x, y + 1, x + 16, y + 17), swatch)
        share = _percent(counts[i] / len(cloud))
        canvas.text((x + 24, y), canvas.fitted(f'{name}  {share}', 15, width - 30), size=15)
    if len(shown) < len(order):
        x, y = _slot(_PANELS[0][0], width, slots - 1, num_rows)
        canvas.text((x, y), f'and {len(order) - len(shown)} more', size=15, color=GREY)


def _draw_objects_list(canvas: Canvas, objects: Sequence[ObjectHit]) -> None:
    """List the objects with number, name, score and place below the right panel."""
    num_rows, num_columns = (_LEGEND_BOTTOM - _LEGEND_TOP) // _ROW, 2
    width = (_PANELS[1][2] - _PANELS[1][0]) / num_columns
    slots = num_rows * num_columns
    shown = objects if len(objects) <= slots else objects[: slots - 1]
    for slot, hit in enumerate(shown):
        x, y = _slot(_PANELS[1][0], width, slot, num_rows)
        canvas.rectangle((x, y - 1, x + 22, y + 19), COLORS[slot % len(COLORS)])
        canvas.text((x + 11 - 4.5 * len(str(slot + 1)), y), str(slot + 1), size=15, color=PAPER)
        place = ', '.join(f'{v:.2f}' for v in hit.center)
        tail = f'  {hit.score:.2f}  at ({place}) m'
        room = width - 40 - canvas.text_width(tail, 15)
        canvas.text((x + 30, y), canvas.fitted(hit.label, 15, room) + tail, size=15)
    if len(shown) < len(objects):
        x, y = _slot(_PANELS[1][0], width, slots - 1, num_rows)
        canvas.text((x, y), f'and {len(objects) - len(shown)} more', size=15, color=GREY)


def _slot(left: float, width: float, slot: int, num_rows: int) -> tuple[float, float]:
    return left + slot // num_rows * width, _LEGEND_TOP + slot % num_rows * _ROW


def _percent(share: float) -> str:
    return f'{share:.0%}' if share >= 0.01 else '<1%'
