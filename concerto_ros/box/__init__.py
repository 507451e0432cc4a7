"""The model in the box: a small Concerto of our own, with class head and translator.

Its weights come with the package, so that labels and search mean something from the first minute
on, without a download. README.md says how they were made and what they can and cannot do.
"""

from pathlib import Path

AUTO = 'auto'
NAME = 'nano'
HEAD = 'nano_scannet_head'
TRANSLATOR = 'nano_translator'

_FOLDER = Path(__file__).parent
BOX = {name: _FOLDER / f'{name}.safetensors' for name in (NAME, HEAD, TRANSLATOR)}


def resolve(name: str, checkpoint: str, boxed: str) -> str:
    """Return the weights that read the features of a checkpoint.

    Args:
        name: As the settings name them; `AUTO`: what is in the box, if it was trained on the
            checkpoint, else none.
        checkpoint: Of the backbone, as the settings name it.
        boxed: `HEAD` or `TRANSLATOR`.

    Returns:
        A name or file; empty: none.
    """
    if name == AUTO:
        return boxed if checkpoint == NAME else ''
    return name
