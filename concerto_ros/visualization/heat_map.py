"""A picture of how probable a text is at each point of a map, with what was found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concerto_ros.structures import Box, ObjectHit, SearchResult
from concerto_ros.visualization.boxes import draw_objects, draw_outline
from concerto_ros.visualization.canvas import GREY, INK, PAPER, Canvas
from concerto_ros.visualization.files import replacing
from concerto_ros.visualization.render import View, fit_view, render_points

_SIZE = (1600, 800)  # of the file [px]
_PANEL = (24, 84, 1196, 776)  # left, top, right, bottom
_LEFT, _RIGHT = 1224, 1576  # of the column beside it
_BAR_TOP, _BAR_BOTTOM = 112, 132
_LIST_TOP, _ROW = 226, 50

# Colours of probabilities 0, 1/4, ... 1: from the grey of a wall to dark red, ever darker.
_HEAT = np.array([(206, 209, 213), (252, 226, 140), (250, 160, 60), (214, 50, 40), (112, 8, 60)])
_NOT_LOOKED = (178, 196, 224)
# Of boxes: cold, to stand out from the heat.
_COLD = ((20, 70, 190), (0, 120, 130), (110, 50, 170), (20, 110, 60), (70, 80, 100))
_RELIEF = 0.45  # share of the brightness that the map's own colours make
_VERDICTS = {'found': (20, 130, 70), 'absent': (90, 96, 104), 'unobserved': (196, 120, 0)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeatScene:
    """The map on which probabilities are drawn.

    Attributes:
        coord: (N, 3) float32 [m], z up.
        color: (N, 3) uint8 RGB.
        normal: (N, 3) float unit vectors; zero where unknown.
        voxel_size: Edge length of a voxel [m].
        min_score: Probability from which points were taken for an object.
        region: Lower and upper corner (3,) [m] of where was looked; None: everywhere.
    """

    coord: NDArray[np.floating]
    color: NDArray[np.uint8]
    normal: NDArray[np.floating]
    voxel_size: float
    min_score: float
    region: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None


def heat_picture(
    path: str | Path,
    scene: HeatScene,
    probability: NDArray[np.floating],
    query: str,
    result: SearchResult,
) -> None:
    """Write a PNG (1600 x 800) of a map coloured by probability, with a colour bar.

    Args:
        path: File to write, ending in .png; an older one is replaced.
        scene: The map of N points; may be empty.
        probability: (N,) float 0..1; not finite where the network has not looked.
        query: The text that was asked.
        result: The answer; objects are drawn as numbered boxes and listed, in this order.

    Raises:
        MapFileError: Another extension, a missing folder, or the disk refuses.
        BackendUnavailable: Pillow is older than 10.1 and there is no font in the system.
    """
    canvas = Canvas(_SIZE)
    where = 'map' if scene.region is None else 'region'
    _draw_title(canvas, query, result, where)
    if len(probability):
        _draw_scene(canvas, scene, heat_colors(probability, scene.color), result.objects)
    else:
        canvas.panel(_PANEL, None)
        canvas.text((_PANEL[0] + 24, _PANEL[1] + 24), 'the map is empty', size=20, color=GREY)
    _draw_bar(canvas, scene.min_score, is_fitted=result.calibrated)
    _draw_unknown(canvas, probability)
    _draw_list(canvas, result.objects)
    with replacing(path, '.png') as temporary:
        canvas.reduced().save(temporary, format='PNG')


def heat_colors(probability: NDArray[np.floating], color: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (N, 3) uint8 RGB of probabilities (N,), darker where the map's colours are dark."""
    level = np.nan_to_num(probability.astype(np.float64)).clip(0, 1)
    knots = np.linspace(0, 1, len(_HEAT))
    heat = np.stack([np.interp(level, knots, channel) for channel in _HEAT.T], axis=1)
    heat[~np.isfinite(probability)] = _NOT_LOOKED
    luminance = (color @ np.array([0.299, 0.587, 0.114]) / 255).clip(0, 1)
    # What is hot keeps its colour: dark orange would be brown.
    shade = 1 - _RELIEF * (1 - luminance) * (1 - 0.7 * level)
    rgb: NDArray[np.uint8] = (heat * shade[:, None]).round().astype(np.uint8)
    return rgb


def _draw_title(canvas: Canvas, query: str, result: SearchResult, where: str) -> None:
    """Write the query, the verdict in a colour of its own, and what it rests on."""
    width = canvas.text((24, 18), canvas.fitted(f'“{query}”', 26, 1300), size=26)
    left, verdict = 24 + width + 18, result.verdict.upper()
    right = left + canvas.text_width(verdict, 18) + 24
    canvas.rectangle((left, 20, right, 48), _VERDICTS[result.verdict], corner=6)
    canvas.text((left + 12, 23), verdict, size=18, color=PAPER)
    note = f'{result.observed_share:.0%} of the {where} observed, read by {result.text_encoder}'
    canvas.text((24, 54), canvas.fitted(note, 17, _PANEL[2] - 24), size=17, color=GREY)


