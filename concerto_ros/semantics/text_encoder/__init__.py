"""Text encoders: from words to unit vectors, by a language model or from a file of nouns."""

from concerto_ros.semantics.text_encoder.encoder import TextEncoder
from concerto_ros.semantics.text_encoder.loading import load_text_encoder
from concerto_ros.semantics.text_encoder.vocabulary import VocabularyEncoder

__all__ = ['TextEncoder', 'VocabularyEncoder', 'load_text_encoder']
