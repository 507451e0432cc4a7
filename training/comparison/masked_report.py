"""What the comparison with masked scene modelling found: a table, and what holds of two claims."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from training.comparison.masked_config import ARMS, CompareMaskedConfig
from training.comparison.masked_scores import COLUMNS, Column, read_scores
from training.comparison.report import interval

Scores = Mapping[str, Mapping[Column, Sequence[float]]]  # mIoU [%] of each seed
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
        arm: read_scores([config.results_of(arm, seed) for seed in config.jobs.numbers])
        for arm in config.protocol.names
    }
    text = report(scores)
    (config.folder / 'report.md').write_text(text)
    return text


def report(scores: Scores) -> str:
    """Return what was found as Markdown.

    Args:
        scores: mIoU [%] of each seed, by arm and column; the same seeds everywhere.
    """
    levels = list(_levels(scores))
    targets = list(_against(scores, 'shallow'))
    others = [d for arm in ('points', 'joint', 'random') for d in _against(scores, arm)]
    claims = {
        'Hierarchical features beat those of the last level': levels,
        'Masked scene modelling beats the prediction of colours and normals': targets,
    }
    return '\n'.join([
        *_table(scores), '',
        *(f'* {claim}: this {_verdict(found)}' for claim, found in claims.items()), '',
        '| difference of mIoU | mean | 95 % interval over seeds | |',
        '|---|---|---|---|',
        *(difference.row() for difference in [*levels, *targets, *others]),
    ]) + '\n'  # fmt: skip


def _table(scores: Scores) -> Iterator[str]:
    yield f'| features | {" | ".join(column.title for column in COLUMNS)} |'
    yield '|---' * (1 + len(COLUMNS)) + '|'
    for arm, found in scores.items():
        cells = (_cell(found[column]) for column in COLUMNS)
        yield f'| {ARMS[arm]} | {" | ".join(cells)} |'


def _cell(values: Sequence[float]) -> str:
    """Return mean and standard deviation, and each seed."""
    each = ' '.join(f'{value:.2f}' for value in values)
    spread = f' +- {stdev(values):.2f}' if len(values) > 1 else ''
    return f'{mean(values):.2f}{spread} ({each})'


def _levels(scores: Scores) -> Iterator[Difference]:
    """Yield what all levels bring beside the last one, by arm and probe."""
    for arm, found in scores.items():
        for column in _OF_ALL:
            pair = found[column], found[column._replace(levels='last')]
            yield _difference(f'{arm}: {column.title} - last', *pair)


def _against(scores: Scores, arm: str) -> Iterator[Difference]:
    """Yield what masked scene modelling brings beside another arm, by probe of all levels."""
    if {'msm', arm} <= set(scores):
        for column in _OF_ALL:
            pair = scores['msm'][column], scores[arm][column]
            yield _difference(f'msm - {arm}: {column.title}', *pair)


def _difference(name: str, first: Sequence[float], second: Sequence[float]) -> Difference:
    values = tuple(a - b for a, b in zip(first, second, strict=True))
    return Difference(name=name, values=values)


def _verdict(differences: Sequence[Difference]) -> str:
    """Say whether a claim holds everywhere, fails somewhere, or neither, and where."""
    if not differences:
        return 'was not measured.'
    by = {
        verdict: [d.name for d in differences if d.verdict == verdict]
        for verdict in (_HOLDS, _NOT, _OPEN)
    }
    whole = _NOT if by[_NOT] else _OPEN if by[_OPEN] else _HOLDS
    told = f'{whole}; {len(by[_HOLDS])} of {len(differences)} intervals lie above zero'
    below = f', below zero {", ".join(by[_NOT])}' if by[_NOT] else ''
    unsure = f', open {", ".join(by[_OPEN])}' if by[_OPEN] else ''
    return f'{told}{below}{unsure}.'
