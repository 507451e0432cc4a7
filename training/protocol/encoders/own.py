"""Encoders that are anybody's Python, named as MODULE:FUNCTION."""

from collections.abc import Callable
from importlib import import_module
from inspect import signature

import torch

from concerto_ros.errors import ConfigError
from training.protocol.hierarchy import HierarchicalEncoder


def make_own(asked: str, place: str, device: torch.device) -> HierarchicalEncoder:
    """Return what FUNCTION(device) gives; whether that is an encoder is not looked at.

    Args:
        asked: The whole name, for the message.
        place: MODULE:FUNCTION.
        device: Where the encoder shall run.

    Raises:
        ConfigError: There is no such function, or it does not take a device.
    """
    make = _found(asked, place)
    if not callable(make):
        raise ConfigError(
            f'{asked}: is {type(make).__name__} and cannot be called: name a function or class '
            'that takes a device and gives the encoder'
        )
    try:
        signature(make).bind(device)
    except TypeError as err:
        raise ConfigError(
            f'{asked}: cannot be called with a device alone ({err}): let it take the torch.device '
            'as its one argument'
        ) from err
    except ValueError:
        pass  # what is not written in Python may not tell its arguments
    return make(device)


def _found(asked: str, place: str) -> Callable[[torch.device], HierarchicalEncoder]:
    module, _, function = place.partition(':')
    if not function:
        raise ConfigError(f'{asked}: FUNCTION is missing: write python:MODULE:FUNCTION')
    try:
        if not all(part.isidentifier() for part in module.split('.')):
            raise ImportError(f'"{module}" is no name of a module')
        make: Callable[[torch.device], HierarchicalEncoder] = getattr(
            import_module(module), function
        )
    except (ImportError, AttributeError) as err:
        raise ConfigError(
            f'{asked}: cannot be imported ({err}): write python:MODULE:FUNCTION, with a '
            'module in the current folder or in one that PYTHONPATH names'
        ) from err
    return make
