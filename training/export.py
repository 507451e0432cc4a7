"""Take the backbone out of a state of training, in the format that the node loads.

python -m training.export runs/joint -o backbone.safetensors            # the student
python -m training.export runs/joint/last.pth -o t.pth --network teacher
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from concerto_ros.errors import CheckpointError, ConcertoError
from concerto_ros.model import CheckpointReport, load_checkpoint, save_checkpoint
from concerto_ros.weights_file import read_weights, write_weights
from training.checkpoint import LAST


def export(source: Path, target: Path, network: str = 'student') -> CheckpointReport:
    """Write one backbone of a training checkpoint in the published format.

    Args:
        source: A state of ours or its folder, a published training checkpoint, or any file of
            one backbone.
        target: .pth or .safetensors.
        network: 'student' or 'teacher'; of a file that holds only one backbone, that one.

    Raises:
        CheckpointError: The source is damaged or holds no such network, or the target cannot be
            written.
    """
    source = source / LAST if source.is_dir() and (source / LAST).exists() else source
    config, tensors = read_weights(source)
    own = {name: t for name, t in tensors.items() if f'.{network}.' in f'.{name}'}
    if not own and network == 'teacher':
        raise CheckpointError(f'{source}: holds no teacher, found {sorted(tensors)[:5]}')
    selected = target.with_name(f'.{network}_{target.name}')
    write_weights(selected, config, own or tensors)
    try:
        model, report = load_checkpoint(selected)
        save_checkpoint(model, target)
    finally:
        selected.unlink()
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog='python -m training.export', description=__doc__)
    parser.add_argument('source', type=Path, help='folder or checkpoint of a run')
    parser.add_argument('-o', '--output', type=Path, required=True, help='.pth or .safetensors')
    parser.add_argument('--network', choices=('student', 'teacher'), default='student')
    args = parser.parse_args(argv)
    try:
        report = export(args.source, args.output, args.network)
    except ConcertoError as err:
        print(f'export: {err}', file=sys.stderr)
        return 2
    print(f'{args.output}: the {args.network}, {report.num_parameters / 1e6:.1f} M parameters')
    return 0


if __name__ == '__main__':
    sys.exit(main())
