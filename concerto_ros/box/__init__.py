"""The model in the box: a small Concerto of our own, with class head and translator.

Its weights come with the package, so that labels and search mean something from the first minute
on, without a download. README.md says how they were made and what they can and cannot do.
"""

from pathlib import Path

NAME = 'nano'
HEAD = 'nano_scannet_head'
TRANSLATOR = 'nano_translator'

_FOLDER = Path(__file__).parent
BOX = {name: _FOLDER / f'{name}.safetensors' for name in (NAME, HEAD, TRANSLATOR)}
