"""Networks of timm: vision transformers (DINOv2, DINOv3, SigLIP ...) and convolutional ones."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from concerto_ros.errors import CheckpointError
from concerto_ros.weights_file import read_weights
from training.image_encoders.encoder import ImageEncoder, PixelStatistics
from training.image_encoders.libraries import (
    import_library,
    loading_weights,
    no_places,
    unknown_model,
)


def load_timm(name: str, image_size: int) -> ImageEncoder:
    """Load timm:MODEL, from the model hub or its cache, or timm:MODEL@FILE.

    Raises:
        ConfigError: timm has no such model, or it makes neither tokens of patches nor maps.
        CheckpointError: The weights cannot be had, or are of another model.
        BackendUnavailable: timm is not installed.
    """
    model, _, file = name.removeprefix('timm:').partition('@')
    timm = import_library('timm', 'timm')
    if not timm.is_model(model):
        raise unknown_model('timm', model, timm.list_models(pretrained=True))
    with loading_weights(name, 'timm:MODEL@FILE'):
        network = _create(timm, model, image_size, pretrained=not file)
    if file:
        _load_file(network, name, file)
    settings = network.pretrained_cfg
    wrap = trunk_encoder if hasattr(network, 'num_prefix_tokens') else _map_encoder
    return wrap(name, network, PixelStatistics(settings['mean'], settings['std']))


def _create(timm: Any, model: str, image_size: int, pretrained: bool) -> Any:
    """Make a network without its classifier; only transformers are made for a size of images."""
    try:
        return timm.create_model(model, pretrained=pretrained, num_classes=0, img_size=image_size)
    except TypeError:
        return timm.create_model(model, pretrained=pretrained, num_classes=0)


def _load_file(network: Any, name: str, file: str) -> None:
    """Load a file in the names of timm or of the authors; all weights must be in it.

    timm's own loading would leave out what does not fit, and go on with random weights.
    """
    if not Path(file).exists():
        raise CheckpointError(
            f'{file}: there is no such file; write that of tf_efficientnet_lite0 with python -m '
            f'training.image_encoders.imagenet_encoder -o {file}, or download those of others'
        )
    tensors = read_weights(file)[1]
    translate = getattr(sys.modules[type(network).__module__], 'checkpoint_filter_fn', None)
    try:
        found = translate(dict(tensors), network) if translate else tensors
        missing = network.load_state_dict(found, strict=False).missing_keys
    except (KeyError, RuntimeError, ValueError) as err:
        raise CheckpointError(f'{file} does not fit {name}: {err}') from err
    if missing:
        raise CheckpointError(
            f'{file} is of another network than {name}: it lacks {len(missing)} of its '
            f'{len(network.state_dict())} weights, such as {missing[0]}'
        )


def trunk_encoder(name: str, network: Any, pixels: PixelStatistics) -> ImageEncoder:
    """Wrap a vision transformer of timm.

    Raises:
        ConfigError: It is no vision transformer with one token per patch.
    """
    patch_size = getattr(getattr(network, 'patch_embed', None), 'patch_size', None)
    if patch_size is None or patch_size[0] != patch_size[1]:
        raise no_places(name)
    if not hasattr(network, 'num_prefix_tokens'):
        raise no_places(name)
    return ImageEncoder(
        name, network, _token_reader(network), patch_size[0], network.num_features,
        architecture=_architecture(network), pixels=pixels,
    )  # fmt: skip


def _map_encoder(name: str, network: Any, pixels: PixelStatistics) -> ImageEncoder:
    """Wrap a convolutional network; the places of the map of its last stage are the tokens.

    Raises:
        ConfigError: It gives no such map.
    """
    if not (hasattr(network, 'forward_intermediates') and getattr(network, 'feature_info', None)):
        raise no_places(name)
    last = network.feature_info[-1]

    def read(images: Tensor) -> Tensor:
        maps = network.forward_intermediates(images, indices=1, intermediates_only=True)
        return maps[0].flatten(2).mT  # type: ignore[no-any-return]

    return ImageEncoder(
        name, network, read, last['reduction'], last['num_chs'],
        architecture=_architecture(network), pixels=pixels,
    )  # fmt: skip


def _architecture(network: Any) -> str:
    return f'timm-{network.pretrained_cfg["architecture"]}'


def _token_reader(network: Any) -> Callable[[Tensor], Tensor]:
    # Models that average their tokens keep the final norm in fc_norm; there is one of the two.
    norm = getattr(network, 'fc_norm', nn.Identity())

    def read(images: Tensor) -> Tensor:
        tokens: Tensor = norm(network.forward_features(images))
        return tokens[:, network.num_prefix_tokens :]

    return read
