"""Lets a torchvision be imported whose compiled operators do not fit the installed torch."""

import importlib.util
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from pathlib import Path
from typing import Any

import torch

_torch: Any = torch  # Library and load_library have no types
# What torchvision 0.28 describes to torch while it is imported, whether it was loaded or not.
_SCHEMAS = {
    name: f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'
    for name in ('nms', 'qnms')
}
_declared: list[Any] = []  # torch forgets the operators with these objects


def declare_operators() -> bool:
    """Make `import torchvision` possible where its compiled operators cannot be loaded.

    PyPI has torchvision for CUDA only. Beside a torch for CPUs, importing it ends in "operator
    torchvision::nms does not exist", and with it timm, open_clip and transformers, which need
    nothing of it but image transforms. Call this before importing one of them. It changes
    nothing where torchvision is absent, imported already, or fits.

    Returns:
        Whether operators had to be declared; calling these fails, importing works.
    """
    spec = importlib.util.find_spec('torchvision') if 'torchvision' not in sys.modules else None
    if spec is None or operators_load(Path((spec.submodule_search_locations or [''])[0])):
        return False
    missing = [s for name, s in _SCHEMAS.items() if not hasattr(torch.ops.torchvision, name)]
    if missing:
        library = _torch.library.Library('torchvision', 'FRAGMENT')
        _declared.append(library)
        for schema in missing:
            library.define(schema)
    return bool(missing)


def operators_load(folder: Path) -> bool:
    """Tell whether the compiled operators of the torchvision in a folder fit this torch."""
    finder = FileFinder(str(folder), (ExtensionFileLoader, EXTENSION_SUFFIXES))
    extension = finder.find_spec('_C')
    if extension is None or extension.origin is None:
        return False
    try:
        _torch.ops.load_library(extension.origin)
    except OSError:
        return False
    return True
