"""Translator: the linear map from point features to the space of a text encoder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from concerto_ros.errors import CheckpointError
from concerto_ros.semantics.backbone_check import check_trained_on
from concerto_ros.semantics.linear_features import LinearFeatures, MeasuredFeatures
from concerto_ros.semantics.prompts import embed_names
from concerto_ros.semantics.text_encoder import TextEncoder
from concerto_ros.weights_file import read_weights, write_weights

_MAX_NUMBERS = 4_000_000  # of an intermediate result: 16 MB
_SHORTEST = 1e-12  # length below which a translated feature has no direction


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Translator:
    """`weight @ feature + bias` points in the direction of a text that names the point.

    No translated vector is ever stored: a text is pulled back through the map instead.

    Attributes:
        weight: (D, C) float32.
        bias: (D,) float32.
        text_encoder: Name of the encoder whose space this is.
        logit_scale: Factor from cosine to logit.
        min_score: Least probability of what is found rather than called absent, fitted on
            validation scenes as `logit_scale` is; 0: not fitted.
        backbone: Digest of the weights whose features it takes; empty: not known.
        names: What it was trained to name; the vocabulary where no other is asked for.

    Raises:
        CheckpointError: Shapes disagree, a number is not finite, the scale is not positive, or
            the least probability is not in 0..1.
    """

    weight: Tensor
    bias: Tensor
    text_encoder: str
    logit_scale: float = 100.0
    min_score: float = 0.0
    backbone: str = ''
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shapes = tuple(self.weight.shape), tuple(self.bias.shape)
        if self.weight.ndim != 2 or shapes[1] != shapes[0][:1]:
            raise CheckpointError(
                f'a translator needs weight (D, C) and bias (D,), got {shapes[0]} and {shapes[1]}'
            )
        if not (self.weight.isfinite().all() and self.bias.isfinite().all()):
            raise CheckpointError('the weights of the translator are not finite: train it again')
        if not 0 < self.logit_scale < float('inf'):
            raise CheckpointError(f'logit_scale must be positive, got {self.logit_scale}')
        if not 0 <= self.min_score < 1:
            raise CheckpointError(f'min_score must be 0 or more and below 1, got {self.min_score}')

    @classmethod
    def load(cls, path: str | Path) -> 'Translator':
        """Read a translator onto the CPU.

        Raises:
            CheckpointError: The file is missing, damaged, or not a translator.
        """
        config, tensors = read_weights(path)
        if set(tensors) != {'weight', 'bias'} or 'text_encoder' not in config:
            raise CheckpointError(
                f"{path}: a translator holds weight, bias and the name of its 'text_encoder', "
                f'found {sorted(tensors)[:5]} and {sorted(config)}'
            )
        try:
            return cls.of_config(config, tensors['weight'], tensors['bias'])
        except (CheckpointError, TypeError, ValueError) as err:
            raise CheckpointError(f'{path}: {err}') from err

    @classmethod
    def of_config(cls, config: Mapping[str, Any], weight: Tensor, bias: Tensor) -> 'Translator':
        """Return the translator that a file holds, with copies of its tensors.

        Args:
            config: As `config` gives it; only "text_encoder" must be there.
            weight: (D, C) float.
            bias: (D,) float.

        Raises:
            CheckpointError, LookupError, TypeError, ValueError: It is not what it should be.
        """
        return cls(
            weight=weight.to(torch.float32, copy=True),
            bias=bias.to(torch.float32, copy=True),
            text_encoder=str(config['text_encoder']),
            logit_scale=float(config.get('logit_scale', 100.0)),
            min_score=float(config.get('min_score', 0.0)),
            backbone=str(config.get('backbone', '')),
            names=tuple(map(str, config.get('names', ()))),
        )

    @property
    def config(self) -> dict[str, Any]:
        """All but the tensors, to be written as JSON."""
        names = ('text_encoder', 'logit_scale', 'min_score', 'backbone', 'names')
        return {name: getattr(self, name) for name in names}

    def save(
        self, path: str | Path, origin: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Write a .pth or .safetensors.

        Args:
            path: Replaced if it exists.
            origin: How it came about, as in `concerto_ros.weights_file.Weights`.

        Raises:
            CheckpointError: The suffix is unknown, or the file cannot be written.
        """
        write_weights(path, self.config, {'weight': self.weight, 'bias': self.bias}, origin)

    def check_encoder(self, text_encoder: TextEncoder) -> None:
        """Refuse a text encoder that the translator was not trained for.

        Raises:
            CheckpointError: It is another; the message tells the cure.
        """
        expected = f'{self.text_encoder} ({len(self.bias)} numbers)'
        found = f'{text_encoder.name} ({text_encoder.dim} numbers)'
        if found != expected:
            raise CheckpointError(
                f'the translator was trained for the text encoder {expected}, got {found}: '
                'load that encoder, or a translator trained for this one'
            )

    def check_backbone(self, digest: str) -> None:
        """Refuse a backbone that the translator was not trained on.

        Args:
            digest: Of its weights.

        Raises:
            CheckpointError: It is another; the message tells the cure.
        """
        check_trained_on('translator', self.backbone, digest, 'training.translate')

    def encode(self, text_encoder: TextEncoder, texts: Sequence[str]) -> Tensor:
        """Return (len(texts), D) float32 unit vectors of texts, in the space of this translator.

        Raises:
            CheckpointError: The translator was trained for another text encoder.
            SearchError: A text is empty, too long, or not known to the encoder.
        """
        self.check_encoder(text_encoder)
        return embed_names(text_encoder, texts)

    @torch.inference_mode()
    def norms(self, features: LinearFeatures) -> Tensor:
        """Return (N,) float32 lengths of the translated features, `|W f + b|`.

        They depend on no text: compute them once per features and hand them to `scores`.
        """
        if isinstance(features, MeasuredFeatures):
            return features.lengths(self.weight, self.bias)
        squares = (
            features.linear(self.weight[part], self.bias[part]).float().square().sum(1)
            for part in query_parts(len(self.bias), features.num_points)
        )
        return sum(squares, start=torch.zeros(())).sqrt()

    @torch.inference_mode()
    def scores(
        self, features: LinearFeatures, text_embedding: Tensor, norms: Tensor | None = None
    ) -> Tensor:
        """Return the cosine of every point with every text.

        Args:
            features: Of N points.
            text_embedding: (Q, D) float, of any length but zero; see `encode`.
            norms: (N,) float32 from `norms`, if already known.

        Returns:
            (N, Q) float32 in -1..1.

        Raises:
            CheckpointError: The features or the texts have another width.
        """
        weight, bias = self.pulled_back(text_embedding)
        if norms is None:
            norms = self.norms(features)
        dots = features.linear(weight, bias).float()
        return (dots / norms.to(dots).clamp(min=_SHORTEST)[:, None]).clamp_(-1, 1)

    def pulled_back(self, text_embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Return the linear map from features to the products of their translation and texts.

        Args:
            text_embedding: (Q, D) float, of any length but zero; taken as unit vectors.

        Returns:
            weight: (Q, C) float32.
            bias: (Q,) float32.

        Raises:
            CheckpointError: The texts have another width.
        """
        if text_embedding.ndim != 2 or text_embedding.shape[1] != len(self.bias):
            raise CheckpointError(
                f'text_embedding must be (Q, {len(self.bias)}) for this translator, '
                f'got {tuple(text_embedding.shape)}'
            )
        text = functional.normalize(text_embedding.to(self.weight), dim=1)
        return text @ self.weight, text @ self.bias


def query_parts(num_queries: int, num_points: int) -> Iterator[slice]:
    """Cut rows of a linear map into parts whose results on all points stay small."""
    step = max(1, _MAX_NUMBERS // max(1, num_points))
    for start in range(0, num_queries, step):
        yield slice(start, start + step)
