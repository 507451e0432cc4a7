"""What a probe leaves behind: a table for people, and a file with all that made it."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from concerto_ros.config.tree import Value
from concerto_ros.errors import ConfigError
from training.evaluation.metrics import Scores

_BLOCK = 1 << 20  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """A probe's outcome and where it comes from.

    Attributes:
        scores: Over all raw points of the validation scenes.
        names: Of the classes.
        source: Name of the features.
        num_channels: Of the features.
        num_scenes: For training and for validation.
        settings: Effective ones by dotted name, the seed among them.
        checkpoint_hash: SHA-256 of the weights' file; empty for random weights.
        data_hash: SHA-256 of the clouds and labels that were read.
        code: Versions and git hash.
        seconds: By stage.
        node: Parameters with which the node does the same; none if it cannot.
    """

    scores: Scores
    names: tuple[str, ...]
    source: str
    num_channels: int
    num_scenes: tuple[int, int]
    settings: dict[str, Value]
    checkpoint_hash: str
    data_hash: str
    code: dict[str, str]
    seconds: dict[str, float]
    node: dict[str, str]

    def table(self) -> str:
        """Return IoU and accuracy of each class in percent, and their means."""
        s = self.scores
        rows = ['| class | IoU | Acc | points |', '|---|---|---|---|']
        for name, iou, accuracy, count in zip(
            self.names, s.iou, s.accuracy, s.num_points, strict=True
        ):
            rows.append(f'| {name} | {100 * iou:.2f} | {100 * accuracy:.2f} | {count} |')
        num_present = int((s.num_points > 0).sum())
        total = int(s.num_points.sum())
        of_all = f'mean of all {len(self.names)}'
        of_present = f'mean of the {num_present} in the truth'
        rows += [
            f'| {of_all} | {100 * s.miou:.2f} | {100 * s.macc:.2f} | {total} |',
            f'| {of_present} | {100 * s.miou_of_present:.2f} | {100 * s.macc_of_present:.2f} | |',
            f'| all points | | {100 * s.allacc:.2f} | |',
        ]
        return '\n'.join(rows) + '\n'

    def for_the_node(self) -> str:
        """Return the sentence that tells what the node can do with what was trained."""
        if self.node:
            parameters = ' '.join(f'{name}={value}' for name, value in self.node.items())
            return f'for the node: {parameters}\n'
        return (
            'nothing of this is for the node, whose heads read the features of all stages of a '
            'backbone with weights, on voxels of the size that it was trained on\n'
        )

    def write(self, folder: Path) -> None:
        """Write table.md and results.json."""
        (folder / 'table.md').write_text(self.table())
        (folder / 'results.json').write_text(json.dumps(self._content(), indent=1) + '\n')

    def _content(self) -> dict[str, object]:
        s = self.scores
        classes = {
            name: {'iou': iou, 'accuracy': accuracy, 'num_points': count}
            for name, iou, accuracy, count in zip(
                self.names, s.iou.tolist(), s.accuracy.tolist(), s.num_points.tolist(), strict=True
            )
        }
        means = ('miou', 'macc', 'allacc', 'miou_of_present', 'macc_of_present')
        return {
            **{name: getattr(s, name) for name in means},
            'classes': classes,
            'source': self.source,
            'num_channels': self.num_channels,
            'num_train_scenes': self.num_scenes[0],
            'num_validation_scenes': self.num_scenes[1],
            'checkpoint_hash': self.checkpoint_hash,
            'data_hash': self.data_hash,
            'code': self.code,
            'seconds': self.seconds,
            'settings': self.settings,
            'node': self.node,
        }


def files_hash(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the contents of files, in this order."""
    digest = hashlib.sha256()
    for path in files:
        with path.open('rb') as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def make_folder(path: str) -> Path:
    """Return a folder that exists.

    Raises:
        ConfigError: It cannot be made.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise ConfigError(f'"run.output" {folder} cannot be made: {err.strerror}') from err
    return folder
