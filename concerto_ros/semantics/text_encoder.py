"""Text encoders: from words to unit vectors, by a language model or from a file of nouns."""

import difflib
import importlib
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from concerto_ros.errors import BackendUnavailable, CheckpointError, ConfigError, SearchError
from concerto_ros.torchvision_beside_cpu import declare_operators

# What numpy raises on files that are damaged or something else, such as a single array.
_NO_VOCABULARY = (
    AttributeError, EOFError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile,
)  # fmt: skip


class TextEncoder(Protocol):
    """Turns texts into directions of one fixed space."""

    @property
    def name(self) -> str:
        """Name of the space; translators are trained for one."""
        ...

    @property
    def dim(self) -> int:
        """D."""
        ...

    def encode(self, texts: list[str]) -> Tensor:
        """Return (n, D) float32 unit vectors.

        Raises:
            SearchError: A text is not understood.
        """
        ...


def load_text_encoder(spec: str) -> TextEncoder:
    """Make the encoder that a specification names.

    Args:
        spec: 'vocabulary:FILE.npz', see `VocabularyEncoder.load`, or
            'open_clip:MODEL/PRETRAINED', where PRETRAINED is a tag of open_clip or a file.

    Raises:
        ConfigError: The specification has another form.
        CheckpointError: The file is missing or damaged.
        BackendUnavailable: open_clip or its weights are not there.
    """
    kind, _, rest = spec.partition(':')
    if kind == 'vocabulary' and rest:
        return VocabularyEncoder.load(rest)
    model, _, pretrained = rest.partition('/')
    if kind == 'open_clip' and model and pretrained:
        return OpenClipEncoder(model, pretrained)
    raise ConfigError(
        "a text encoder is 'vocabulary:FILE.npz' or 'open_clip:MODEL/PRETRAINED', "
        f"for example 'open_clip:ViT-B-32/laion2b_s34b_b79k', got '{spec}'"
    )


class VocabularyEncoder:
    """Looks words up in a table of embeddings that a language model made elsewhere."""

    def __init__(self, name: str, words: Sequence[str], embedding: Tensor) -> None:
        """Keep the table.

        Args:
            name: Of the encoder that made the embeddings.
            words: V words.
            embedding: (V, D) float, of any length but zero.

        Raises:
            CheckpointError: Shapes disagree, or a vector is zero or not finite.
        """
        if embedding.ndim != 2 or len(embedding) != len(words) or embedding.numel() == 0:
            raise CheckpointError(
                f'a vocabulary of {len(words)} words needs embedding ({len(words)}, D), '
                f'got {tuple(embedding.shape)}'
            )
        lengths = embedding.float().norm(dim=1)
        if not (lengths.isfinite() & (lengths > 0)).all():
            raise CheckpointError('a vocabulary holds embeddings that are zero or not finite')
        self.name = name
        self._embedding: Tensor = embedding.float() / lengths[:, None]
        self.dim = len(self._embedding[0])
        self._words = tuple(words)
        self._exact = {word: i for i, word in reversed(list(enumerate(words)))}
        self._plain = {_plain(word): i for i, word in reversed(list(enumerate(words)))}

    @classmethod
    def load(cls, path: str | Path) -> 'VocabularyEncoder':
        """Read an .npz of arrays `names` (V,) and `embedding` (V, D).

        An entry `text_encoder` names the encoder that made them; without it the space is named
        after the file.

        Raises:
            CheckpointError: The file is missing or damaged.
        """
        path = Path(path)
        if not path.is_file():
            raise CheckpointError(f'{path}: there is no such vocabulary; give an .npz file')
        try:
            with np.load(path, allow_pickle=False) as arrays:
                words = [str(name) for name in arrays['names']]
                embedding = torch.from_numpy(arrays['embedding'].astype(np.float32))
                name = str(arrays.get('text_encoder', f'vocabulary:{path.name}'))
        except _NO_VOCABULARY as err:
            raise CheckpointError(
                f'{path}: a vocabulary is an .npz with arrays names and embedding ({err})'
            ) from err
        try:
            return cls(name, words, embedding)
        except CheckpointError as err:
            raise CheckpointError(f'{path}: {err}') from err

    def encode(self, texts: list[str]) -> Tensor:
        """Return (n, D) float32 unit vectors; case, articles and underscores do not matter.

        Raises:
            SearchError: A text is not in the vocabulary; the message lists near words.
        """
        rows = [self._row(text) for text in texts]
        return self._embedding[torch.tensor(rows, dtype=torch.int64)]

    def _row(self, text: str) -> int:
        row = self._exact.get(text, self._plain.get(_plain(text)))
        if row is None:
            near = difflib.get_close_matches(_plain(text), self._plain, n=5)
            words = ', '.join(self._words[self._plain[word]] for word in near)
            raise SearchError(
                f"'{text}' is not among the {len(self._words)} words of {self.name}; "
                + (f'near are: {words}' if words else 'none is near')
            )
        return row


class OpenClipEncoder:
    """The text tower of a CLIP model, run on the CPU by the optional package open_clip."""

    def __init__(self, model: str, pretrained: str) -> None:
        """Load the model.

        Args:
            model: Architecture, such as 'ViT-B-32'.
            pretrained: Tag of its weights, or a file.

        Raises:
            BackendUnavailable: The package or the weights are not there.
        """
        self.name = f'open_clip:{model}/{pretrained}'
        open_clip = _import_open_clip()
        try:
            self._model = open_clip.create_model(model, pretrained=pretrained).eval()
            self._tokenizer = open_clip.get_tokenizer(model)
        except (OSError, RuntimeError, ValueError) as err:
            raise BackendUnavailable(
                f'{self.name} cannot be loaded: connect to the internet once, or give a file of '
                f'weights after the slash ({_first_line(err)})'
            ) from err
        self.dim = self.encode(['']).shape[1]

    @torch.inference_mode()
    def encode(self, texts: list[str]) -> Tensor:
        """Return (n, D) float32 unit vectors."""
        if not texts:
            return torch.zeros(0, self.dim)
        return functional.normalize(self._model.encode_text(self._tokenizer(texts)).float(), dim=1)


def _import_open_clip() -> Any:
    declare_operators()
    try:
        return importlib.import_module('open_clip')
    except (ImportError, RuntimeError) as err:  # a torchvision that does not fit: RuntimeError
        raise BackendUnavailable(
            'this text encoder needs the package open_clip: pip install open_clip_torch '
            f'({_first_line(err)})'
        ) from err


def _first_line(err: Exception) -> str:
    return (str(err).strip() or type(err).__name__).splitlines()[0]


def _plain(text: str) -> str:
    """Return a text without case, leading article, underscores and surplus spaces."""
    words = re.sub(r'[\s_-]+', ' ', text.casefold()).strip()
    return re.sub(r'^(a|an|the) (?=.)', '', words)