def _draw_scene(
    canvas: Canvas, scene: HeatScene, colors: NDArray[np.uint8], objects: Sequence[ObjectHit]
) -> None:
    view = fit_view(scene.coord, scene.normal, **canvas.panel_size(_PANEL))
    radius = scene.voxel_size
    [image] = render_points(scene.coord, [colors], scene.normal, radius=radius, view=view)
    canvas.panel(_PANEL, image)
    _draw_region(canvas, scene, view)
    draw_objects(canvas, _PANEL, view, objects, _COLD)


def _draw_region(canvas: Canvas, scene: HeatScene, view: View) -> None:
    """Outline what of the region lies in the map."""
    if scene.region is None:
        return
    low = np.maximum(scene.region[0], scene.coord.min(axis=0))
    high = np.minimum(scene.region[1], scene.coord.max(axis=0))
    if (low < high).all():
        draw_outline(canvas, _PANEL, view, Box(center=(low + high) / 2, size=high - low), INK)


def _draw_bar(canvas: Canvas, min_score: float, *, is_fitted: bool) -> None:
    """Draw what the colours mean, and from where on a point belongs to an object."""
    width = _RIGHT - _LEFT
    canvas.text((_LEFT, 84), 'probability' if is_fitted else 'score', size=17, color=GREY)
    note = f'objects from {min_score:.2g}'
    canvas.text((_RIGHT - canvas.text_width(note, 15), 86), note, size=15)
    bar = (_LEFT, _BAR_TOP, _RIGHT, _BAR_BOTTOM)
    size = canvas.panel_size(bar)
    white = np.full((size['width'], 3), 255, np.uint8)
    strip = heat_colors(np.linspace(0, 1, size['width']), white)
    canvas.panel(bar, np.repeat(strip[None], size['height'], axis=0))
    for tick in (0, 0.25, 0.5, 0.75, 1):
        half = canvas.text_width(f'{tick:g}', 15) / 2
        x = float(np.clip(_LEFT + tick * width - half, _LEFT, _RIGHT - 2 * half))
        canvas.text((x, _BAR_BOTTOM + 6), f'{tick:g}', size=15, color=GREY)
    x = _LEFT + min_score * width
    canvas.line(np.array([(x, _BAR_TOP - 6), (x, _BAR_BOTTOM + 4)]), INK, 2)


def _draw_unknown(canvas: Canvas, probability: NDArray[np.floating]) -> None:
    """Say what the colour of points means at which the network has not looked, if any."""
    if not np.isfinite(probability).all():
        share = 1 - np.isfinite(probability).mean()
        canvas.rectangle((_LEFT, 174, _LEFT + 16, 190), _NOT_LOOKED)
        canvas.text((_LEFT + 24, 172), f'not looked at yet  {share:.0%}', size=15)


def _draw_list(canvas: Canvas, objects: Sequence[ObjectHit]) -> None:
    """List the objects with number, name, score, place and size below the colour bar."""
    left, room = _LEFT + 32, _RIGHT - _LEFT - 32
    slots = (_PANEL[3] - _LIST_TOP) // _ROW
    shown = objects if len(objects) <= slots else objects[: slots - 1]
    for slot, hit in enumerate(shown):
        y, number = _LIST_TOP + slot * _ROW, str(slot + 1)
        canvas.rectangle((_LEFT, y - 1, _LEFT + 22, y + 19), _COLD[slot % len(_COLD)])
        canvas.text((_LEFT + 11 - 4.5 * len(number), y), number, size=15, color=PAPER)
        score = f'  {hit.score:.2f}'
        label = canvas.fitted(hit.label, 17, room - canvas.text_width(score, 17))
        canvas.text((left, y - 2), label + score, size=17)
        place = ', '.join(f'{v:.2f}' for v in hit.center)
        size = ' x '.join(f'{v:.2f}' for v in hit.box.size)
        text = canvas.fitted(f'at ({place}), {size} m', 15, room)
        canvas.text((left, y + 21), text, size=15, color=GREY)
    if not objects:
        canvas.text((_LEFT, _LIST_TOP), 'nothing found', size=17, color=GREY)
    elif len(shown) < len(objects):
        y = _LIST_TOP + len(shown) * _ROW
        canvas.text((_LEFT, y), f'and {len(objects) - len(shown)} more', size=15, color=GREY)
