"""From the name of a thing to its direction: the one way to read questions and vocabularies."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from concerto_ros.errors import SearchError
from concerto_ros.semantics.text_encoder import TextEncoder

MAX_NAMES = 2**16 - 1  # of a vocabulary, since labels have 16 bits and 0 is unknown
_MAX_CHARACTERS = 300  # about what CLIP reads, 77 pieces of words


def embed_names(encoder: TextEncoder, names: Sequence[str]) -> Tensor:
    """Return (n, D) float32 unit vectors of the names of things, or of descriptions.

    Each is cleaned (`clean_name`), put into all templates of the encoder, and the vectors of the
    phrases are averaged (Radford et al. 2021, 3.1.4).

    Raises:
        SearchError: A name is empty, too long, or not known to the encoder.
    """
    texts = [clean_name(name) for name in names]
    phrases = [template.format(text) for text in texts for template in encoder.templates]
    vectors = encoder.encode(phrases).view(len(texts), len(encoder.templates), encoder.dim)
    return functional.normalize(vectors.mean(1), dim=1)


def clean_name(name: str) -> str:
    """Return a name without article, underscores, control characters and surplus spaces.

    Raises:
        SearchError: Nothing is left, or more than anybody reads.
    """
    if len(name) > _MAX_CHARACTERS:
        raise SearchError(
            f'the text has {len(name)} characters, at most {_MAX_CHARACTERS} are read: name the '
            'thing in a few words'
        )
    text = ' '.join(''.join(map(_plain, name)).split())
    text = re.sub(r'^(a|an|the) (?=.)', '', text, flags=re.IGNORECASE)
    if not any(map(str.isalnum, text)):
        raise SearchError(f'the text {name!r} has no word: name a thing, such as "chair"')
    return text


def check_names(names: Sequence[str]) -> None:
    """Refuse what is no vocabulary, before a language model reads it.

    Raises:
        SearchError: The list is empty or too long, names a thing twice, or a name has no word or
            more than anybody reads.
    """
    if not 0 < len(names) <= MAX_NAMES:
        raise SearchError(
            f'a vocabulary needs 1 to {MAX_NAMES} names, got {len(names)}: name what labels shall '
            'tell apart, such as "chair" and "wall"'
        )
    times = Counter(clean_name(name).casefold() for name in names)
    twice = ', '.join(name for name, count in times.items() if count > 1)
    if twice:
        raise SearchError(f'the vocabulary names {twice} more than once: name each thing once')


def _plain(c: str) -> str:
    if c == '_' or c.isspace():
        return ' '
    return '' if unicodedata.category(c)[0] == 'C' else c
