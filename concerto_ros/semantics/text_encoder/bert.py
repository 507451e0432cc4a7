"""Bert: the network of sentence encoders, from published weights."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class Bert:
    """A transformer over pieces of words (Devlin et al. 2019), in evaluation only.

    Args:
        config: As published: num_hidden_layers, num_attention_heads, layer_norm_eps.
        weights: By their published names.
    """

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        self._weights = weights
        self._num_layers = config['num_hidden_layers']
        self._num_heads = config['num_attention_heads']
        self._epsilon = config['layer_norm_eps']

    @torch.no_grad()
    def __call__(self, numbers: Tensor, mask: Tensor) -> Tensor:
        """Read sentences.

        Args:
            numbers: (n, T) int64, pieces of words.
            mask: (n, T) bool, False where a sentence has ended.

        Returns:
            (n, T, D) float32, a vector for each piece in its sentence.
        """
        words, places, kinds = (
            self._weights[f'embeddings.{name}_embeddings.weight']
            for name in ('word', 'position', 'token_type')
        )
        x = words[numbers] + places[: numbers.shape[1]] + kinds[0]
        x = self._norm('embeddings.LayerNorm', x)
        for i in range(self._num_layers):
            x = self._layer(f'encoder.layer.{i}', x, mask)
        return x

    def _layer(self, name: str, x: Tensor, mask: Tensor) -> Tensor:
        attended = self._attend(f'{name}.attention', x, mask)
        x = self._norm(f'{name}.attention.output.LayerNorm', x + attended)
        hidden = functional.gelu(self._linear(f'{name}.intermediate.dense', x))
        return self._norm(
            f'{name}.output.LayerNorm', x + self._linear(f'{name}.output.dense', hidden)
        )

    def _attend(self, name: str, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (
            self._heads(self._linear(f'{name}.self.{part}', x))
            for part in ('query', 'key', 'value')
        )
        found = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask[:, None, None]
        )
        return self._linear(f'{name}.output.dense', found.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self._num_heads, -1).transpose(1, 2)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, self._weights[f'{name}.weight'], self._weights[f'{name}.bias'])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self._weights[f'{name}.weight'], self._weights[f'{name}.bias']
        return functional.layer_norm(x, x.shape[-1:], weight, bias, self._epsilon)
