"""RememberingEncoder: asks a slow text encoder only for what it was not asked lately."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock

import torch
from torch import Tensor

from concerto_ros.semantics.text_encoder.encoder import TextEncoder

_BATCH = 64  # texts that a model reads at once, which bounds its memory


class RememberingEncoder:
    """Another encoder, with a memory of texts; may be asked by many threads.

    Args:
        encoder: The other one.
        capacity: Texts that are remembered, 1.5 kB each at 384 dimensions; the one that was not
            asked for longest is forgotten.
    """

    def __init__(self, encoder: TextEncoder, capacity: int = 16384) -> None:
        self.name, self.dim, self.templates = encoder.name, encoder.dim, encoder.templates
        self._encoder = encoder
        self._capacity = capacity
        self._memory: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = Lock()

    def encode(self, texts: list[str]) -> Tensor:
        """Return (n, D) float32 unit vectors; those of new texts are computed in batches.

        Raises:
            SearchError: A text is not understood.
        """
        vectors = self._recall(texts)
        new = [text for text in dict.fromkeys(texts) if text not in vectors]
        for start in range(0, len(new), _BATCH):  # without the lock, so that nobody waits for it
            batch = new[start : start + _BATCH]
            # copies, since a view would keep the vectors of its whole batch
            vectors.update(zip(batch, map(torch.clone, self._encoder.encode(batch)), strict=True))
        self._keep(vectors)
        return (
            torch.stack([vectors[text] for text in texts]) if texts else torch.empty(0, self.dim)
        )

    def _recall(self, texts: Sequence[str]) -> dict[str, Tensor]:
        with self._lock:
            return {text: self._memory[text] for text in texts if text in self._memory}

    def _keep(self, vectors: Mapping[str, Tensor]) -> None:
        with self._lock:
            for text, vector in vectors.items():
                self._memory[text] = vector
                self._memory.move_to_end(text)
            while len(self._memory) > self._capacity:
                self._memory.popitem(last=False)
