"""What a search goes by of the settings that a map was made with."""

from collections.abc import Mapping

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import Value, build, flatten

_SECTION, _OTHER = 'search.', ('semantics.min_confidence',)


def search_settings(settings: Mapping[str, Value]) -> ConcertoConfig:
    """Return the section "search" and the least confidence of a label; the rest are defaults.

    Args:
        settings: By dotted name; those that this version does not know do no harm.

    Raises:
        ConfigError: A value is out of range.
    """
    known = {p.name for p in flatten(ConcertoConfig())}
    names = {name for name in known if name.startswith(_SECTION) or name in _OTHER}
    return build(
        ConcertoConfig, {name: value for name, value in settings.items() if name in names}
    )
