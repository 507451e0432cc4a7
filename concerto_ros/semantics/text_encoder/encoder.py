"""TextEncoder: what all encoders of text have in common."""

from typing import Protocol

from torch import Tensor


class TextEncoder(Protocol):
    """Turns texts into directions of one fixed space; may be asked by many threads."""

    @property
    def name(self) -> str:
        """Name of the space; translators are trained for one."""
        ...

    @property
    def dim(self) -> int:
        """D."""
        ...

    @property
    def templates(self) -> tuple[str, ...]:
        """Phrases, each with one {}, into which the name of a thing is put.

        They belong to the kind of encoder: models of captions know names best in the captions
        that they were trained on, others read the bare name.
        """
        ...

    def encode(self, texts: list[str]) -> Tensor:
        """Return (n, D) float32 unit vectors.

        Raises:
            SearchError: A text is not understood.
        """
        ...
