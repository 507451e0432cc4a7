"""Every runtime value with its default, unit, range and sentence, written only here."""

from dataclasses import dataclass
from typing import Literal

from concerto_ros import box
from concerto_ros.config.tree import param, section
from concerto_ros.errors import ConfigError

Qos = Literal['auto', 'reliable', 'best_effort']


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """How images, calibration and transforms come in."""

    cameras: str = param(
        '',
        'Names of cameras, separated by commas, whose topics are NAME/color/image and so on; '
        'empty: one camera on color/image and so on.',
    )
    color_transport: Literal['raw', 'compressed'] = param(
        'raw', 'Transport of the colour image; compressed listens to color/image/compressed.'
    )
    depth_transport: Literal['raw', 'compressedDepth'] = param(
        'raw',
        'Transport of the depth image; compressedDepth listens to depth/image/compressedDepth.',
    )
    qos: Qos = param(
        'auto',
        'Reliability of the image subscriptions; auto takes what the publishers offer.',
    )
    queue_size: int = param(10, 'Messages per topic that wait for their partners.', ge=1, le=1000)
    slop: float = param(
        0.05, 'Largest stamp difference within one frame.', unit='s', gt=0.0, le=10.0
    )
    transform_timeout: float = param(
        1.0,
        'How long a frame waits for its transform before it is dropped.',
        unit='s',
        ge=0.0,
        le=60.0,
        live=True,
    )
    reset_on_time_jump: bool = param(
        False, 'Clear the map when time jumps back (a looping recording).', live=True
    )


@dataclass(frozen=True, kw_only=True)
class FramesConfig:
    """Names of coordinate frames (REP 105)."""

    map: str = param('map', 'Corrected world frame; answers are given in it where it exists.')
    odom: str = param(
        'odom', 'Continuous frame; the map is fused in it where it exists, else in frames.map.'
    )
    body: str = param('base_link', 'Frame whose poses the path on pose_graph holds.')


@dataclass(frozen=True, kw_only=True)
class DepthConfig:
    """Which pixels of a depth image are used."""

    min: float = param(0.2, 'Nearest depth that is used.', unit='m', gt=0.0, live=True)
    max: float = param(4.0, 'Farthest depth that is used.', unit='m', gt=0.0, live=True)
    stride: int = param(
        4,
        'Every n-th pixel in both directions is used, another n-th in each frame.',
        ge=1,
        le=16,
        live=True,
    )
    edge: float = param(
        0.04,
        'Neighbouring pixels that differ by more than this share of their depth are two surfaces.',
        gt=0.0,
        live=True,
    )


@dataclass(frozen=True, kw_only=True)
class MapConfig:
    """The voxel map."""

    voxel_size: float = param(0.02, 'Edge length of a voxel.', unit='m', ge=0.002, le=1.0)
    max_weight: float = param(
        64.0,
        'Cap on the weight of a voxel, in looks from one metre: how fast it follows change.',
        ge=1.0,
        live=True,
    )
    max_bytes: int = param(
        2 << 30,
        'Memory for the map; what was not seen for the longest time waits on the disk.',
        unit='B',
        ge=64 << 20,
        le=1 << 44,
    )
    max_misses: int = param(
        3,
        'Looks through a voxel, with nothing measured in it in between, until it is gone; 0: '
        'nothing is removed.',
        ge=0,
        le=255,
        live=True,
    )
    submap_radius: float = param(
        8.0,
        'A part of the map that is moved as one body when drift becomes known reaches so far '
        'from where it was begun, horizontally.',
        unit='m',
        ge=2.0,
        le=500.0,
    )
    submap_height: float = param(1.5, 'The same, vertically.', unit='m', ge=0.5, le=500.0)
    load: str = param(
        '',
        'Folder of a saved map to go on with at the start; the one of map.autosave_path need not '
        'be there yet; empty: an empty map.',
    )
    autosave_path: str = param(
        '',
        'Folder into which the map is saved by itself, in place of a map that is there; empty: it '
        'is not.',
    )
    autosave_period: float = param(
        60.0, 'Time between two such saves.', unit='s', ge=0.1, le=86400.0
    )
    device: str = param(
        'auto', 'Torch device of map and network: auto (CUDA if there is one), cpu, cuda, cuda:1.'
    )


