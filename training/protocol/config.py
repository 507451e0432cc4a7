"""Every value of the protocol with its default, unit, range and sentence, written only here.

Defaults are the published ones for ScanNet (Masked Scene Modeling, arXiv 2504.06719, tables 15
and 16); the README names what the paper leaves open and the option that decides it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from concerto_ros.config.tree import param, section
from concerto_ros.errors import ConfigError
from training.evaluation.config import DataSection
from training.networks.config import BackendsSection
from training.protocol.instances.config import InstanceSection
from training.protocol.sampling import Mode, Normalize
from training.protocol.source import Query

T = TypeVar('T', int, float)
_LEAST_SHARE = 0.0001  # of scenes
PROBES = ('linear', 'knn', 'instances')


@dataclass(frozen=True, kw_only=True)
class RunSection:
    """Where the protocol runs and what it leaves behind."""

    output: str = param(
        'runs/evaluate',
        'Folder of table.md, results.json and lists.json; one of its own for each encoder and '
        'question.',
    )
    seeds: str = param(
        '0,1,2', 'Starts of all random numbers, by commas; the table says how far apart they are.'
    )
    device: str = param('auto', 'auto (CUDA if there is one), cpu, or cuda.')
    precision: Literal['fp32', 'bf16'] = param('fp32', 'Number format of the network.')
    num_threads: int = param(
        0, 'Threads on a CPU; 0: as torch chooses. 1 where cores are shared.', ge=0
    )
    published: Literal['none', 'scannet', 'scannet200', 's3dis'] = param(
        'none', 'Data set of which published results stand below our own in the table.'
    )

    @property
    def numbers(self) -> tuple[int, ...]:
        """The seeds."""
        return numbers('run.seeds', self.seeds, int, 0, 2**31)


@dataclass(frozen=True, kw_only=True)
class EncoderSection(BackendsSection):
    """What is judged."""

    name: str = param(
        'concerto:random',
        'Which encoder, as the README lists them; {seed} in it becomes the seed of the run.',
    )
    family: Literal['encoder', 'decoder', 'both'] = param(
        'decoder', 'Maps of a U-Net that are its levels; an encoder alone has its own only.'
    )
    as_released: bool = param(
        False,
        'Of msm:FILE: infer as its authors do, with attention dropout, curves in random order and '
        'a random point of each voxel; then no two calls agree. Their attention in half precision '
        'is encoder.attention=flash.',
    )


@dataclass(frozen=True, kw_only=True)
class SamplingSection:
    """How the levels become one feature of each place."""

    mode: Mode = param(
        'trilinear',
        'nearest: the cell that holds the place; trilinear: between the middles of cells, empty '
        'ones are zero; trilinear_occupied: without the empty ones; released: as the code of the '
        'paper does, half a cell off.',
    )
    query: Query = param(
        'voxel', 'Places: the middle of each voxel of data.voxel_size, or each raw point.'
    )
    levels: str = param(
        'last;all',
        'Sets of levels, each judged alone, by semicolons: all, last (what the network computes '
        'last), numbers by commas with 0 the finest, each (every level alone), all_but (all but '
        'each).',
    )
    normalize: Normalize = param(
        'none', 'Unit length of each level, of the whole, or of each level and then the whole.'
    )


@dataclass(frozen=True, kw_only=True)
class CacheSection:
    """Features of training voxels, computed once for all probes."""

    voxels_per_scene: int = param(
        0, 'Labelled voxels of a scene that are kept, drawn; 0: all.', ge=0
    )


@dataclass(frozen=True, kw_only=True)
class RegimesSection:
    """How many scenes and labels there are to learn from."""

    scene_shares: str = param(
        '1.0',
        'Shares of the training scenes, by commas, each with all labels; published: '
        '0.01,0.05,0.1,0.2,1.0; empty: none.',
    )
    points_per_scene: str = param(
        '',
        'Labelled points of each scene, by commas, each with all scenes; published: '
        '20,50,100,200; 0: all; empty: none.',
    )
    scene_list: str = param(
        '',
        'File of the names of scenes of a share, a line each, with {percent} for the share; '
        'empty: drawn by seed. Official: scenes/{percent}.txt.',
    )
    point_list: str = param(
        '',
        'File of the labelled points of each scene, with {count} for their number; empty: drawn '
        'by seed. Official: points/points{count}.',
    )

    def __post_init__(self) -> None:
        if self.scene_list and not any(share < 1 for share in self.shares):
            raise ConfigError(
                '"regimes.scene_list" has no effect where all scenes are learned from: leave it '
                'out, or name shares below 1 in regimes.scene_shares'
            )
        if self.point_list and not any(self.counts):
            raise ConfigError(
                '"regimes.point_list" has no effect where all points have labels: leave it out, '
                'or name numbers above 0 in regimes.points_per_scene'
            )

    @property
    def shares(self) -> tuple[float, ...]:
        """Of scenes."""
        return numbers('regimes.scene_shares', self.scene_shares, float, _LEAST_SHARE, 1)

    @property
    def counts(self) -> tuple[int, ...]:
        """Of labelled points."""
        return numbers('regimes.points_per_scene', self.points_per_scene, int, 0, 2**31)


@dataclass(frozen=True, kw_only=True)
class LinearSection:
    """The linear probe: AdamW on half a cosine after a warm-up, cross-entropy."""

    features: Literal['cached', 'augmented'] = param(
        'cached',
        'cached: features of plain scenes, computed once; augmented: of cropped, augmented '
        'scenes, anew in each step.',
    )
    lr: float = param(0.01, 'Peak learning rate.', gt=0.0)
    beta1: float = param(0.9, 'Momentum.', ge=0.0, le=1.0)
    beta2: float = param(0.95, 'Momentum of squares.', ge=0.0, le=1.0)
    weight_decay: float = param(0.01, 'Of AdamW.', ge=0.0)
    batch_size: int = param(8, 'Scenes per step.', ge=1)
    epochs: int = param(200, 'Passes over the training scenes.', ge=1)
    warmup_epochs: int = param(2, 'Of these with a growing learning rate.', ge=0)
    max_points: int = param(120000, 'Most voxels of a scene in a step.', ge=1)
    bias: bool = param(True, 'Give each class a number that is added.')
    standardize: bool = param(
        False, 'Give channels mean 0 and variance 1 over the cached voxels first.'
    )

    def __post_init__(self) -> None:
        if self.warmup_epochs >= self.epochs:
            raise ConfigError(
                f'"linear.warmup_epochs" must be less than linear.epochs, got '
                f'{self.warmup_epochs} and {self.epochs}'
            )
        if self.standardize and self.features == 'augmented':
            raise ConfigError(
                '"linear.standardize" needs the cached features it measures: set '
                'linear.features=cached, or linear.standardize=false'
            )


@dataclass(frozen=True, kw_only=True)
class KnnSection:
    """The k-NN probe: neighbours in a bank of training voxels vote, weighted by cosine."""

    k: int = param(1, 'Neighbours that vote.', ge=1)
    temperature: float = param(0.07, 'Votes weigh exp(cosine / temperature).', gt=0.0)
    normalization: Normalize = param(
        'both',
        'Unit length of: each level, then the whole (both), one of these, or none, which compares '
        'by dot product.',
    )
    bank_per_class: int = param(
        4096,
        'Most voxels of a class in the bank, drawn; 0: all that are cached. Where only few points '
        'have labels, all of them are in the bank.',
        ge=0,
    )


@dataclass(frozen=True, kw_only=True)
class ProtocolConfig:
    """All values of a run of the protocol."""

    probes: str = param(
        'linear,knn', 'By commas: linear (linear map to classes), knn, instances (PointGroup).'
    )
    run: RunSection = section(RunSection)
    encoder: EncoderSection = section(EncoderSection)
    data: DataSection = section(DataSection)
    sampling: SamplingSection = section(SamplingSection)
    regimes: RegimesSection = section(RegimesSection)
    cache: CacheSection = section(CacheSection)
    linear: LinearSection = section(LinearSection)
    knn: KnnSection = section(KnnSection)
    instances: InstanceSection = section(InstanceSection)

    def __post_init__(self) -> None:
        if not self.run.numbers:
            raise ConfigError('"run.seeds" must name a seed: 0, or 0,1,2 to see the spread')
        if not (self.regimes.shares or self.regimes.counts):
            raise ConfigError(
                '"regimes.scene_shares" and "regimes.points_per_scene" name nothing to learn '
                'from: set regimes.scene_shares=1.0 for all scenes'
            )
        if self.chosen == ('instances',) and not (self.regimes.shares or 0 in self.regimes.counts):
            raise ConfigError(
                '"probes" names only instances, which need the labels of all points: set '
                'regimes.scene_shares=1.0'
            )
        if 'instances' in self.chosen and self.sampling.query == 'point':
            raise ConfigError(
                '"probes" names instances, which are sized in voxels: set sampling.query=voxel'
            )

    @property
    def chosen(self) -> tuple[str, ...]:
        """The probes, each once."""
        found = tuple(dict.fromkeys(name.strip() for name in self.probes.split(',')))
        if not set(found) <= set(PROBES):
            raise ConfigError(
                f'"probes" must be some of {", ".join(PROBES)} by commas, got "{self.probes}"'
            )
        return found


def numbers(setting: str, text: str, kind: Callable[[str], T], least: T, most: T) -> tuple[T, ...]:
    """Return the numbers of a list by commas.

    Args:
        setting: Its dotted name, for the message.
        text: The list; empty: no number.
        kind: int or float.
        least: Smallest allowed number.
        most: Largest allowed number.

    Raises:
        ConfigError: A part is no such number, or two are equal.
    """
    try:
        found = tuple(kind(part) for part in text.split(',')) if text.strip() else ()
    except ValueError:
        found = (most + 1,)  # reported below
    if all(least <= number <= most for number in found) and len(set(found)) == len(found):
        return found
    what = 'whole numbers' if kind is int else 'numbers'
    raise ConfigError(
        f'"{setting}" must be different {what} from {least} to {most} by commas, got "{text}"'
    )
