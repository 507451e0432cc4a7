"""Published results of other encoders under this protocol, to lay beside one's own.

Source: Masked Scene Modeling, arXiv 2504.06719, tables 1, 2, 4 and 5; all on the validation
scenes, in percent, without a spread.
"""

from typing import NamedTuple

from concerto_ros.errors import ConfigError
from training.evaluation.class_lists import CLASS_LISTS, ClassList
from training.protocol.regimes import Regime

FULL = Regime(1.0, 0)
END_TO_END = 'trained end to end'
OBJECTS_END_TO_END = 'objects, trained end to end'
_VOCABULARY = {'scannet': 'scannet20', 'scannet200': 'scannet200', 's3dis': 's3dis13'}
_SETS = tuple(_VOCABULARY)
_SHARES = (0.01, 0.05, 0.1, 0.2)
_COUNTS = (20, 50, 100, 200)

# Of all levels: ScanNet, ScanNet200, S3DIS; then ScanNet with shares of the scenes, with points.
_MIOU = {
    ('knn', 'MM3D (PT)'): (
        (19.3, 3.9, 24.6), (9.2, 13.0, 14.1, 15.7), (10.9, 11.8, 12.9, 13.5)),
    ('knn', 'CSC (SR-UNet)'): (
        (24.1, 4.6, 32.0), (12.9, 16.2, 18.7, 19.9), (15.3, 17.1, 18.4, 19.6)),
    ('knn', 'OESSL (SR-UNet)'): (
        (31.0, 6.6, 34.0), (15.9, 20.8, 23.7, 25.9), (20.0, 22.4, 24.4, 24.9)),
    ('knn', 'MSC (SR-UNet)'): (
        (31.3, 7.1, 35.2), (17.6, 21.6, 25.0, 26.8), (20.3, 22.4, 23.6, 25.1)),
    ('knn', 'MSC (HUNet)'): (
        (39.9, 11.0, 39.7), (22.0, 30.6, 33.0, 35.1), (25.4, 27.6, 30.0, 32.0)),
    ('knn', 'MSM (HUNet)'): (
        (65.7, 22.7, 45.7), (35.2, 53.6, 59.4, 60.8), (55.9, 60.3, 61.3, 62.7)),
    ('linear', 'MM3D (PT)'): (
        (26.7, 4.6, 36.6), (16.4, 22.6, 25.5, 26.6), (20.6, 24.2, 25.5, 25.9)),
    ('linear', 'CSC (SR-UNet)'): (
        (27.3, 5.6, 31.1), (17.1, 21.2, 26.0, 27.3), (23.6, 25.6, 26.5, 26.5)),
    ('linear', 'OESSL (SR-UNet)'): (
        (35.4, 9.1, 35.8), (20.4, 28.5, 32.7, 34.4), (30.1, 32.2, 33.2, 33.7)),
    ('linear', 'MSC (SR-UNet)'): (
        (37.3, 10.2, 41.7), (21.9, 31.4, 34.4, 36.2), (31.7, 34.1, 35.1, 35.6)),
    ('linear', 'MSC (HUNet)'): (
        (58.2, 20.3, 57.7), (30.8, 44.3, 50.7, 54.5), (51.9, 55.3, 56.3, 56.8)),
    ('linear', 'MSM (HUNet)'): (
        (68.7, 26.8, 59.5), (35.1, 54.5, 61.5, 63.5), (62.9, 65.9, 67.3, 68.1)),
    (END_TO_END, 'SR-UNet'): (
        (72.2, 25.0, 68.2), (26.1, 47.8, 56.7, 62.9), (41.9, 53.9, 62.2, 65.5)),
    (END_TO_END, 'HUNet'): (
        (77.0, 35.4, 71.3), (19.7, 36.4, 52.5, 67.1), (62.7, 68.9, 73.1, 73.9)),
}  # fmt: skip
_AP50 = {
    ('instances', 'MM3D (PT)'): (4.3, 0.4, 7.7),
    ('instances', 'CSC (SR-UNet)'): (3.5, 0.1, 14.8),
    ('instances', 'OESSL (SR-UNet)'): (13.6, 2.5, 16.5),
    ('instances', 'MSC (SR-UNet)'): (10.1, 1.6, 16.6),
    ('instances', 'MSC (HUNet)'): (24.5, 3.8, 18.2),
    ('instances', 'MSM (HUNet)'): (44.4, 8.8, 23.2),
    (OBJECTS_END_TO_END, 'SR-UNet'): (56.9, 24.5, 59.3),
    (OBJECTS_END_TO_END, 'HUNet'): (65.5, 32.8, 58.4),
}


class Published(NamedTuple):
    """One published number.

    Attributes:
        probe: As in our tables, or `END_TO_END` or `OBJECTS_END_TO_END`.
        name: Of the encoder.
        regime: What there was to learn from.
        percent: mIoU, of objects AP at an overlap of 0.5.
    """

    probe: str
    name: str
    regime: Regime
    percent: float


def check_classes(data_set: str, classes: ClassList) -> None:
    """Refuse published results on other classes than one's own.

    Raises:
        ConfigError: The data set (`run.published`) has other classes.
    """
    if data_set not in _SETS:
        return
    wanted = CLASS_LISTS[_VOCABULARY[data_set]]
    if set(classes.names) != set(wanted):
        raise ConfigError(
            f'"run.published" {data_set} has {len(wanted)} classes, and data.vocabulary '
            f'{classes.vocabulary} has {len(classes.names)}, not the same: set '
            f'run.published=none, or judge that data with data.vocabulary={_VOCABULARY[data_set]}'
        )


def published(data_set: str) -> list[Published]:
    """Return what is published on a data set (`run.published`); nothing for others."""
    if data_set not in _SETS:
        return []
    column = _SETS.index(data_set)
    found = []
    for (probe, name), (sets, by_share, by_count) in _MIOU.items():
        found.append(Published(probe, name, FULL, sets[column]))
        if column == 0:
            found += [
                Published(probe, name, Regime(share, 0), percent)
                for share, percent in zip(_SHARES, by_share, strict=True)
            ]
            found += [
                Published(probe, name, Regime(1.0, count), percent)
                for count, percent in zip(_COUNTS, by_count, strict=True)
            ]
    return found + [Published(*key, FULL, sets[column]) for key, sets in _AP50.items()]
