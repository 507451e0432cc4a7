"""VocabularyEncoder: words whose vectors a language model made elsewhere."""

import difflib
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from concerto_ros.errors import CheckpointError, SearchError

# What numpy raises on files that are damaged or something else, such as a single array.
_NO_VOCABULARY = (
    AttributeError, EOFError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile,
)  # fmt: skip


class VocabularyEncoder:
    """Looks words up in a table of embeddings that a language model made elsewhere."""

    templates = ('{}',)  # the table knows words, and no phrases

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


def _plain(text: str) -> str:
    """Return a text without case, leading article, underscores and surplus spaces."""
    words = re.sub(r'[\s_-]+', ' ', text.casefold()).strip()
    return re.sub(r'^(a|an|the) (?=.)', '', words)
