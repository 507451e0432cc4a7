"""The table of a comparison: means over seeds, and differences with their intervals."""

import json
from statistics import mean

from training.comparison.config import CompareConfig
from training.interval import interval

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


def write_report(config: CompareConfig) -> str:
    """Write report.md and return it."""
    scores = {row: [_score(config, row, seed) for seed in config.seeds] for row in ROWS}
    lines = ['| features | mIoU | mAcc | allAcc | of each seed |', '|---|---|---|---|---|']
    for row, title in ROWS.items():
        columns = [mean([s[key] for s in scores[row]]) for key in
                   ('miou_of_present', 'macc_of_present', 'allacc')]  # fmt: skip
        each = ' '.join(f'{100 * s["miou_of_present"]:.2f}' for s in scores[row])
        lines.append(f'| {title} | ' + ' | '.join(f'{100 * c:.2f}' for c in columns)
                     + f' | {each} |')  # fmt: skip
    lines += ['', '| difference of mIoU | mean | 95 % interval over seeds |', '|---|---|---|']
    for first, second in DIFFERENCES:
        pairs = zip(scores[first], scores[second], strict=True)
        deltas = [100 * (a['miou_of_present'] - b['miou_of_present']) for a, b in pairs]
        low, high = interval(deltas)
        lines.append(f'| {first} - {second} | {mean(deltas):+.2f} | {low:+.2f} .. {high:+.2f} |')
    text = '\n'.join(lines) + '\n'
    (config.folder / 'report.md').write_text(text)
    return text


def _score(config: CompareConfig, row: str, seed: int) -> dict[str, float]:
    text = (config.probe_of(row, seed) / 'results.json').read_text()
    return dict(json.loads(text))
