"""Canvas: a sheet for panels, lines and letters with smooth edges."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from concerto_ros.errors import BackendUnavailable

Color = tuple[int, ...]
Panel = tuple[int, int, int, int]  # left, top, right, bottom

INK, GREY, PAPER = (32, 36, 42), (110, 116, 124), (255, 255, 255)
_PANEL = (247, 247, 248)
_LANCZOS = getattr(Image, 'Resampling', Image).LANCZOS  # its home before Pillow 9.1


class Canvas:
    """A sheet that is drawn in pixels of the file but held at `scale` times its size.

    Attributes:
        scale: Everything is drawn larger and reduced, which smooths edges, lines and letters.

    Args:
        size: Width and height of the file [px].
    """

    scale = 2

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._image = Image.new('RGB', (size[0] * self.scale, size[1] * self.scale), PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def reduced(self) -> Image.Image:
        """Return the sheet at its size."""
        return self._image.resize(self._size, _LANCZOS)

    def panel_size(self, panel: Panel) -> dict[str, int]:
        """Return width and height of what fills a panel [px of the sheet as it is held]."""
        left, top, right, bottom = panel
        return {'width': (right - left) * self.scale, 'height': (bottom - top) * self.scale}

    def panel(self, panel: Panel, content: NDArray[np.uint8] | None) -> None:
        """Fill a panel with a picture of `panel_size`, or with its background."""
        left, top, right, bottom = (v * self.scale for v in panel)
        self._draw.rectangle((left, top, right - 1, bottom - 1), fill=_PANEL)
        if content is not None:
            self._image.paste(Image.fromarray(content), (left, top))

    def text(self, at: tuple[float, float], text: str, *, size: int, color: Color = INK) -> float:
        """Write `text` with its top left corner at `at`; return its width."""
        at = (at[0] * self.scale, at[1] * self.scale)
        self._draw.text(at, text, font=self._font(size), fill=color)
        return self.text_width(text, size)

    def text_width(self, text: str, size: int) -> float:
        """Return how wide a text is."""
        return float(self._font(size).getlength(text)) / self.scale

    def fitted(self, text: str, size: int, width: float) -> str:
        """Return `text`, cut with an ellipsis where it is wider than `width`."""
        if self.text_width(text, size) <= width:
            return text
        while text and self.text_width(text + '…', size) > width:
            text = text[:-1]
        return text.rstrip() + '…'

    def rectangle(self, box: tuple[float, ...], color: Color, corner: float = 3) -> None:
        """Fill a rectangle with round corners."""
        self._draw.rounded_rectangle([v * self.scale for v in box], corner * self.scale, color)

    def line(self, points: NDArray[np.float64], color: Color, width: float) -> None:
        """Draw lines from point to point, (N, 2)."""
        corners = [tuple(p) for p in (points * self.scale).tolist()]
        self._draw.line(corners, fill=color, width=round(width * self.scale))

    def _font(self, size: int) -> Any:
        try:
            return ImageFont.load_default(size * self.scale)
        except TypeError:  # Pillow before 10.1, as in Ubuntu 22.04, brings no font of any size
            return self._system_font(size)

    def _system_font(self, size: int) -> ImageFont.FreeTypeFont:
        try:
            return ImageFont.truetype('DejaVuSans.ttf', size * self.scale)
        except OSError as err:
            raise BackendUnavailable(
                'pictures need a font: pip install "pillow>=10.1", or apt install '
                'fonts-dejavu-core'
            ) from err
