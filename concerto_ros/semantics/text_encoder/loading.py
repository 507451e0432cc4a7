"""Choosing a text encoder by its specification."""

from concerto_ros.errors import ConfigError
from concerto_ros.semantics.text_encoder.encoder import TextEncoder
from concerto_ros.semantics.text_encoder.open_clip import OpenClipEncoder
from concerto_ros.semantics.text_encoder.remembering import RememberingEncoder
from concerto_ros.semantics.text_encoder.sentence import SentenceEncoder
from concerto_ros.semantics.text_encoder.vocabulary import VocabularyEncoder


def load_text_encoder(spec: str) -> TextEncoder:
    """Make the encoder that a specification names.

    Args:
        spec: One of

            - 'sentence:all-MiniLM-L6-v2', which a package from PyPI brings, see `SentenceEncoder`;
            - 'open_clip:MODEL/PRETRAINED', with a tag of open_clip or a file, see
              `OpenClipEncoder`;
            - 'vocabulary:FILE.npz', see `VocabularyEncoder.load`.

    Raises:
        ConfigError: The specification has another form, or names no model.
        CheckpointError: The file is missing or damaged.
        BackendUnavailable: The package of the encoder or its weights are not there.
    """
    kind, _, rest = spec.partition(':')
    if kind == 'vocabulary' and rest:
        return VocabularyEncoder.load(rest)
    if kind == 'sentence' and rest:
        return RememberingEncoder(SentenceEncoder(rest))
    model, _, pretrained = rest.partition('/')
    if kind == 'open_clip' and model and pretrained:
        return RememberingEncoder(OpenClipEncoder(model, pretrained))
    raise ConfigError(
        "a text encoder is 'sentence:all-MiniLM-L6-v2', 'open_clip:MODEL/PRETRAINED', for example "
        f"'open_clip:ViT-B-32/laion2b_s34b_b79k', or 'vocabulary:FILE.npz', got '{spec}'"
    )
