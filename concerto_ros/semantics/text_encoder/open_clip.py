"""OpenClipEncoder: the text tower of a CLIP model."""

import difflib
import importlib
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from concerto_ros.errors import BackendUnavailable, ConfigError
from concerto_ros.torchvision_beside_cpu import declare_operators

# What open_clip raises without a network, without a package, and on files of something else.
_NOT_LOADED = (ImportError, OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError)


class OpenClipEncoder:
    """The text tower of a CLIP model, run on the CPU by the optional package open_clip.

    CLIP was trained on captions of photos, so that a name alone is unusual to it (Radford et al.
    2021, 3.1.4).
    """

    templates = (
        'a photo of a {}.',
        'a photo of the {}.',
        'a close-up photo of a {}.',
        'there is a {} in the scene.',
    )

    def __init__(self, model: str, pretrained: str) -> None:
        """Load the model.

        Args:
            model: Architecture, such as 'ViT-B-32'.
            pretrained: Tag of its weights, or a file; /any/where/openai.pt stands for the tag
                openai, so that translators fit wherever the file lies.

        Raises:
            ConfigError: open_clip has no such model.
            BackendUnavailable: The package or the weights are not there.
        """
        file = Path(pretrained)
        tag = file.stem if file.is_file() else pretrained
        self.name = f'open_clip:{model}/{tag}'
        open_clip = _import_open_clip()
        if open_clip.get_model_config(model) is None:
            near = ', '.join(difflib.get_close_matches(model, open_clip.list_models())) or 'none'
            raise ConfigError(f'open_clip has no model "{model}"; near are {near}')
        try:
            self._model = open_clip.create_model(
                model,
                pretrained=pretrained,
                # weights of OpenAI are of models with another activation than the named one
                force_quick_gelu=open_clip.get_pretrained_cfg(model, tag).get('quick_gelu', False),
            ).eval()
            self._tokenizer = open_clip.get_tokenizer(model)
        except _NOT_LOADED as err:
            raise BackendUnavailable(
                f'{self.name} cannot be loaded ({_first_sentence(err)}): connect to the internet '
                'once, set HF_HOME to a folder that holds the weights, or give a file of weights '
                'after the slash'
            ) from err
        del self._model.visual  # the image tower, most of the memory
        self.dim = self.encode(['']).shape[1]

    @torch.no_grad()
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
            f'({_first_sentence(err)})'
        ) from err


def _first_sentence(err: Exception) -> str:
    return (str(err).strip() or type(err).__name__).splitlines()[0].split('. ')[0]
