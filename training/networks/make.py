"""Makes the U-Net that settings name."""

from concerto_ros.errors import ConfigError
from training.backbone_sizes import SIZES, backbone_config
from training.config import BackboneSection
from training.masked_scene.config import NetworkSection
from training.networks.concerto_unet import ConcertoUNet
from training.networks.unet import UNet


def make_network(section: NetworkSection) -> UNet:
    """Return a new network with random weights.

    Raises:
        ConfigError: There is no such size.
    """
    return _concerto(section)


def _concerto(section: NetworkSection) -> UNet:
    for size in SIZES:
        if size == section.size:
            named = BackboneSection(size=size, drop_path=section.drop_path)  # type: ignore[arg-type]
            return ConcertoUNet(backbone_config(named))
    raise ConfigError(
        f'network.size of concerto must be one of {", ".join(SIZES)}, got {section.size!r}'
    )
