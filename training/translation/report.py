"""What the training of a translator leaves behind: a table for people, and all that made it."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from concerto_ros.config.tree import Value
from training.evaluation.metrics import Scores
from training.translation.class_texts import ClassTexts

_MEANS = ('miou', 'macc', 'allacc', 'miou_of_present', 'macc_of_present')


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Whether probabilities mean what they say, on voxels of the validation scenes.

    Attributes:
        trained_scale: Factor from cosine to logit after training.
        fitted_scale: The one fitted on these voxels, which the translator has now.
        error_before: Expected calibration error with the first, 0..1.
        error_after: With the second.
    """

    trained_scale: float
    fitted_scale: float
    error_before: float
    error_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslationResult:
    """A translator's worth and where it comes from.

    Attributes:
        scores: Over all raw points of the validation scenes, by how classes were called.
        names: Of the classes.
        texts: By which they were called.
        left_out: Texts that the encoder does not know.
        calibration: With the names.
        num_scenes: For training and for validation.
        text_encoder: Name of the space.
        backbone: Digest of the weights whose features are translated.
        data_hash: SHA-256 of the files that were read.
        settings: Effective ones by dotted name, the seed among them.
        code: Versions and git hash.
        node: Parameters with which the node uses it; none if it cannot.
    """

    scores: dict[str, Scores]
    names: tuple[str, ...]
    texts: tuple[ClassTexts, ...]
    left_out: tuple[str, ...]
    calibration: Calibration
    num_scenes: tuple[int, int]
    text_encoder: str
    backbone: str
    data_hash: str
    settings: dict[str, Value]
    code: dict[str, str]
    node: dict[str, str]

    def table(self) -> str:
        """Return IoU of each class in percent by how it was called, means, and calibration."""
        scores = list(self.scores.values())
        num_points = scores[0].num_points
        of_all = f'mean of all {len(self.names)}'
        of_present = f'mean of the {int((num_points > 0).sum())} in the truth'
        lines = [
            f'| IoU of the class called by its | {" | ".join(self.scores)} | points |',
            f'|---{"|---" * len(scores)}|---|',
        ]
        for place, name in enumerate(self.names):
            lines.append(_row(name, [s.iou[place] for s in scores], str(num_points[place])))
        lines += [
            _row(of_all, [s.miou for s in scores], str(num_points.sum())),
            _row(of_present, [s.miou_of_present for s in scores]),
            _row(f'hit rate, {of_present}', [s.macc_of_present for s in scores]),
            _row('hit rate, all points', [s.allacc for s in scores]),
        ]
        c = self.calibration
        return '\n'.join(lines) + (
            f'\n\nExpected calibration error of names: {100 * c.error_before:.2f} % as trained '
            f'(scale {c.trained_scale:.1f}), {100 * c.error_after:.2f} % with the scale fitted on '
            f'these scenes ({c.fitted_scale:.1f}).\n'
        )

    def for_the_node(self) -> str:
        """Return the sentence that tells how the node uses it."""
        if not self.node:
            return 'this is not for the node: the weights of the backbone are random\n'
        parameters = ' '.join(f'{name}={value}' for name, value in self.node.items())
        return f'for the node: {parameters}\n'

    def write(self, folder: Path) -> None:
        """Write table.md and results.json."""
        (folder / 'table.md').write_text(self.table())
        (folder / 'results.json').write_text(json.dumps(self._content(), indent=1) + '\n')

    def _content(self) -> dict[str, Any]:
        texts = zip(self.names, self.texts, strict=True)
        return {
            'scores': {called: self._score(scores) for called, scores in self.scores.items()},
            'calibration': asdict(self.calibration),
            'texts': {name: own._asdict() for name, own in texts},
            'left_out': self.left_out,
            'num_train_scenes': self.num_scenes[0],
            'num_validation_scenes': self.num_scenes[1],
            'text_encoder': self.text_encoder,
            'backbone': self.backbone,
            'data_hash': self.data_hash,
            'code': self.code,
            'settings': self.settings,
            'node': self.node,
        }

    def _score(self, scores: Scores) -> dict[str, Any]:
        classes = zip(self.names, scores.iou.tolist(), scores.accuracy.tolist(), strict=True)
        return {
            **{mean: getattr(scores, mean) for mean in _MEANS},
            'classes': {name: {'iou': iou, 'hit_rate': rate} for name, iou, rate in classes},
        }


def _row(name: str, shares: Iterable[float], count: str = '') -> str:
    percent = ' | '.join(f'{100 * share:.2f}' for share in shares)
    return f'| {name} | {percent} | {count} |'
