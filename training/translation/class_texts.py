"""Texts that name classes, and their directions in the space of a text encoder."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from concerto_ros.config.tree import read_plain_yaml
from concerto_ros.errors import ConfigError, SearchError
from concerto_ros.semantics.prompts import embed_names
from concerto_ros.semantics.text_encoder import TextEncoder

_OURS = Path(__file__).with_name('class_texts.yaml')
_KINDS = _TRAINED, _HELD_OUT, _DESCRIBED = 'texts', 'held_out', 'described'

_log = logging.getLogger(__name__)


class ClassTexts(NamedTuple):
    """What may be said for a class.

    Attributes:
        trained: Its name, then synonyms and descriptions to train with.
        held_out: Synonyms of a word or two, for measuring alone.
        described: Descriptions, for measuring alone.
    """

    trained: tuple[str, ...]
    held_out: tuple[str, ...]
    described: tuple[str, ...] = ()


def read_class_texts(path: str, names: Sequence[str]) -> tuple[ClassTexts, ...]:
    """Return the texts of classes; one that the file does not know has its name alone.

    A text that is the name of another of these classes is left out.

    Args:
        path: YAML that maps a class to "texts", "held_out" and "described", by commas; empty:
            ours.
        names: Of the classes.

    Raises:
        ConfigError: The file cannot be read, has other keys, or a text is there twice.
    """
    values = read_plain_yaml(path or _OURS)
    for key in values:
        if key.rpartition('.')[2] not in _KINDS:
            raise ConfigError(
                f'{path or _OURS}: expected "{_TRAINED}", "{_HELD_OUT}" and "{_DESCRIBED}" under '
                f'the name of a class, found "{key}"'
            )

    def texts(name: str, kind: str) -> tuple[str, ...]:
        listed = (text.strip() for text in str(values.get(f'{name}.{kind}', '')).split(','))
        return tuple(text for text in listed if text and text not in names)

    found = tuple(
        ClassTexts((name, *texts(name, _TRAINED)), texts(name, _HELD_OUT), texts(name, _DESCRIBED))
        for name in names
    )
    _check_once([text for texts_of in found for part in texts_of for text in part])
    return found


def _check_once(texts: Sequence[str]) -> None:
    if twice := sorted({text for text in texts if texts.count(text) > 1}):
        raise ConfigError(
            f'text.classes gives {", ".join(twice)} more than once: a text names one class, and '
            'is either trained or held out'
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbeddedTexts:
    """Directions of texts, for each of L classes.

    Attributes:
        trained: (T, D) float32 unit vectors for each class, T of its own, at least one; the first
            is that of its name, if the encoder knows it.
        held_out: (H, D), the same of synonyms and descriptions for measuring; H may be 0.
        left_out: Texts that the encoder does not know.
    """

    trained: tuple[Tensor, ...]
    held_out: tuple[Tensor, ...]
    left_out: tuple[str, ...]

    @property
    def names(self) -> Tensor:
        """(L, D): each class by its name."""
        return torch.stack([own[0] for own in self.trained])


def embed_texts(encoder: TextEncoder, classes: Sequence[ClassTexts]) -> EmbeddedTexts:
    """Embed what the encoder knows.

    Raises:
        ConfigError: It knows no text of a class.
    """
    trained = [_known(encoder, texts.trained) for texts in classes]
    held_out = [_known(encoder, texts.held_out + texts.described) for texts in classes]
    for texts, known in zip(classes, trained, strict=True):
        if not known:
            raise ConfigError(
                f'{encoder.name} knows no text of the class "{texts.trained[0]}": give it one in '
                'text.classes'
            )
    known_texts = {text for part in (*trained, *held_out) for text in part}
    all_texts = (text for texts in classes for part in texts for text in part)
    left_out = tuple(text for text in all_texts if text not in known_texts)
    if left_out:
        _log.info('%s does not know, so left out: %s', encoder.name, ', '.join(left_out))
    return EmbeddedTexts(
        trained=tuple(torch.cat(list(part.values())) for part in trained),
        held_out=tuple(
            torch.cat([torch.zeros(0, encoder.dim), *part.values()]) for part in held_out
        ),
        left_out=left_out,
    )


def _known(encoder: TextEncoder, texts: Sequence[str]) -> dict[str, Tensor]:
    """Return (1, D) for each text that an encoder knows; a list of words does not know all."""
    found = {}
    for text in texts:
        with suppress(SearchError):
            found[text] = embed_names(encoder, [text])
    return found
