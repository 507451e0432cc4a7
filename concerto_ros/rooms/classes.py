"""Object classes of the synthetic rooms and the ScanNet-20 class each one counts as."""

from concerto_ros.structures import UNKNOWN

UNLABELLED = 'unlabelled'

SCANNET20 = (
    'wall', 'floor', 'cabinet', 'bed', 'chair', 'sofa', 'table', 'door', 'window', 'bookshelf',
    'picture', 'counter', 'desk', 'curtain', 'refrigerator', 'shower curtain', 'toilet', 'sink',
    'bathtub', 'otherfurniture',
)  # fmt: skip

# What ScanNet's label table sends to a NYU40 class outside the twenty (ceiling, lamp, box, ...)
# is unlabelled here too; its "otherfurniture" (trash can, wardrobe, ...) stays otherfurniture.
SCANNET20_OF = {
    'wall': 'wall',
    'floor': 'floor',
    'ceiling': UNLABELLED,
    'door': 'door',
    'window': 'window',
    'cabinet': 'cabinet',
    'kitchen cabinet': 'cabinet',
    'file cabinet': 'cabinet',
    'wardrobe': 'otherfurniture',
    'bed': 'bed',
    'chair': 'chair',
    'office chair': 'chair',
    'armchair': 'chair',
    'stool': UNLABELLED,
    'sofa': 'sofa',
    'ottoman': 'otherfurniture',
    'table': 'table',
    'coffee table': 'table',
    'desk': 'desk',
    'counter': 'counter',
    'bookshelf': 'bookshelf',
    'picture': 'picture',
    'mirror': UNLABELLED,
    'curtain': 'curtain',
    'shower curtain': 'shower curtain',
    'refrigerator': 'refrigerator',
    'toilet': 'toilet',
    'sink': 'sink',
    'bathtub': 'bathtub',
    'nightstand': UNLABELLED,
    'dresser': UNLABELLED,
    'tv stand': 'otherfurniture',
    'lamp': UNLABELLED,
    'television': UNLABELLED,
    'monitor': UNLABELLED,
    'keyboard': UNLABELLED,
    'laptop': UNLABELLED,
    'whiteboard': UNLABELLED,
    'trash can': 'otherfurniture',
    'pillow': UNLABELLED,
    'plant': UNLABELLED,
    'box': UNLABELLED,
    'microwave': UNLABELLED,
    'stove': UNLABELLED,
    'washing machine': 'otherfurniture',
    'radiator': 'otherfurniture',
    'rug': UNLABELLED,
    'book': UNLABELLED,
    'cup': UNLABELLED,
    'bottle': UNLABELLED,
    'bowl': UNLABELLED,
    'ball': UNLABELLED,
    'towel': UNLABELLED,
    'clock': UNLABELLED,
    'backpack': UNLABELLED,
}

ROOM_CLASSES = tuple(SCANNET20_OF)
CLASS_NAMES = ('unknown', *ROOM_CLASSES)
CLASS_ID = {name: index for index, name in enumerate(CLASS_NAMES)}

assert CLASS_ID['unknown'] == UNKNOWN


def scannet20_of(class_name: str) -> str:
    """Return the ScanNet-20 name of a class, or "unlabelled" (as for "unknown")."""
    return SCANNET20_OF.get(class_name, UNLABELLED)
