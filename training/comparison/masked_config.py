"""Every value of the comparison with masked scene modelling, written only here."""

from dataclasses import dataclass
from pathlib import Path

from concerto_ros.config.tree import build, param, section
from concerto_ros.errors import ConfigError
from training.comparison.config import CompareConfig, JobsSection

ARMS = {
    'random': 'random weights',
    'points': 'points alone (self-distillation)',
    'joint': 'joint',
    'shallow': 'masked colours and normals',
    'msm': 'masked scene modelling',
    'hunet': 'masked scene modelling, network of the paper',
}


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

    config: str = param('config/training/msm_rooms.yaml', 'Settings of msm and shallow.')
    hunet_config: str = param('config/training/msm_rooms_hunet.yaml', 'Settings of hunet.')
    num_steps: int = param(1000, 'Steps of each.', ge=1)


@dataclass(frozen=True, kw_only=True)
class ProtocolSection:
    """How features are judged."""

    config: str = param('config/training/evaluate_rooms.yaml', 'Settings of all.')
    arms: str = param(
        'random,points,joint,shallow,msm', f'Whose features, by commas, of {", ".join(ARMS)}.'
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

    def results_of(self, arm: str, seed: int) -> Path:
        """Return what the protocol says of an arm."""
        return self.folder / 'protocol' / f'{arm}_{seed}' / 'results.json'
