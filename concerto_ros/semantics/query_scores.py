"""How probable a text is at each point, against all else that could be there.

rivals = Rivals.build(translator, encoder, vocabulary.names)
scores = QueryScores(translator, features)         # norms are computed here, once
probability = scores.probability('couch', translator.encode(encoder, ['couch']), rivals)
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from concerto_ros.errors import SearchError
from concerto_ros.semantics.linear_features import LinearFeatures, PartedFeatures
from concerto_ros.semantics.text_encoder import TextEncoder
from concerto_ros.semantics.translator import Translator, query_parts

# What is there when no vocabulary says so: a query must explain a point better than these.
BACKGROUND = ('wall', 'floor', 'ceiling', 'object', 'surface', 'thing')

# Least cosine of texts that mean the same, after the mean of all rivals is taken off them, without
# which each space needs a bound of its own. In CLIP ViT-B/32, and the sentence encoder:
# couch-sofa 0.77, 0.74; armchair-chair 0.77, 0.58; cupboard-cabinet 0.60, 0.56; but
# stool-chair 0.47, 0.34; desk-table 0.45, 0.21; bench-sofa 0.35, 0.16.
SAME_MEANING = 0.5

_SHORTEST = 1e-12  # length below which a translated feature has no direction

_PREPOSITION = re.compile(
    r'\b(?:about|above|at|behind|below|beside|by|for|from|in|inside|near|next|of|on|over|that|to|'
    r'under|which|with)\b'
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rivals:
    """Texts that a query competes with.

    Attributes:
        names: Q texts.
        text_embedding: (Q, D) float32 unit vectors.
    """

    names: tuple[str, ...]
    text_embedding: Tensor

    @classmethod
    def build(
        cls, translator: Translator, text_encoder: TextEncoder, vocabulary: Sequence[str]
    ) -> 'Rivals':
        """Read a vocabulary, and what the encoder knows of names of training and background.

        Raises:
            CheckpointError: The translator was trained for another text encoder.
            SearchError: The encoder does not know a name of the vocabulary.
        """
        names = list(dict.fromkeys(vocabulary))
        vectors = [translator.encode(text_encoder, names)]
        # Names of training compete always, so that a small vocabulary makes no answer surer.
        for prompt in (*translator.names, *BACKGROUND):
            if prompt not in names:
                with suppress(SearchError):
                    vectors.append(translator.encode(text_encoder, [prompt]))
                    names.append(prompt)
        return cls(names=tuple(names), text_embedding=torch.cat(vectors))

    def same(self, query: str, embedding: Tensor) -> Tensor:
        """Return (Q,) bool, which of these mean the same as a query, so that they do not compete.

        Those that end in the same noun ("blue chair" and "chair", but not "picture on a wall" and
        "wall"), and those whose vectors point the same way as that of the query, see
        `SAME_MEANING`.

        Args:
            query: The text.
            embedding: (1, D) float32 unit vector of it.
        """
        noun = _head_noun(query)
        same_noun = [_head_noun(name) == noun for name in self.names]
        mean = self.text_embedding.mean(0) if self.names else 0
        ours = functional.normalize(embedding.to(self.text_embedding) - mean, dim=1)
        others = functional.normalize(self.text_embedding - mean, dim=1)
        near = (others @ ours[0]) >= SAME_MEANING
        return near | torch.tensor(same_noun, dtype=torch.bool, device=near.device)


class QueryScores:
    """Answers queries about features, of which some change now and then.

    Norms are computed once, and what all rivals together weigh once per list of rivals and change;
    a query costs one product with each cell of the features, and one more per rival that means
    the same.

    Attributes:
        features: Of N points.
        norms: (N,) float32 lengths of the translated features. As float16 they would change one
            or two of the best hundred points.

    Args:
        translator: From features to the space of texts.
        features: Of N points.
        norms: (N,) float32, if already known.
    """

    def __init__(
        self, translator: Translator, features: LinearFeatures, norms: Tensor | None = None
    ) -> None:
        self._translator = translator
        self.features = features
        self.norms = translator.norms(features) if norms is None else norms
        self._rivals: Rivals | None = None
        self._log_rivals = self._room = self.norms[:0]

    @property
    def num_bytes(self) -> int:
        """Memory beside that of the features."""
        return self.norms.nbytes + self._room.nbytes

    @torch.inference_mode()
    def update(self, features: PartedFeatures, norms: Tensor, changed: Tensor) -> None:
        """Take features over of which some rows changed, or came at the end.

        Costs one product per rival with each changed row, and nothing before the first query.

        Args:
            features: Of N' points, N' >= N.
            norms: (N',) float32.
            changed: (K,) int64 rows, each once; of rows that come without being named, what
                `probability` returns means nothing.
        """
        self.features, self.norms = features, norms
        if self._rivals is None:
            return
        if len(norms) > len(self._room):  # with room for half as many again, so seldom
            room = norms.new_zeros(len(norms) * 3 // 2)
            room[: len(self._log_rivals)] = self._log_rivals
            self._room = room
        self._log_rivals = self._room[: len(norms)]
        self._log_rivals[changed] = self._weigh(
            self._rivals, features.take(changed), norms[changed]
        )

    @torch.inference_mode()
    def probability(self, query: str, embedding: Tensor, rivals: Rivals) -> Tensor:
        """Return (N,) float32 in 0..1, the probability of a query against its rivals.

        It is the softmax over the query and all rivals at the temperature of the translator;
        what rivals that mean the same have of it counts for the query, so a point that is surely
        a sofa is as surely a couch. Where no other rival is left, it is the cosine moved to 0..1.

        Args:
            query: The text.
            embedding: (1, D) float32 unit vector of it.
            rivals: Hand over the same object while they stay the same.

        Raises:
            CheckpointError: The text has another width.
        """
        same = rivals.same(query, embedding)
        texts = torch.cat([embedding.to(rivals.text_embedding), rivals.text_embedding[same]])
        logits = self._logits(texts, self.features, self.norms)
        if same.all():
            return (logits[:, 0] / self._translator.logit_scale + 1) / 2
        log_rivals = self._log_sum(rivals)
        if not same.any():
            return torch.sigmoid(logits[:, 0] - log_rivals)
        total = torch.logaddexp(log_rivals, logits[:, 0])
        return (logits.logsumexp(1) - total).exp_().clamp_(max=1)

    def _log_sum(self, rivals: Rivals) -> Tensor:
        """Return (N,) logarithm of the sum of the exponentials of all rivals."""
        if rivals is not self._rivals:
            self._log_rivals = self._room = self._weigh(rivals, self.features, self.norms)
            self._rivals = rivals
        return self._log_rivals

    def _weigh(self, rivals: Rivals, features: LinearFeatures, norms: Tensor) -> Tensor:
        total = torch.full_like(norms, float('-inf'))
        for part in query_parts(len(rivals.names), len(norms)):
            logits = self._logits(rivals.text_embedding[part], features, norms)
            total = torch.logaddexp(total, logits.logsumexp(1))
        return total

    def _logits(self, text_embedding: Tensor, features: LinearFeatures, norms: Tensor) -> Tensor:
        """Return (N, Q) float32, the cosines with texts (Q, D) times the scale of the logits."""
        limit = self._translator.logit_scale
        weight, bias = self._translator.pulled_back(text_embedding)
        dots = features.linear(weight * limit, bias * limit).float()
        return dots.div_(norms.clamp(min=_SHORTEST)[:, None]).clamp_(-limit, limit)


@lru_cache(maxsize=2**12)
def _head_noun(text: str) -> str:
    """Return the last word before the first preposition, in small letters; empty if none is."""
    words = re.findall(r'\w+', _PREPOSITION.split(text.lower())[0])
    return words[-1] if words else ''
