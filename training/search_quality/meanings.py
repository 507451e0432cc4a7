"""Which classes a text may mean."""

from collections.abc import Mapping
from pathlib import Path

from concerto_ros.config.tree import read_plain_yaml
from concerto_ros.errors import ConfigError
from concerto_ros.rooms.classes import ROOM_CLASSES

_OURS = Path(__file__).with_name('meanings.yaml')


class Meanings:
    """What else texts name, besides the class that they are listed for.

    Args:
        also: Further classes by text.
    """

    def __init__(self, also: Mapping[str, frozenset[str]]) -> None:
        self.also = also

    @classmethod
    def ours(cls) -> 'Meanings':
        """Read meanings.yaml.

        Raises:
            ConfigError: It names a class that no room has.
        """
        values = read_plain_yaml(_OURS)
        also = {t: frozenset(c.strip() for c in str(v).split(',')) for t, v in values.items()}
        unknown = sorted(set().union(*also.values()) - set(ROOM_CLASSES))
        if unknown:
            raise ConfigError(f'{_OURS}: no room has a {", ".join(unknown)}')
        return cls(also)

    def named_by(self, text: str, name: str) -> frozenset[str]:
        """Return all classes that a text means which is listed for a class."""
        return self.also.get(text, frozenset()) | {name}

    def akin(self, name: str, other: str) -> bool:
        """Say whether the name of one class is used for the other, too: chair, armchair."""
        return other in self.named_by(name, name) or name in self.named_by(other, other)
