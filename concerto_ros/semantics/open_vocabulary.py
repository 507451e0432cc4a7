"""OpenVocabulary: every point gets the best of a list of names that may change at any time."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from concerto_ros.errors import SearchError
from concerto_ros.semantics.labels import make_labels
from concerto_ros.semantics.linear_features import LinearFeatures
from concerto_ros.semantics.prompts import MAX_NAMES, check_names
from concerto_ros.semantics.text_encoder import TextEncoder
from concerto_ros.semantics.translator import Translator, query_parts
from concerto_ros.structures import Labels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenVocabulary:
    """Names to choose from, in the space of a translator.

    Attributes:
        translator: From features to that space.
        names: Q names.
        text_embedding: (Q, D) float32 unit vectors.
        min_confidence: 0..1; a point whose best name is less probable stays unknown.

    Raises:
        SearchError: There is no name, or there are more than 65535.
    """

    translator: Translator
    names: tuple[str, ...]
    text_embedding: Tensor
    min_confidence: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < len(self.names) <= MAX_NAMES or len(self.text_embedding) != len(self.names):
            raise SearchError(
                f'a vocabulary needs 1 to {MAX_NAMES} names with one embedding each, '
                f'got {len(self.names)} names and {len(self.text_embedding)} embeddings'
            )

    @classmethod
    def build(
        cls,
        translator: Translator,
        text_encoder: TextEncoder,
        names: Sequence[str],
        min_confidence: float = 0.0,
    ) -> 'OpenVocabulary':
        """Read the names with a text encoder.

        Raises:
            CheckpointError: The translator was trained for another text encoder.
            SearchError: The list is empty or too long, names a thing twice, or the encoder does
                not know a name.
        """
        check_names(names)
        return cls(
            translator=translator,
            names=tuple(names),
            text_embedding=translator.encode(text_encoder, names),
            min_confidence=min_confidence,
        )

    @property
    def labels(self) -> Labels:
        """Names and colours of the ids that `predict` returns."""
        return make_labels(self.translator.text_encoder, self.names)

    @torch.inference_mode()
    def predict(
        self, features: LinearFeatures, norms: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Label every point; memory does not grow with the vocabulary.

        Args:
            features: Of N points.
            norms: (N,) float32 from `Translator.norms`, if already known.

        Returns:
            label: (N,) uint16, 1 + number of the best name; 0 if it is not probable enough.
            confidence: (N,) float32, probability of the best name among all.

        Raises:
            CheckpointError: The translator was made for features of another width.
        """
        if norms is None:
            norms = self.translator.norms(features)
        best = torch.zeros(len(norms), dtype=torch.int64, device=norms.device)
        highest = torch.full_like(norms, float('-inf'))
        total = torch.full_like(norms, float('-inf'))  # logarithm of the sum of exponentials
        for part in query_parts(len(self.names), len(norms)):
            logits = self.translator.scores(features, self.text_embedding[part], norms)
            logits *= self.translator.logit_scale
            logit, index = logits.max(1)
            best = torch.where(logit > highest, index + part.start, best)
            highest = torch.maximum(highest, logit)
            total = torch.logaddexp(total, logits.logsumexp(1))
        confidence = (highest - total).exp().clamp(max=1)
        label = torch.where(confidence >= self.min_confidence, best + 1, 0)
        return label.to(torch.uint16), confidence
