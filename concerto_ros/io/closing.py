"""Closing: what has files to close, or only might have."""

from types import TracebackType
from typing import TypeVar

_Self = TypeVar('_Self', bound='Closing')


class Closing:
    """A context manager that closes itself at the end."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all files; here there are none."""
