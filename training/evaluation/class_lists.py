"""Names of the classes of public benchmarks, in the order in which labels number them."""

from typing import NamedTuple

from concerto_ros.errors import ConfigError
from concerto_ros.rooms.classes import ROOM_CLASSES
from concerto_ros.semantics import SCANNET20

_S3DIS13 = (
    'ceiling, floor, wall, beam, column, window, door, table, chair, sofa, bookcase, board, '
    'clutter'
)

# Class i is the one with the i-th lowest of the benchmark's ids, which are 1 to 1191 with gaps.
_SCANNET200 = """
wall, chair, floor, table, door, couch, cabinet, shelf, desk, office chair, bed, pillow, sink,
picture, window, toilet, bookshelf, monitor, curtain, book, armchair, coffee table, box,
refrigerator, lamp, kitchen cabinet, towel, clothes, tv, nightstand, counter, dresser, stool,
cushion, plant, ceiling, bathtub, end table, dining table, keyboard, bag, backpack, toilet paper,
printer, tv stand, whiteboard, blanket, shower curtain, trash can, closet, stairs, microwave,
stove, shoe, computer tower, bottle, bin, ottoman, bench, board, washing machine, mirror, copier,
basket, sofa chair, file cabinet, fan, laptop, shower, paper, person, paper towel dispenser, oven,
blinds, rack, plate, blackboard, piano, suitcase, rail, radiator, recycling bin, container,
wardrobe, soap dispenser, telephone, bucket, clock, stand, light, laundry basket, pipe,
clothes dryer, guitar, toilet paper holder, seat, speaker, column, bicycle, ladder,
bathroom stall, shower wall, cup, jacket, storage bin, coffee maker, dishwasher,
paper towel roll, machine, mat, windowsill, bar, toaster, bulletin board, ironing board,
fireplace, soap dish, kitchen counter, doorframe, toilet paper dispenser, mini fridge,
fire extinguisher, ball, hat, shower curtain rod, water cooler, paper cutter, tray, shower door,
pillar, ledge, toaster oven, mouse, toilet seat cover dispenser, furniture, cart,
storage container, scale, tissue box, light switch, crate, power outlet, decoration, sign,
projector, closet door, vacuum cleaner, candle, plunger, stuffed animal, headphones, dish rack,
broom, guitar case, range hood, dustpan, hair dryer, water bottle, handicap bar, purse, vent,
shower floor, water pitcher, mailbox, bowl, paper bag, alarm clock, music stand,
projector screen, divider, laundry detergent, bathroom counter, object, bathroom vanity,
closet wall, laundry hamper, bathroom stall door, ceiling light, trash bin, dumbbell, stair rail,
tube, bathroom cabinet, cd case, closet rod, coffee kettle, structure, shower head,
keyboard piano, case of water bottles, coat rack, storage organizer, folded chair, fire alarm,
power strip, calendar, poster, potted plant, luggage, mattress
"""


def _split(names: str) -> tuple[str, ...]:
    return tuple(' '.join(name.split()) for name in names.split(','))


CLASS_LISTS = {
    'scannet20': SCANNET20.names[1:],
    'scannet200': _split(_SCANNET200),
    's3dis13': _split(_S3DIS13),
    'rooms55': ROOM_CLASSES,  # of our synthetic rooms: everything, other than ScanNet's twenty
}


class ClassList(NamedTuple):
    """Classes in the order in which labels number them.

    Attributes:
        vocabulary: Name of the list; "custom" for one given by names.
        names: Of the classes.
    """

    vocabulary: str
    names: tuple[str, ...]


def class_list(vocabulary: str) -> ClassList:
    """Return the classes that a setting names.

    Args:
        vocabulary: Key of `CLASS_LISTS`, or names separated by commas.

    Raises:
        ConfigError: It is neither.

    Source: ScanNet benchmark (kaldir.vc.in.tum.de/scannet_benchmark) and the constants of
        ScanNet200 in the repository ScanNet/ScanNet; S3DIS in the order of the published probes.
    """
    if vocabulary in CLASS_LISTS:
        return ClassList(vocabulary, CLASS_LISTS[vocabulary])
    names = _split(vocabulary)
    if len(names) > 1 and all(names) and len(set(names)) == len(names):
        return ClassList('custom', names)
    raise ConfigError(
        f'data.vocabulary must be one of {", ".join(CLASS_LISTS)}, or different names separated '
        f'by commas, got {vocabulary!r}'
    )
