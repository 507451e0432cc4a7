"""Lists of samples: which cloud and which images belong together."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concerto_ros.errors import SourceError
from training.datasets.folders import IMAGE_SUFFIXES, cloud_folder, image_folder, is_complete
from training.datasets.whole_file import written_whole

_CURE = 'write it with training.prepare, or unpack the published archive again'


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFiles:
    """Files of one sample.

    Attributes:
        name: ROOT/SPLIT/SAMPLE, so that equal names of several data sets stay apart.
        cloud: Folder of coord.npy and the like.
        images: Files; none if the sample has no image.
        correspondences: One for each image.
    """

    name: str
    cloud: Path
    images: tuple[Path, ...]
    correspondences: tuple[Path, ...]


def read_split(path: Path) -> list[SampleFiles]:
    """Read a list of samples.

    Args:
        path: ROOT/splits/NAME.json. Published lists count their paths from a working directory
            ("data/scannet/train/..."); they are found under ROOT by leaving out their beginning,
            else from the current folder.

    Returns:
        The samples in the order of the file.

    Raises:
        SourceError: The file is missing or is no such list, or none of its clouds is there.
    """
    path = Path(path)
    root = path.resolve().parent.parent
    samples = _load(path)
    base, num_dropped = _find_base(path, root, samples)
    prefix = f'{root.name}/{path.stem}'

    def located(text: str) -> Path:
        return base.joinpath(*Path(text).parts[num_dropped:])

    return [
        SampleFiles(
            name=f'{prefix}/{name}',
            cloud=located(sample['pointclouds']),
            images=tuple(map(located, sample['images'])),
            correspondences=tuple(map(located, sample['correspondences'])),
        )
        for name, sample in samples.items()
    ]


def _load(path: Path) -> dict[str, dict[str, Any]]:
    """Return the samples of a file with all three keys, in equal numbers."""
    try:
        samples = json.loads(path.read_text())
    except (OSError, ValueError) as err:
        raise SourceError(
            f'{path} is no list of samples that can be read ({err}); {_CURE}'
        ) from err
    if not isinstance(samples, dict) or not samples:
        raise SourceError(f'{path} should map names of samples to their files; {_CURE}')
    return {name: _checked(path, name, sample) for name, sample in samples.items()}


def _checked(path: Path, name: str, sample: Any) -> dict[str, Any]:
    if not isinstance(sample, dict) or not isinstance(sample.get('pointclouds'), str):
        raise SourceError(f'{path}: sample "{name}" should name a folder "pointclouds"; {_CURE}')
    images = sample.get('images') or []
    correspondences = sample.get('correspondences') or []
    if len(images) != len(correspondences):
        raise SourceError(
            f'{path}: sample "{name}" should have as many correspondences as images, '
            f'found {len(correspondences)} and {len(images)}; {_CURE}'
        )
    return {**sample, 'images': images, 'correspondences': correspondences}


def _find_base(path: Path, root: Path, samples: dict[str, dict[str, Any]]) -> tuple[Path, int]:
    """Return the folder that paths count from, and how many of their first parts to leave out."""
    clouds = dict.fromkeys(sample['pointclouds'] for sample in samples.values())
    for cloud in clouds:
        parts = Path(cloud).parts
        for num_dropped in range(len(parts)):
            if root.joinpath(*parts[num_dropped:]).is_dir():
                return root, num_dropped
        if Path(cloud).is_dir():
            return Path(), 0
    raise SourceError(
        f'{path} lists {len(clouds)} clouds, and none of them is there, neither under {root} nor '
        f'under the current folder; the first is {next(iter(clouds))}: unpack them under {root}'
    )


def write_split(root: Path, split: str, scenes: Sequence[str], images_per_sample: int = 4) -> Path:
    """Write the list of samples: consecutive images share a sample, a scene has at least one.

    Args:
        root: Folder of the data set.
        split: Its scenes lie in ROOT/SPLIT.
        scenes: Names, in the order of the samples.
        images_per_sample: Most images of a sample.

    Returns:
        The file. Its paths are relative to `root`.

    Raises:
        SourceError: A scene was not written to its end.
    """
    samples: dict[str, dict[str, object]] = {}
    for scene in scenes:
        if not is_complete(root, split, scene):
            raise SourceError(f'Scene "{scene}" of {root / split} is incomplete: prepare it first')
        images = _image_paths(root, split, scene)
        for number, start in enumerate(range(0, max(len(images), 1), images_per_sample)):
            samples[f'{scene}_{number}'] = _sample(
                root, cloud_folder(root, split, scene), images[start : start + images_per_sample]
            )
    path = root / 'splits' / f'{split}.json'
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(samples, indent=1))
    return path


def _image_paths(root: Path, split: str, scene: str) -> list[Path]:
    files = (image_folder(root, split, scene) / 'color').glob('*')
    return sorted(path for path in files if path.suffix in IMAGE_SUFFIXES)


def _sample(root: Path, cloud: Path, images: list[Path]) -> dict[str, object]:
    correspondences = [p.parent.parent / 'correspondence' / f'{p.stem}.npy' for p in images]
    return {
        'pointclouds': str(cloud.relative_to(root)),
        'images': [str(path.relative_to(root)) for path in images],
        'correspondences': [str(path.relative_to(root)) for path in correspondences],
    }
