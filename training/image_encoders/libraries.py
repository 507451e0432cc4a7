"""What may go wrong with the libraries of image encoders, told alike for all of them."""

import difflib
import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from concerto_ros.errors import BackendUnavailable, CheckpointError, ConfigError
from concerto_ros.torchvision_beside_cpu import declare_operators


def import_library(module: str, package: str) -> Any:
    """Import a library that builds upon torchvision.

    Args:
        module: Its name in Python.
        package: Its name for pip.

    Raises:
        BackendUnavailable: It is not installed, or does not fit torch.
    """
    declare_operators()
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as err:  # a torchvision that does not fit: RuntimeError
        raise BackendUnavailable(
            f'image encoders of {module} need its package: pip install {package} ({err})'
        ) from err


def unknown_model(module: str, model: str, known: Sequence[str]) -> ConfigError:
    """Return the error of a model that a library does not have, with those of like names."""
    near = ', '.join(difflib.get_close_matches(model, known)) or 'none'
    return ConfigError(f'{module} has no model "{model}"; near are {near}')


@contextmanager
def loading_weights(name: str, local_form: str) -> Iterator[None]:
    """Tell what fails while a library gets weights, with the cures.

    Args:
        name: Of the image encoder, as in the settings.
        local_form: How such a name is written with a file.

    Raises:
        CheckpointError: The weights cannot be had, or are of another model.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as err:
        reason = (str(err).strip() or type(err).__name__).splitlines()[0]
        raise CheckpointError(
            f'the weights of {name} cannot be loaded ({reason}): connect to the internet once, '
            f'set HF_HOME to a folder that holds them, or give a file as {local_form}'
        ) from err


def no_places(name: str) -> ConfigError:
    """Return the error of a network whose output does not tell where in the image it is from."""
    return ConfigError(
        f'{name} makes neither one token per square patch nor maps of stages; choose one such as '
        'timm:vit_small_patch14_reg4_dinov2.lvd142m or timm:convnext_tiny.dinov3_lvd1689m'
    )
