"""TrainedWeights: the network with what reads its features, checked against each other."""

import dataclasses
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from concerto_ros import box
from concerto_ros.config.schema import SemanticsConfig
from concerto_ros.errors import BackendUnavailable, CheckpointError
from concerto_ros.model import PointTransformerV3, load_checkpoint, weights_digest
from concerto_ros.model.attention import use_attention
from concerto_ros.model.attention_backend import select_attention
from concerto_ros.model.precision import DTYPES
from concerto_ros.model.sparse_conv import select_backend, use_backend
from concerto_ros.semantics import ClassHead, TextEncoder, Translator, load_text_encoder

_Linear = TypeVar('_Linear', ClassHead, Translator)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Language:
    """What reads texts.

    Attributes:
        translator: From features to the space of texts.
        encoder: Of texts.
        file: Name or file of the translator.
        names: The vocabulary to begin with; empty: none.
    """

    translator: Translator
    encoder: TextEncoder
    file: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedWeights:
    """All that was trained.

    Attributes:
        backbone: The network; None: a map is only read.
        digest: Of its weights.
        stride: Cells along the edge of one of the next level.
        widths: Channels of its features, level by level.
        voxel_size: Edge length of the voxels that it was trained on [m]; None: unknown.
        head: Its classes; None: none.
        language: None: no language model.
        no_language: Why there is none.
        notices: Sentences for people about what was loaded.
    """

    backbone: PointTransformerV3 | None
    digest: str
    stride: tuple[int, ...]
    widths: tuple[int, ...]
    voxel_size: float | None
    head: ClassHead | None
    language: Language | None
    no_language: str
    notices: tuple[str, ...]

    @classmethod
    def load(cls, config: SemanticsConfig, device: torch.device) -> 'TrainedWeights':
        """Load what the settings name.

        Raises:
            CheckpointError: A file is missing, damaged, or does not fit the others.
            ConfigError: The text encoder is named in a way that is not understood.
            BackendUnavailable: The text encoder's package or weights are missing, or what is to
                compute convolutions or attention cannot run on the device.
        """
        backbone, report = load_checkpoint(config.checkpoint)
        convolution = select_backend(config.convolution, device)
        attention = select_attention(config.attention, device, DTYPES[config.precision])
        use_backend(backbone, convolution)
        use_attention(backbone, attention)
        backbone = backbone.to(device)
        digest = weights_digest(backbone)
        notices = [str(report), convolution.notice, attention.notice]
        head = _head(config, backbone, digest, device)
        language, reason = _language(config, backbone, digest, head, device)
        if reason:
            notices.append(reason)
        return cls(
            backbone=backbone,
            digest=digest,
            stride=backbone.config.stride,
            widths=backbone.config.enc_channels,
            voxel_size=report.voxel_size,
            head=head,
            language=language,
            no_language='' if language else reason,
            notices=tuple(notices),
        )


def _head(
    config: SemanticsConfig, backbone: PointTransformerV3, digest: str, device: torch.device
) -> ClassHead | None:
    file = box.resolve(config.head, config.checkpoint, box.HEAD)
    if not file:
        return None
    head = ClassHead.load(file)
    _check_width('head', file, head.weight, backbone)
    head.check_backbone(digest)
    return _on_device(head, device)


def _language(
    config: SemanticsConfig,
    backbone: PointTransformerV3,
    digest: str,
    head: ClassHead | None,
    device: torch.device,
) -> tuple[Language | None, str]:
    """Return the language model, if there is one, and a sentence about it or its absence."""
    file = box.resolve(config.translator, config.checkpoint, box.TRANSLATOR)
    if not file:
        return None, ''
    translator = Translator.load(file)
    _check_width('translator', file, translator.weight, backbone)
    translator, notice = _on_device(translator, device), ''
    if translator.backbone:
        translator.check_backbone(digest)
    else:
        notice = (
            f'{file} does not say which backbone it was trained on: labels and search by text '
            f'mean nothing if it was another than {config.checkpoint}'
        )
    try:
        encoder = load_text_encoder(config.text_encoder or translator.text_encoder)
    except BackendUnavailable as err:
        if config.translator != box.AUTO or config.text_encoder:
            raise
        return None, f'no language model is loaded: {err}'
    translator.check_encoder(encoder)
    names = [name.strip() for name in config.vocabulary.split(',') if name.strip()]
    names = names or list(translator.names) or (list(head.names) if head else [])
    return (
        Language(translator=translator, encoder=encoder, file=file, names=tuple(names)),
        notice,
    )


def _check_width(kind: str, path: str, weight: Tensor, backbone: PointTransformerV3) -> None:
    """Refuse weights of another backbone at the start, not at the first frame."""
    width = backbone.config.out_channels
    if weight.shape[1] != width:
        raise CheckpointError(
            f'{path} was made for features of {weight.shape[1]} channels, this backbone has '
            f'{width}: use a {kind} that was trained on it'
        )


def _on_device(linear: _Linear, device: torch.device) -> _Linear:
    """Move the weights of a head or translator, so that they are not copied for every window."""
    return dataclasses.replace(
        linear, weight=linear.weight.to(device), bias=linear.bias.to(device)
    )
