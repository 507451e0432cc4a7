"""The k-NN probe of the protocol: neighbours in a bank of labelled training voxels vote."""

import torch
from torch import Tensor

from training.evaluation.knn_probe import Memory
from training.protocol.config import KnnSection
from training.protocol.feature_rows import LevelRows
from training.protocol.level_set import LevelSet
from training.protocol.rows import CachedRows, LabelledRows

_SIMILARITIES = 1 << 25  # that are held at once


class KnnClassifier:
    """Gives each feature the class that its nearest neighbours in a bank vote for.

    Args:
        rows: Features of all levels.
        labelled: Those of the bank, before `knn.bank_per_class` thins them.
        levels: To read.
        num_classes: L.
        config: Neighbours, normalisation, size of the bank.
        seed: Of what is drawn.
        device: Where features are compared.

    Attributes:
        bank_size: Rows of the bank.
    """

    def __init__(
        self,
        rows: CachedRows,
        labelled: LabelledRows,
        levels: LevelSet,
        num_classes: int,
        config: KnnSection,
        seed: int,
        device: torch.device,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        bank = thin_classes(labelled.label, config.bank_per_class, generator)
        feat = LevelRows(rows.feat, labelled.row, levels, device)[bank]
        feat = levels.normalize(feat, config.normalization)
        label = labelled.label[bank].to(device)
        self._memory = Memory(feat, label, num_classes, config.k, config.temperature)
        self._levels, self._normalization = levels, config.normalization
        self.bank_size = len(bank)

    def __call__(self, feat: Tensor) -> Tensor:
        """Return the (R,) int64 classes of (R, C) features."""
        query = self._levels.normalize(feat, self._normalization)
        parts = torch.split(query, max(_SIMILARITIES // self.bank_size, 1))
        return torch.cat([self._memory.votes(part).argmax(1) for part in parts])


def thin_classes(label: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Draw at most so many rows of each class.

    Args:
        label: (R,) int64.
        most: Of each class; 0: all.
        generator: Decides which.

    Returns:
        (B,) int64 rows, growing.
    """
    order = torch.randperm(len(label), generator=generator)
    by_class = order[label[order].argsort(stable=True)]
    counts = torch.unique_consecutive(label[by_class], return_counts=True)[1].tolist()
    parts = [part[: most or len(part)] for part in torch.split(by_class, counts)]
    return torch.cat(parts).sort().values
