"""One picture of a map for people: by label and by colour, with a legend and what was found."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from concerto_ros.structures import Labels, MapCloud, ObjectHit
from concerto_ros.visualization.boxes import COLORS, draw_objects
from concerto_ros.visualization.canvas import GREY, INK, PAPER, Canvas
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
    answers: Mapping[str, ObjectHit | str] = MappingProxyType({}),
    voxel_size: float = 0.02,
) -> None:
    """Write a PNG (1600 x 800) of a map by label and by colour, with a legend.

    Args:
        path: File to write, ending in .png; an older one is replaced.
        cloud: The map, z up [m]; may be empty.
        labels: Names and colours of `cloud.label`; an empty vocabulary is said in the picture.
        answers: By what was asked for, what was found, or a few words in its place. Listed in this
            order; what was found is numbered and boxed.
        voxel_size: Edge length of a voxel [m], so that points are drawn as a closed surface.

    Raises:
        MapFileError: Another extension, a missing folder, or the disk refuses.
        BackendUnavailable: Pillow is older than 10.1 and there is no font in the system.
    """
    canvas = Canvas(_SIZE)
    objects = [replace(a, label=text) for text, a in answers.items() if isinstance(a, ObjectHit)]
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
    _draw_answers(canvas, answers)
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


def _draw_answers(canvas: Canvas, answers: Mapping[str, ObjectHit | str]) -> None:
    """List below the right panel what was asked for, with number, score and place, or in words."""
    num_rows, num_columns = (_LEGEND_BOTTOM - _LEGEND_TOP) // _ROW, 2
    width = (_PANELS[1][2] - _PANELS[1][0]) / num_columns
    slots = num_rows * num_columns
    shown = list(answers.items())
    shown = shown if len(shown) <= slots else shown[: slots - 1]
    number = 0
    for slot, (text, answer) in enumerate(shown):
        x, y = _slot(_PANELS[1][0], width, slot, num_rows)
        if isinstance(answer, ObjectHit):
            _draw_number(canvas, (x, y), number)
            number += 1
            place = ', '.join(f'{v:.2f}' for v in answer.center)
            tail = f'  {answer.score:.2f}  at ({place}) m'
        else:
            tail = f'  {answer}'
        room = width - 40 - canvas.text_width(tail, 15)
        color = INK if isinstance(answer, ObjectHit) else GREY
        canvas.text((x + 30, y), canvas.fitted(text, 15, room) + tail, size=15, color=color)
    if len(shown) < len(answers):
        x, y = _slot(_PANELS[1][0], width, slots - 1, num_rows)
        canvas.text((x, y), f'and {len(answers) - len(shown)} more', size=15, color=GREY)


def _draw_number(canvas: Canvas, corner: tuple[float, float], number: int) -> None:
    x, y = corner
    canvas.rectangle((x, y - 1, x + 22, y + 19), COLORS[number % len(COLORS)])
    canvas.text((x + 11 - 4.5 * len(str(number + 1)), y), str(number + 1), size=15, color=PAPER)


def _slot(left: float, width: float, slot: int, num_rows: int) -> tuple[float, float]:
    return left + slot // num_rows * width, _LEGEND_TOP + slot % num_rows * _ROW


def _percent(share: float) -> str:
    return f'{share:.0%}' if share >= 0.01 else '<1%'
