"""Where the parts of a scene lie in a data set."""

from pathlib import Path

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png')


def cloud_folder(root: Path, split: str, scene: str) -> Path:
    """Return where the cloud of a scene lies."""
    return root / split / scene


def image_folder(root: Path, split: str, scene: str) -> Path:
    """Return where the images of a scene lie, and what belongs to them."""
    return root / 'images' / split / scene


def is_complete(root: Path, split: str, scene: str) -> bool:
    """Tell whether a scene was written to its end."""
    return (cloud_folder(root, split, scene) / 'coord.npy').is_file()
