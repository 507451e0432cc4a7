"""What is printed of an answer."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

from concerto_ros.structures import ObjectHit, SearchResult

_TITLES = ('', 'label', 'score', 'center [m]', 'box [m]', 'points', 'first seen', 'last seen')
_LEFT = (1, 6, 7)  # columns of words; numbers stand at the right
_LONGEST = 40  # of a label
_YEAR_2000_NS = 946_684_800 * 10**9


def print_answer(text: str, result: SearchResult, *, has_region: bool) -> None:
    """Print the verdict and a table of the objects, or a sentence where there are none."""
    where = 'region' if has_region else 'map'
    print(
        f'"{text}"  {result.verdict.upper()}  {result.observed_share:.0%} of the {where} observed'
    )
    if result.objects:
        rows = [_TITLES, *(_row(rank, hit) for rank, hit in enumerate(result.objects, start=1))]
        print('\n'.join(_lines(rows)))
    else:
        print(f'  {_sentence(result, where)}')


def _sentence(result: SearchResult, where: str) -> str:
    if result.verdict == 'absent':
        return f'Nothing that has been observed of the {where} fits well enough.'
    return (
        f'Nothing fits so far, but too little of the {where} has been observed to call it absent.'
    )


def _row(rank: int, hit: ObjectHit) -> tuple[str, ...]:
    label = hit.label if len(hit.label) <= _LONGEST else hit.label[: _LONGEST - 1] + '…'
    return (
        str(rank),
        label,
        f'{hit.score:.2f}',
        ' '.join(f'{v:6.2f}' for v in hit.center),
        ' x '.join(f'{v:.2f}' for v in hit.box.size),
        f'{hit.num_points:,}',
        _time(hit.first_seen_ns),
        _time(hit.last_seen_ns),
    )


def _time(stamp_ns: int) -> str:
    """Return a date, or seconds where the clock did not know the date."""
    if stamp_ns < _YEAR_2000_NS:
        return f'{stamp_ns / 1e9:.2f} s'
    time = datetime.fromtimestamp(stamp_ns // 10**9, tz=timezone.utc)
    return f'{time:%Y-%m-%d %H:%M:%S}Z'


def _lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows of a table, its columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if number in _LEFT else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield '  ' + '  '.join(cells).rstrip()
