"""The labelled scenes of a run, refused before hours are spent if they cannot be used."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from concerto_ros.errors import ConfigError, SourceError
from training.datasets.labelled import label_file
from training.evaluation.class_lists import ClassList, class_list
from training.evaluation.probe_scenes import ProbeScenes
from training.evaluation.results import files_hash
from training.protocol.config import ProtocolConfig
from training.protocol.instances.config import InstanceSection
from training.protocol.reference import check_classes

_CLOUD = ('coord', 'color', 'normal')
_OBJECTS = 'instance'


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledData:
    """Scenes to learn from and to judge by.

    Attributes:
        classes: Of their labels.
        train: To learn from.
        validation: To judge by.
        arrays: Names of the files of a cloud that a run reads.
    """

    classes: ClassList
    train: ProbeScenes
    validation: ProbeScenes
    arrays: tuple[str, ...]

    def names(self) -> dict[str, list[str]]:
        """Return the names of all scenes."""
        return {'train': self.train.names, 'validation': self.validation.names}

    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of what is read of the training, and of the validation scenes."""
        parts = {'train': self.train, 'validation': self.validation}
        return {name: _hash(scenes, self.arrays) for name, scenes in parts.items()}


def labelled_data(config: ProtocolConfig) -> LabelledData:
    """Return the scenes that the settings name.

    Raises:
        ConfigError: No split is named, a scene is both to learn from and to judge by, or classes
            are not those of the published results or of `instances.excluded`.
        SourceError: A split cannot be read, or labels or objects of a scene are missing.
    """
    data = config.data
    classes = class_list(data.vocabulary)
    check_classes(config.run.published, classes)
    train, validation = (
        ProbeScenes(f'data.{part}', splits, data.segment, len(classes.names))
        for part, splits in (('train', data.train), ('validation', data.validation))
    )
    _refuse_common(train, validation)
    has_objects = 'instances' in config.chosen
    if has_objects:
        _refuse_unknown(config.instances.excluded, classes)
    for cloud in (*train.clouds, *validation.clouds):
        label_file(cloud, data.segment)
        if has_objects and not (cloud / f'{_OBJECTS}.npy').is_file():
            raise SourceError(
                f'{cloud} has no {_OBJECTS}.npy, so its objects are not told apart: prepare it '
                'with `training.prepare rooms` or scannet, or leave instances out of "probes"'
            )
    arrays = (*_CLOUD, data.segment, *([_OBJECTS] if has_objects else []))
    return LabelledData(classes=classes, train=train, validation=validation, arrays=arrays)


def _refuse_common(train: ProbeScenes, validation: ProbeScenes) -> None:
    learned = {cloud.resolve() for cloud in train.clouds}
    common = [cloud for cloud in validation.clouds if cloud.resolve() in learned]
    if common:
        raise ConfigError(
            f'{common[0]} stands in "data.train" and in "data.validation" (scenes that do: '
            f'{len(common)}): judge by scenes that nothing was learned from'
        )


def _refuse_unknown(excluded: str, classes: ClassList) -> None:
    """Refuse names of classes to exclude that neither these classes nor the defaults have."""
    known = {*classes.names, *_names(InstanceSection().excluded)}
    unknown = sorted(_names(excluded) - known)
    if unknown:
        raise ConfigError(
            f'"instances.excluded" names {", ".join(unknown)}, and data.vocabulary has no such '
            f'class: choose some of {", ".join(classes.names)}'
        )


def _names(text: str) -> set[str]:
    return {name.strip() for name in text.split(',') if name.strip()}


def _hash(scenes: ProbeScenes, arrays: Sequence[str]) -> str:
    """Return the SHA-256 of names and contents, wherever the folder of the data set lies."""
    digest = hashlib.sha256()
    for name, cloud in zip(scenes.names, scenes.clouds, strict=True):
        digest.update(f'{name.partition("/")[2]}\n'.encode())
        for array in arrays:
            path = cloud / f'{array}.npy'
            if path.is_file():
                digest.update(f'{array} {files_hash([path])}\n'.encode())
    return digest.hexdigest()
