"""Every value of a comparison with its default and sentence, written only here."""

from dataclasses import dataclass
from pathlib import Path

from concerto_ros.config.tree import param, section
from concerto_ros.errors import ConfigError
from training.image_encoders.imagenet_encoder import MODEL


@dataclass(frozen=True, kw_only=True)
class JobsSection:
    """How the commands are run."""

    output: str = param('runs/compare', 'Folder of everything.')
    seeds: str = param('0,1,2', 'Seeds of the pretrainings and probes, by commas.')
    parallel: int = param(2, 'Commands at once.', ge=1)
    threads: int = param(1, 'Threads of each on a CPU.', ge=1)
    device: str = param('auto', 'auto, cpu, or cuda.')

    def __post_init__(self) -> None:
        parts = [part.strip() for part in self.seeds.split(',')]
        if not all(part.isdecimal() for part in parts) or len(set(self.numbers)) < len(parts):
            raise ConfigError(
                f'"jobs.seeds" must be different whole numbers by commas, such as 0,1,2; '
                f'got "{self.seeds}"'
            )

    @property
    def numbers(self) -> tuple[int, ...]:
        """The seeds."""
        return tuple(int(part) for part in self.seeds.split(','))


@dataclass(frozen=True, kw_only=True)
class RoomsSection:
    """The synthetic rooms; those for testing hold furniture that training never saw."""

    train_rooms: int = param(240, 'Rooms to train on, from seed 0 on.', ge=1)
    test_rooms: int = param(40, 'Rooms to report on.', ge=1)
    test_seed: int = param(2000, 'First seed of these.', ge=0)

    def __post_init__(self) -> None:
        if self.test_seed < self.train_rooms:
            raise ConfigError(
                f'"data.test_seed" {self.test_seed} is among the {self.train_rooms} rooms of '
                '"data.train_rooms"; choose a higher one'
            )


@dataclass(frozen=True, kw_only=True)
class PointsSection:
    """The pretrainings."""

    config: str = param('config/training/rooms.yaml', 'Settings of both.')
    num_steps: int = param(1000, 'Steps of each.', ge=1)
    image_encoder: str = param('', 'For both; empty: one of ImageNet, from the package index.')
    image_size: int = param(448, 'Square that images are resized to.', unit='px', ge=8)


@dataclass(frozen=True, kw_only=True)
class ProbesSection:
    """The probes."""

    config: str = param('config/training/probe_rooms.yaml', 'Settings of all.')


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """All values of a comparison."""

    jobs: JobsSection = section(JobsSection)
    data: RoomsSection = section(RoomsSection)
    points: PointsSection = section(PointsSection)
    probe: ProbesSection = section(ProbesSection)

    @property
    def folder(self) -> Path:
        """Of everything."""
        return Path(self.jobs.output)

    @property
    def rooms(self) -> Path:
        """Root of the data set."""
        return self.folder / 'rooms'

    @property
    def encoder_file(self) -> Path:
        """Weights of the image encoder from the package index."""
        return self.folder / 'encoder.safetensors'

    @property
    def encoder(self) -> str:
        """Name of the image encoder."""
        return self.points.image_encoder or f'timm:{MODEL}@{self.encoder_file}'

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of pretrainings and probes."""
        return self.jobs.numbers

    def split(self, name: str) -> str:
        """Return the list of samples of a part of the rooms."""
        return str(self.rooms / 'splits' / f'{name}.json')

    def run(self, kind: str, seed: int) -> Path:
        """Return the folder of a pretraining."""
        return self.folder / f'{kind}_{seed}'

    def probe_of(self, row: str, seed: int) -> Path:
        """Return the folder of a probe."""
        return self.folder / 'probes' / f'{row}_{seed}'
