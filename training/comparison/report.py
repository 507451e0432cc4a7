"""The table of a comparison: means over seeds, and differences with their intervals."""

import json
import math
from collections.abc import Sequence

from training.comparison.config import CompareConfig

ROWS = {
    'raw': 'raw colour, normal, height',
    'random': 'random weights',
    'points': 'points alone (self-distillation)',
    'lifted': 'image features, lifted',
    'concat': 'points alone and lifted, side by side',
    'joint': 'joint',
}
DIFFERENCES = (('joint', 'concat'), ('joint', 'points'), ('joint', 'lifted'),
               ('concat', 'points'), ('concat', 'lifted'), ('points', 'random'))  # fmt: skip
# 97.5 % quantile of Student's t by degrees of freedom; the last one for more of them too.
_T = (math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201,
      2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064,
      2.060, 2.056, 2.052, 2.048, 2.045, 2.042)  # fmt: skip


def write_report(config: CompareConfig) -> str:
    """Write report.md and return it."""
    scores = {row: [_score(config, row, seed) for seed in config.seeds] for row in ROWS}
    lines = ['| features | mIoU | mAcc | allAcc | of each seed |', '|---|---|---|---|---|']
    for row, title in ROWS.items():
        columns = [_mean([s[key] for s in scores[row]]) for key in
                   ('miou_of_present', 'macc_of_present', 'allacc')]  # fmt: skip
        each = ' '.join(f'{100 * s["miou_of_present"]:.2f}' for s in scores[row])
        lines.append(f'| {title} | ' + ' | '.join(f'{100 * c:.2f}' for c in columns)
                     + f' | {each} |')  # fmt: skip
    lines += ['', '| difference of mIoU | mean | 95 % interval over seeds |', '|---|---|---|']
    for first, second in DIFFERENCES:
        pairs = zip(scores[first], scores[second], strict=True)
        deltas = [100 * (a['miou_of_present'] - b['miou_of_present']) for a, b in pairs]
        low, high = interval(deltas)
        lines.append(f'| {first} - {second} | {_mean(deltas):+.2f} | {low:+.2f} .. {high:+.2f} |')
    text = '\n'.join(lines) + '\n'
    (config.folder / 'report.md').write_text(text)
    return text


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean by Student's t; infinite for a single value."""
    mean, num = _mean(values), len(values)
    if num < 2:
        return -math.inf, math.inf
    variance = sum((v - mean) ** 2 for v in values) / (num - 1)
    half = _T[min(num - 1, len(_T) - 1)] * math.sqrt(variance / num)
    return mean - half, mean + half


def _score(config: CompareConfig, row: str, seed: int) -> dict[str, float]:
    text = (config.probe_of(row, seed) / 'results.json').read_text()
    return dict(json.loads(text))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