@dataclass(frozen=True, kw_only=True)
class SemanticsConfig:
    """The network and what reads its features."""

    checkpoint: str = param(
        box.NAME,
        'Concerto weights: nano, which comes with the package; a file; or a published name such '
        'as base after "concerto download base"; empty: all labels are unknown.',
    )
    head: str = param(
        box.AUTO,
        'Class head for these weights; auto: that of nano, none for others; empty: none, and no '
        'semantic labels.',
    )
    translator: str = param(
        box.AUTO,
        'Linear map to the text space; auto: that of nano, none for others; empty: none, and no '
        'language labels and no search.',
    )
    text_encoder: str = param(
        '',
        'Text encoder, sentence:all-MiniLM-L6-v2, open_clip:MODEL/PRETRAINED or '
        'vocabulary:FILE.npz; empty: the one that the translator names.',
    )
    vocabulary: str = param(
        '',
        'Names for the language labels, separated by commas; empty: those that the translator '
        'was trained with, or those of the head.',
    )
    precision: Literal['fp32', 'bf16', 'fp16'] = param(
        'fp32',
        'Arithmetic of the network; bf16 is faster where the processor has it, fp16 is for CUDA.',
    )
    convolution: Literal['auto', 'torch', 'spconv'] = param(
        'torch',
        'What computes convolutions; auto: spconv where it can run, whose sums do not repeat bit '
        'by bit.',
    )
    attention: Literal['auto', 'sdpa', 'flash'] = param(
        'auto',
        'What computes attention: PyTorch, or the package flash_attn in half precision; auto: '
        'flash where it can run, unless precision is fp32.',
    )
    min_confidence: float = param(
        0.0, 'A label with less confidence is unknown.', ge=0.0, le=1.0, live=True
    )
    period: float = param(
        1.0,
        'Shortest time between two runs of the network.',
        unit='s',
        ge=0.0,
        le=3600.0,
        live=True,
    )
    max_points: int = param(200_000, 'Most voxels in one run of the network.', ge=1, live=True)
    max_latency: float = param(
        0.0,
        'How long one run of the network should take at most; fewer voxels are taken then. 0: no '
        'limit, and the same frames give the same labels.',
        unit='s',
        ge=0.0,
        le=60.0,
        live=True,
    )
    halo: int = param(
        4,
        'What the network sees around the part that it looks at, in cells of its coarsest level '
        '(16 times those of its input).',
        ge=0,
        le=16,
    )


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Answers to text queries.

    One threshold, `min_score`, is behind all verdicts. A translator brings its own, fitted on
    validation rooms together with its temperature.
    """

    max_results: int = param(10, 'Objects in an answer when the request names no number.', ge=1)
    min_score: float = param(
        0.0,
        'Smallest score of a part of an object when the request names none; below it, things are '
        'called absent; 0: as fitted with the translator, 0.5 if it was not.',
        ge=0.0,
        le=1.0,
        live=True,
    )
    min_size: float = param(
        0.09,
        'Smallest object: edge of a square with as much surface.',
        unit='m',
        ge=0.0,
        live=True,
    )
    gap: float = param(
        0.06,
        'Points closer than this belong to one object, unless two large things only touch.',
        unit='m',
        gt=0.0,
        live=True,
    )
    observed_share: float = param(
        0.5,
        'Share of a region that must have been seen before an object is called absent.',
        ge=0.0,
        le=1.0,
        live=True,
    )


@dataclass(frozen=True, kw_only=True)
class PublishConfig:
    """What goes out, and how often."""

    map_period: float = param(
        2.0, 'Shortest time between two full maps.', unit='s', ge=0.01, le=3600.0, live=True
    )
    update_period: float = param(
        0.5, 'Shortest time between two map updates.', unit='s', ge=0.01, le=3600.0, live=True
    )
    warning_period: float = param(
        5.0,
        'Shortest time between two reports of dropped frames.',
        unit='s',
        ge=0.01,
        le=3600.0,
        live=True,
    )


@dataclass(frozen=True, kw_only=True)
class ConcertoConfig:
    """Everything that can be set."""

    input: InputConfig = section(InputConfig)
    frames: FramesConfig = section(FramesConfig)
    depth: DepthConfig = section(DepthConfig)
    map: MapConfig = section(MapConfig)
    semantics: SemanticsConfig = section(SemanticsConfig)
    search: SearchConfig = section(SearchConfig)
    publish: PublishConfig = section(PublishConfig)

    def __post_init__(self) -> None:
        if self.depth.min >= self.depth.max:
            raise ConfigError(
                f'parameter "depth.min" ({self.depth.min} m) must be smaller than '
                f'"depth.max" ({self.depth.max} m)'
            )
        readers = {self.semantics.head, self.semantics.translator} - {box.AUTO, ''}
        if readers and not self.semantics.checkpoint:
            raise ConfigError(
                'parameter "semantics.head" or "semantics.translator" is set without '
                '"semantics.checkpoint"; name the weights they were made for'
            )
