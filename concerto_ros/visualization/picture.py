"""One picture of a map for people: by label and by colour, with a legend and what was found."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from concerto_ros.errors import BackendUnavailable
from concerto_ros.geometry.transforms import invert
from concerto_ros.structures import Box, Labels, MapCloud, ObjectHit
from concerto_ros.visualization.files import replacing
from concerto_ros.visualization.render import View, fit_view, render_points

Color = tuple[int, ...]

_LANCZOS = getattr(Image, 'Resampling', Image).LANCZOS  # its home before Pillow 9.1

_SIZE = (1600, 800)  # of the file [px]
_SCALE = 2  # everything is drawn larger and reduced, which smooths edges, lines and letters
_PANELS = ((24, 84, 788, 640), (812, 84, 1576, 640))  # left, top, right, bottom: labels, colour
_LEGEND_TOP, _LEGEND_BOTTOM, _ROW = 660, 788, 26
_INK, _GREY, _PAPER, _PANEL = (32, 36, 42), (110, 116, 124), (255, 255, 255), (247, 247, 248)
_MARKS = (
    (230, 60, 40),
    (20, 110, 220),
    (20, 150, 80),
    (200, 110, 0),
    (140, 60, 190),
    (0, 140, 160),
)


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
    canvas = _Canvas()
    canvas.text((24, 18), _title(cloud), size=26)
    canvas.text((24, 54), _label_note(labels), size=17, color=_GREY)
    canvas.text((812, 54), 'colour', size=17, color=_GREY)
    if len(cloud):
        _draw_map(canvas, cloud, labels, objects, voxel_size)
    else:
        for panel in _PANELS:
            canvas.panel(panel, None)
            canvas.text((panel[0] + 24, panel[1] + 24), 'the map is empty', size=20, color=_GREY)
    _draw_legend(canvas, cloud, labels)
    _draw_objects_list(canvas, objects)
    with replacing(path, '.png') as temporary:
        canvas.reduced().save(temporary, format='PNG')


class _Canvas:
    """A sheet that is drawn in pixels of the file but held at `_SCALE` times its size."""

    def __init__(self) -> None:
        self.image = Image.new('RGB', (_SIZE[0] * _SCALE, _SIZE[1] * _SCALE), _PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def reduced(self) -> Image.Image:
        return self.image.resize(_SIZE, _LANCZOS)

    def panel(self, box: tuple[int, int, int, int], content: NDArray[np.uint8] | None) -> None:
        left, top, right, bottom = (v * _SCALE for v in box)
        self.draw.rectangle((left, top, right - 1, bottom - 1), fill=_PANEL)
        if content is not None:
            self.image.paste(Image.fromarray(content), (left, top))

    def text(self, at: tuple[float, float], text: str, *, size: int, color: Color = _INK) -> float:
        """Write `text` with its top left corner at `at`; return its width."""
        font = _font(size)
        self.draw.text((at[0] * _SCALE, at[1] * _SCALE), text, font=font, fill=color)
        return font.getlength(text) / _SCALE

    def rectangle(self, box: tuple[float, ...], color: Color, corner: float = 3) -> None:
        self.draw.rounded_rectangle([v * _SCALE for v in box], corner * _SCALE, fill=color)

    def line(self, points: NDArray[np.float64], color: Color, width: float) -> None:
        corners = [tuple(p) for p in (points * _SCALE).tolist()]
        self.draw.line(corners, fill=color, width=round(width * _SCALE))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.load_default(size * _SCALE)
    except TypeError:  # Pillow before 10.1, as in Ubuntu 22.04, brings no font of any size
        return _system_font(size)


def _system_font(size: int) -> ImageFont.FreeTypeFont:
    try:
        return ImageFont.truetype('DejaVuSans.ttf', size * _SCALE)
    except OSError as err:
        raise BackendUnavailable(
            'pictures need a font: pip install "pillow>=10.1", or apt install fonts-dejavu-core'
        ) from err


def _fitted(text: str, size: int, width: float) -> str:
    """Return `text`, cut with an ellipsis where it is wider than `width`."""
    if _font(size).getlength(text) <= width * _SCALE:
        return text
    while text and _font(size).getlength(text + '…') > width * _SCALE:
        text = text[:-1]
    return text.rstrip() + '…'


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
    canvas: _Canvas,
    cloud: MapCloud,
    labels: Labels,
    objects: Sequence[ObjectHit],
    voxel_size: float,
) -> None:
    left, top, right, bottom = (v * _SCALE for v in _PANELS[0])
    view = fit_view(cloud.coord, cloud.normal, width=right - left, height=bottom - top)
    known = np.minimum(cloud.label, len(labels.names) - 1)
    colorings = (labels.colors[known], cloud.color)
    images = render_points(cloud.coord, colorings, cloud.normal, radius=voxel_size, view=view)
    for panel, image in zip(_PANELS, images, strict=True):
        canvas.panel(panel, image)
        _draw_boxes(canvas, panel, view, objects)


def _draw_legend(canvas: _Canvas, cloud: MapCloud, labels: Labels) -> None:
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
        canvas.text((x + 24, y), _fitted(f'{name}  {share}', 15, width - 30), size=15)
    if len(shown) < len(order):
        x, y = _slot(_PANELS[0][0], width, slots - 1, num_rows)
        canvas.text((x, y), f'and {len(order) - len(shown)} more', size=15, color=_GREY)


def _draw_objects_list(canvas: _Canvas, objects: Sequence[ObjectHit]) -> None:
    """List the objects with number, name, score and place below the right panel."""
    num_rows, num_columns = (_LEGEND_BOTTOM - _LEGEND_TOP) // _ROW, 2
    width = (_PANELS[1][2] - _PANELS[1][0]) / num_columns
    slots = num_rows * num_columns
    shown = objects if len(objects) <= slots else objects[: slots - 1]
    for slot, hit in enumerate(shown):
        x, y = _slot(_PANELS[1][0], width, slot, num_rows)
        canvas.rectangle((x, y - 1, x + 22, y + 19), _mark(slot))
        canvas.text((x + 11 - 4.5 * len(str(slot + 1)), y), str(slot + 1), size=15, color=_PAPER)
        place = ', '.join(f'{v:.2f}' for v in hit.center)
        tail = f'  {hit.score:.2f}  at ({place}) m'
        room = width - 40 - _font(15).getlength(tail) / _SCALE
        canvas.text((x + 30, y), _fitted(hit.label, 15, room) + tail, size=15)
    if len(shown) < len(objects):
        x, y = _slot(_PANELS[1][0], width, slots - 1, num_rows)
        canvas.text((x, y), f'and {len(objects) - len(shown)} more', size=15, color=_GREY)


def _slot(left: float, width: float, slot: int, num_rows: int) -> tuple[float, float]:
    return left + slot // num_rows * width, _LEGEND_TOP + slot % num_rows * _ROW


def _percent(share: float) -> str:
    return f'{share:.0%}' if share >= 0.01 else '<1%'


def _mark(number: int) -> tuple[int, int, int]:
    return _MARKS[number % len(_MARKS)]


def _corners(box: Box) -> NDArray[np.float64]:
    """Return (8, 3) [m], the four lower corners in turn, then the four upper ones."""
    unit = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2
    xyz = np.array([(x, y, z) for z in (-0.5, 0.5) for x, y in unit]) * box.size
    c, s = np.cos(box.yaw), np.sin(box.yaw)
    corners: NDArray[np.float64] = box.center + xyz @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    return corners


_EDGES = [(i, (i + 1) % 4) for i in range(4)]
_EDGES += [(i + 4, j + 4) for i, j in _EDGES] + [(i, i + 4) for i in range(4)]


def _draw_boxes(
    canvas: _Canvas, panel: tuple[int, int, int, int], view: View, objects: Sequence[ObjectHit]
) -> None:
    """Outline and name the objects whose boxes lie in the picture."""
    T_camera_map = invert(view.T_map_camera)
    origin = np.array(panel[:2])
    tags: list[tuple[int, float, float]] = []
    for number in range(len(objects)):
        corners = _corners(objects[number].box) @ T_camera_map[:3, :3].T + T_camera_map[:3, 3]
        pixel, depth = view.camera.project(corners)
        pixel = pixel / _SCALE + origin
        inside = (pixel >= origin).all() and (pixel <= panel[2:]).all() and (depth > 0).all()
        if not inside:
            continue
        for color, width in ((_PAPER, 4), (_mark(number), 2)):
            for i, j in _EDGES:
                canvas.line(pixel[[i, j]], color, width)
        tags.append((number, float(pixel[:, 0].mean()), float(pixel[:, 1].min())))
    _draw_tags(canvas, panel, objects, tags)


def _draw_tags(
    canvas: _Canvas,
    panel: tuple[int, int, int, int],
    objects: Sequence[ObjectHit],
    tags: Sequence[tuple[int, float, float]],
) -> None:
    """Write number and name above each box, moved up where another tag is in the way."""
    taken: list[tuple[float, float, float]] = []
    for number, x, y in sorted(tags, key=lambda tag: -tag[2]):
        text = _fitted(f'{number + 1}  {objects[number].label}', 15, 180)
        width = _font(15).getlength(text) / _SCALE + 14
        left = float(np.clip(x - width / 2, panel[0] + 4, panel[2] - width - 4))
        top = y - 28
        for a, b, other in sorted(taken, key=lambda t: -t[2]):
            if left < b and left + width > a and abs(top - other) < 24:
                top = other - 25
        top = max(top, panel[1] + 4)
        taken.append((left, left + width, top))
        canvas.rectangle((left, top, left + width, top + 22), _mark(number), corner=5)
        canvas.text((left + 7, top + 2), text, size=15, color=_PAPER)
