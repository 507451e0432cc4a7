"""What features mean: class heads, the map into text space, and open vocabularies.

    head = ClassHead.load('scannet20.pth')
    label, confidence = head.predict(pyramid)
    encoder = load_text_encoder('open_clip:ViT-B-32/laion2b_s34b_b79k')
    translator = Translator.load('translator.safetensors')
    scores = translator.scores(pyramid, translator.encode(encoder, ['a chair']))

The features may be any object that is `LinearFeatures`; where they come from is not known here.
"""

from concerto_ros.semantics.head import ClassHead
from concerto_ros.semantics.labels import SCANNET20, make_labels, palette
from concerto_ros.semantics.linear_features import LinearFeatures
from concerto_ros.semantics.open_vocabulary import OpenVocabulary
from concerto_ros.semantics.prompts import check_names, clean_name
from concerto_ros.semantics.query_scores import QueryScores, Rivals
from concerto_ros.semantics.text_encoder import TextEncoder, load_text_encoder
from concerto_ros.semantics.translator import Translator

__all__ = [
    'SCANNET20',
    'ClassHead',
    'LinearFeatures',
    'OpenVocabulary',
    'QueryScores',
    'Rivals',
    'TextEncoder',
    'Translator',
    'check_names',
    'clean_name',
    'load_text_encoder',
    'make_labels',
    'palette',
]
