"""WordPieces: cuts a text into the pieces of words that uncased BERT models read."""

import string
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain

_LONGEST_WORD = 100  # characters; a longer word is unknown
_INVISIBLE = ('Cc', 'Cf', 'Co', 'Cs')  # control, format, private and surrogate characters
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2CEAF), (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)  # fmt: skip


class WordPieces:
    """The longest known pieces of each word, from left to right (Devlin et al. 2019, BERT).

    Texts are read without case, accents and control characters; each punctuation mark and each
    Chinese character is a word.

    Args:
        pieces: The known pieces by number; "##" marks those that continue a word.
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        self._number = {piece: i for i, piece in enumerate(pieces)}
        self.start, self.end = self._number['[CLS]'], self._number['[SEP]']
        self.unknown, self.padding = self._number['[UNK]'], self._number['[PAD]']

    def numbers(self, text: str) -> list[int]:
        """Return the numbers of the pieces of a text; a word with an unknown piece is one."""
        return list(chain.from_iterable(self._pieces(word) for word in _words(text)))

    def _pieces(self, word: str) -> list[int]:
        if len(word) > _LONGEST_WORD:
            return [self.unknown]
        found, start = [], 0
        while start < len(word):
            prefix = '##' if start else ''
            ends = range(len(word), start, -1)
            end = next((e for e in ends if prefix + word[start:e] in self._number), None)
            if end is None:
                return [self.unknown]
            found.append(self._number[prefix + word[start:end]])
            start = end
        return found


def _words(text: str) -> list[str]:
    letters = unicodedata.normalize('NFD', ''.join(_visible(text)))
    letters = ''.join(c.lower() for c in letters if unicodedata.category(c) != 'Mn')
    return ''.join(f' {c} ' if _stands_alone(c) else c for c in letters).split()


def _visible(text: str) -> Iterator[str]:
    for c in text:
        if c in '\t\n\r':
            yield ' '
        elif unicodedata.category(c) not in _INVISIBLE and c != '\ufffd':
            yield c


def _stands_alone(c: str) -> bool:
    is_punctuation = c in string.punctuation or unicodedata.category(c)[0] == 'P'
    return is_punctuation or any(low <= ord(c) <= high for low, high in _IDEOGRAPHS)
