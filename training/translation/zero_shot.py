"""How well texts find the classes of scenes that a translator has not seen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from tqdm import tqdm

from concerto_ros.errors import ConcertoError
from concerto_ros.semantics import Translator
from training.datasets.labelled import LabelledScene
from training.evaluation.features import FeatureSource, SceneFeatures
from training.evaluation.metrics import ConfusionMatrix, Scores
from training.evaluation.voxels import voxel_label
from training.structures import IGNORED
from training.translation.class_texts import EmbeddedTexts

_VOXELS = 1024  # of a scene whose cosines are kept
NAMES, TRAINED, HELD_OUT = 'name', 'trained text', 'held-out text'


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ZeroShot:
    """What was found on validation scenes.

    Attributes:
        scores: By how the classes were called: `NAMES`, `TRAINED`, `HELD_OUT`; over all raw points
            and, for the last two, over all rounds in which each class goes by another text.
        cosine: (R, L) float32 of drawn voxels with the names.
        label: (R,) int64 class of these voxels.
    """

    scores: dict[str, Scores]
    cosine: Tensor
    label: Tensor


@torch.inference_mode()
def judge(
    translator: Translator,
    source: FeatureSource,
    scenes: Iterable[LabelledScene],
    texts: EmbeddedTexts,
    seed: int,
) -> ZeroShot:
    """Label scenes by texts.

    Args:
        translator: Of the features of `source`.
        source: Of the features.
        scenes: With labels.
        texts: Of the classes.
        seed: Of the voxels whose cosines are kept.

    Raises:
        ConcertoError: No voxel has a label.
    """
    rounds = vocabularies(texts)
    matrices = {called: ConfusionMatrix(len(texts.trained)) for called in rounds}
    cosines, labels = [], []
    generator = torch.Generator().manual_seed(seed)
    for scene in tqdm(scenes, desc='validation', disable=None):
        found = source(scene)
        device = found.inverse.device
        on_device = replace(
            translator, weight=translator.weight.to(device), bias=translator.bias.to(device)
        )
        norms = on_device.norms(found.features)
        for called, matrix in matrices.items():
            for names in rounds[called]:
                cosine = on_device.scores(found.features, names, norms)
                matrix.add(scene.segment, cosine.argmax(1)[found.inverse].cpu().numpy())
        rows, label = _drawn(scene, found, generator)
        cosines.append(on_device.scores(found.features, texts.names, norms).cpu()[rows])
        labels.append(label)
    if sum(map(len, labels)) == 0:
        raise ConcertoError('no point of the validation scenes has a label: check data.segment')
    return ZeroShot(
        scores={called: matrix.scores() for called, matrix in matrices.items()},
        cosine=torch.cat(cosines),
        label=torch.cat(labels),
    )


def vocabularies(texts: EmbeddedTexts) -> dict[str, list[Tensor]]:
    """Return the (L, D) vocabularies of each way to call the classes.

    In round k each class goes by its k-th text, from the start again where it has fewer, and by
    its name where it has none.
    """
    return {
        NAMES: [texts.names],
        TRAINED: _rounds([own[1:] for own in texts.trained], texts.names),
        HELD_OUT: _rounds(texts.held_out, texts.names),
    }


def _rounds(texts: Sequence[Tensor], names: Tensor) -> list[Tensor]:
    own = [t if len(t) else name[None] for t, name in zip(texts, names, strict=True)]
    return [torch.stack([t[k % len(t)] for t in own]) for k in range(max(map(len, own)))]


def _drawn(
    scene: LabelledScene, found: SceneFeatures, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return (R,) labelled voxels and their labels, on the CPU."""
    segment = torch.from_numpy(scene.segment).to(found.inverse.device)
    label = voxel_label(segment, found.inverse, found.features.num_points).cpu()
    known = (label != IGNORED).nonzero()[:, 0]
    rows = known[torch.randperm(len(known), generator=generator)[:_VOXELS]]
    return rows, label[rows]
