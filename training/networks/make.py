"""Makes the U-Net that settings name."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from concerto_ros.errors import ConfigError
from training import backbone_sizes
from training.config import BackboneSection
from training.networks import hunet_config
from training.networks.concerto_unet import ConcertoUNet
from training.networks.config import NetworkSection
from training.networks.hunet import HUNet
from training.networks.unet import UNet

T = TypeVar('T')


def make_network(section: NetworkSection) -> UNet:
    """Return a new network with random weights.

    Raises:
        ConfigError: There is no such size.
    """
    return _hunet(section) if section.kind == 'hunet' else _concerto(section)


def _hunet(section: NetworkSection) -> UNet:
    config = _find(section, hunet_config.SIZES)
    return HUNet(replace(config, drop_path=section.drop_path))


def _concerto(section: NetworkSection) -> UNet:
    _find(section, backbone_sizes.SIZES)
    named = BackboneSection(size=section.size, drop_path=section.drop_path)  # type: ignore[arg-type]
    return ConcertoUNet(backbone_sizes.backbone_config(named))


def _find(section: NetworkSection, sizes: Mapping[str, T]) -> T:
    if section.size not in sizes:
        raise ConfigError(
            f'network.size of {section.kind} must be one of {", ".join(sizes)}, '
            f'got {section.size!r}'
        )
    return sizes[section.size]
