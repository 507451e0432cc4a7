"""What is written into pictures."""

import pytest

from concerto_ros.visualization.canvas import Canvas


@pytest.fixture
def texts(monkeypatch):
    """Collect what is written into pictures, drawn without enlargement to save time."""
    monkeypatch.setattr(Canvas, 'scale', 1)
    written = []
    original = Canvas.text

    def text(self, at, text, **style):
        written.append(text)
        return original(self, at, text, **style)

    monkeypatch.setattr(Canvas, 'text', text)
    return written
