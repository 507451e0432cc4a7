"""Every value of the comparison with masked scene modelling, written only here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from concerto_ros.config.tree import build, param, section
from concerto_ros.errors import ConfigError
from training.comparison.config import CompareConfig, JobsSection

ARMS = {
    'random': 'random weights',
    'points': 'points alone (self-distillation)',
    'joint': 'joint',
    'unet': 'random weights of the U-Net of masked scene modelling',
    'shallow': 'masked colours and normals',
    'msm': 'masked scene modelling',
    'hunet': 'masked scene modelling, network of the paper',
}
U_NETS = ('unet', 'shallow', 'msm', 'hunet')  # the others are encoders alone


class Judged(NamedTuple):
    """What is judged together: the maps of one part of a network.

    Attributes:
        arm: Among `ARMS`.
        part: Of its network.
    """

    arm: str
    part: Literal['encoder', 'decoder']

    @property
    def name(self) -> str:
        """Of its jobs."""
        return f'{self.arm} encoder' if self._is_beside_a_decoder else self.arm

    @property
    def title(self) -> str:
        """For people."""
        return f'{ARMS[self.arm]}, encoder' if self._is_beside_a_decoder else ARMS[self.arm]

    @property
    def _is_beside_a_decoder(self) -> bool:
        return self.part == 'encoder' and self.arm in U_NETS


@dataclass(frozen=True, kw_only=True)
class MaskedJobsSection(JobsSection):
    """How the commands are run."""

    output: str = param('runs/compare_masked', 'Folder of everything.')


@dataclass(frozen=True, kw_only=True)
class BeforeSection:
    """What is taken from another comparison."""

    compare: str = param(
        'runs/compare', 'Folder of training.compare: rooms, joint training, and points alone.'
    )


@dataclass(frozen=True, kw_only=True)
class MaskedSection:
    """The pretrainings by masked scene modelling."""

    config: str = param('config/training/msm_rooms.yaml', 'Settings of all of them.')
    num_steps: int = param(1000, 'Steps of each.', ge=1)


@dataclass(frozen=True, kw_only=True)
class ProtocolSection:
    """How features are judged."""

    config: str = param('config/training/evaluate_rooms.yaml', 'Settings of all.')
    arms: str = param(
        'random,points,joint,unet,shallow,msm', f'Whose features, by commas, of {", ".join(ARMS)}.'
    )
    random_size: str = param('nano', 'Of the encoder of random weights: that of the pretrainings.')

    def __post_init__(self) -> None:
        if not set(self.names) <= set(ARMS) or len(set(self.names)) < len(self.names):
            raise ConfigError(
                f'"protocol.arms" must be different names by commas, of {", ".join(ARMS)}; '
                f'got "{self.arms}"'
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The arms."""
        return tuple(part.strip() for part in self.arms.split(','))

    @property
    def judged(self) -> tuple[Judged, ...]:
        """What of the arms is judged: of U-Nets the decoder, and then the encoder."""
        return tuple(
            Judged(arm, part)
            for arm in self.names
            for part in (('decoder', 'encoder') if arm in U_NETS else ('encoder',))
        )


@dataclass(frozen=True, kw_only=True)
class CompareMaskedConfig:
    """All values of the comparison."""

    jobs: MaskedJobsSection = section(MaskedJobsSection)
    data: BeforeSection = section(BeforeSection)
    masked: MaskedSection = section(MaskedSection)
    protocol: ProtocolSection = section(ProtocolSection)

    def __post_init__(self) -> None:
        if self.folder == self.before.folder:
            raise ConfigError(
                f'"jobs.output" {self.folder} is that of training.compare, whose report.md would '
                'be lost; choose another'
            )

    @property
    def folder(self) -> Path:
        """Of everything."""
        return Path(self.jobs.output)

    @property
    def before(self) -> CompareConfig:
        """Where the other comparison has its files."""
        return build(CompareConfig, {'jobs.output': self.data.compare})

    def run(self, arm: str, seed: int) -> Path:
        """Return the folder of a pretraining."""
        return self.folder / f'{arm}_{seed}'

    def checkpoint(self, arm: str, seed: int) -> Path:
        """Return what a pretraining leaves when it has ended."""
        return self.run(arm, seed) / f'step_{self.masked.num_steps:08d}.pth'

    def results_of(self, judged: Judged, seed: int) -> Path:
        """Return what the protocol says of a part of an arm."""
        name = judged.name.replace(' ', '_')
        return self.folder / 'protocol' / f'{name}_{seed}' / 'results.json'
