"""Take the backbone out of a state of training, in the format that the node loads.

python -m training.export runs/joint -o backbone.safetensors            # the student
python -m training.export runs/joint/last.pth -o t.pth --network teacher
python -m training.export runs/joint -o small.safetensors --half
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from concerto_ros.errors import CheckpointError, ConcertoError
from concerto_ros.model import (
    CheckpointReport,
    PointTransformerV3,
    load_checkpoint,
    save_checkpoint,
)
from training.checkpoint import state_file
from training.weights_kind import WHAT, kinds_of


def export(
    source: Path, target: Path, network: str = 'student', *, half: bool = False
) -> CheckpointReport:
    """Write one backbone of a training checkpoint in the published format.

    The settings and the origin of the training go with it, which the node reads the voxel size
    from and other loaders of the format pass over.

    Args:
        source: A state of ours or its folder, a published training checkpoint, or any file of
            one backbone.
        target: .pth or .safetensors.
        network: 'student' or 'teacher'; a file that holds only one backbone has a student.
        half: Round to float16, half the size. These are other weights: what is to read their
            features must be trained on the rounded file.

    Raises:
        CheckpointError: The source is missing, damaged or holds no such network, or one that the
            node does not run, a number is too large for float16, or the target cannot be written.
    """
    model, report = _load(state_file(source), network)
    if network == 'teacher' and network not in report.prefix:
        raise CheckpointError(f'{report.path}: holds no teacher, only one backbone')
    if half:
        model = model.half()
        if not all(t.isfinite().all() for t in model.state_dict().values()):
            raise CheckpointError(f'{report.path}: numbers are too large for --half')
    save_checkpoint(model, target, report.origin)
    return report


def _load(path: Path, network: str) -> tuple[PointTransformerV3, CheckpointReport]:
    """Do as `load_checkpoint`, and tell what can be done with networks that the node lacks."""
    try:
        return load_checkpoint(path, network=network)
    except CheckpointError as err:
        kinds = kinds_of(path)
        if not kinds or 'concerto' in kinds:
            raise
        raise CheckpointError(
            f'{path}: is {WHAT[kinds[0]]} with network.kind=hunet, which the node does not run: '
            f'judge it as {kinds[0]}:{path} by training.evaluate, or train one with '
            'network.kind=concerto'
        ) from err


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog='python -m training.export', description=__doc__)
    parser.add_argument('source', type=Path, help='folder or checkpoint of a run')
    parser.add_argument('-o', '--output', type=Path, required=True, help='.pth or .safetensors')
    parser.add_argument('--network', choices=('student', 'teacher'), default='student')
    parser.add_argument('--half', action='store_true', help='round the weights to float16')
    args = parser.parse_args(argv)
    try:
        report = export(args.source, args.output, args.network, half=args.half)
    except ConcertoError as err:
        print(f'export: {err}', file=sys.stderr)
        return 2
    print(f'{args.output}: the {args.network} of {report}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
