"""What the comparison with masked scene modelling found: a table, and which claims hold."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from statistics import mean, stdev

from training.comparison.masked_config import U_NETS, CompareMaskedConfig, Judged
from training.comparison.masked_scores import COLUMNS, Scores, read_scores
from training.interval import interval

_OF_ALL = tuple(column for column in COLUMNS if column.levels == 'all')
_HOLDS, _NOT, _OPEN = 'holds', 'does not hold', 'is open'


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What is better by how much.

    Attributes:
        name: Of what is subtracted from what.
        values: Of each seed [%].
    """

    name: str
    values: tuple[float, ...]

    @property
    def verdict(self) -> str:
        """Whether the first is better, by the interval over seeds."""
        low, high = interval(self.values)
        return _HOLDS if low > 0 else _NOT if high < 0 else _OPEN

    def row(self) -> str:
        """Return the row of the table."""
        low, high = interval(self.values)
        between = f'{low:+.2f} .. {high:+.2f}' if len(self.values) > 1 else 'one seed'
        return f'| {self.name} | {mean(self.values):+.2f} | {between} | {self.verdict} |'


def write_report(config: CompareMaskedConfig) -> str:
    """Write report.md and return it.

    Raises:
        ConfigError: Results of an arm are incomplete.
    """
    scores = {
        judged: read_scores([config.results_of(judged, seed) for seed in config.jobs.numbers])
        for judged in config.protocol.judged
    }
    text = report(scores)
    (config.folder / 'report.md').write_text(text)
    return text


def report(scores: Mapping[Judged, Scores]) -> str:
    """Return what was found as Markdown.

    Args:
        scores: Of the same seeds everywhere.
    """
    claims = {
        'Hierarchical features beat those of the last level': list(_levels(scores)),
        'Masked scene modelling beats the prediction of colours and normals': list(
            _against(scores, 'shallow')
        ),
        'Masked scene modelling beats its network untrained': list(_against(scores, 'unet')),
    }
    others = [d for arm in ('points', 'joint', 'random') for d in _against(scores, arm)]
    return '\n'.join([
        *_table(scores), '',
        *(f'* {claim}: this {_verdict(found)}' for claim, found in claims.items()), '',
        '| difference of mIoU | mean | 95 % interval over seeds | |',
        '|---|---|---|---|',
        *(difference.row() for difference in chain(*claims.values(), others)),
    ]) + '\n'  # fmt: skip


def _table(scores: Mapping[Judged, Scores]) -> Iterator[str]:
    yield f'| features | parameters | {" | ".join(column.title for column in COLUMNS)} |'
    yield '|---' * (2 + len(COLUMNS)) + '|'
    for judged, found in scores.items():
        cells = (_cell(found.miou[column]) for column in COLUMNS)
        yield f'| {judged.title} | {found.parameters:,} | {" | ".join(cells)} |'


def _cell(values: Sequence[float]) -> str:
    """Return mean and standard deviation, and each seed."""
    each = ' '.join(f'{value:.2f}' for value in values)
    spread = f' +- {stdev(values):.2f}' if len(values) > 1 else ''
    return f'{mean(values):.2f}{spread} ({each})'


def _levels(scores: Mapping[Judged, Scores]) -> Iterator[Difference]:
    """Yield what all levels bring beside the last one, by what is judged and probe."""
    for judged, (_, miou) in scores.items():
        for column in _OF_ALL:
            pair = miou[column], miou[column._replace(levels='last')]
            yield _difference(f'{judged.name}: {column.title} - last', *pair)


def _against(scores: Mapping[Judged, Scores], arm: str) -> Iterator[Difference]:
    """Yield what masked scene modelling brings beside another arm, by probe of all levels.

    Parts of U-Nets are compared with the same part; an encoder alone with either.
    """
    for ours, other in product(scores, scores):
        is_fair = arm not in U_NETS or ours.part == other.part
        if (ours.arm, other.arm) == ('msm', arm) and is_fair:
            for column in _OF_ALL:
                pair = scores[ours].miou[column], scores[other].miou[column]
                yield _difference(f'{ours.name} - {other.name}: {column.title}', *pair)


def _difference(name: str, first: Sequence[float], second: Sequence[float]) -> Difference:
    values = tuple(a - b for a, b in zip(first, second, strict=True))
    return Difference(name=name, values=values)


def _verdict(differences: Sequence[Difference]) -> str:
    """Say whether a claim holds everywhere, fails somewhere, or neither; the table says where."""
    if not differences:
        return 'was not measured.'
    number = Counter(difference.verdict for difference in differences)
    whole = next(verdict for verdict in (_NOT, _OPEN, _HOLDS) if number[verdict])
    return (
        f'{whole}; of {len(differences)} intervals {number[_HOLDS]} lie above zero, '
        f'{number[_NOT]} below.'
    )
