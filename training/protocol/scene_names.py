"""Scenes by the names that lists give them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from concerto_ros.errors import ConfigError


class SceneNames:
    """Numbers of scenes by any end of the path of their folder that no other scene has.

    Rooms of several areas may share their name; then it takes the name of the area too.

    Args:
        paths: Folder of each scene, all different, with slashes.

    Attributes:
        short: Shortest name of each scene, such as scene0000_00, or Area_1/office_1.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._owners: dict[str, list[int]] = defaultdict(list)
        for number, path in enumerate(paths):
            for name in _ends(path):
                self._owners[name].append(number)
        self.short = [
            next(name for name in _ends(path) if len(self._owners[name]) == 1) for path in paths
        ]

    def number(self, name: str) -> int | None:
        """Return the number of the scene of a name; None if there is none.

        Raises:
            ConfigError: Several scenes have it.
        """
        owners = self._owners.get(name, [])
        if len(owners) > 1:
            choice = ', '.join(self.short[number] for number in owners)
            raise ConfigError(f'several scenes are named {name}: list them as {choice}')
        return owners[0] if owners else None


def _ends(path: str) -> Iterator[str]:
    parts = path.split('/')
    return ('/'.join(parts[start:]) for start in reversed(range(len(parts))))
