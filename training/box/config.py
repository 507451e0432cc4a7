"""Every value of the making of the box with its default and sentence, written only here."""

from dataclasses import dataclass
from pathlib import Path

from concerto_ros.config.tree import param, section


@dataclass(frozen=True, kw_only=True)
class JobsSection:
    """How the commands are run."""

    output: str = param('runs/box', 'Folder of everything that is made on the way.')
    ship: str = param('concerto_ros/box', 'Folder of the files that ship.')
    parallel: int = param(2, 'Commands at once.', ge=1)
    threads: int = param(1, 'Threads of each on a CPU.', ge=1)
    device: str = param('auto', 'auto, cpu, or cuda.')


@dataclass(frozen=True, kw_only=True)
class RoomsSection:
    """The synthetic rooms; those for testing hold furniture that training never saw."""

    with_images: int = param(240, 'Rooms to pretrain on, from seed 0 on.', ge=1)
    without_images: int = param(400, 'More rooms to tune on, with the seeds after these.', ge=1)
    validation: str = param('1000:1024', 'Seeds of rooms on which scales are fitted.')
    test: str = param('900000:900050', 'Seeds of rooms to report on, and for nothing else.')


@dataclass(frozen=True, kw_only=True)
class StepsSection:
    """Settings of each command; the data and the weights come from here."""

    pretrain: str = param('config/training/rooms.yaml', 'Of the joint pretraining.')
    tune: str = param('config/training/box_tune.yaml', 'Of the tuning with labels.')
    head: str = param('config/training/probe_rooms.yaml', 'Of head and probes.')
    translate: str = param('config/training/translate_rooms.yaml', 'Of the translator.')
    threshold: str = param('config/training/search_threshold.yaml', 'Of the threshold.')
    search: str = param('config/training/search_rooms.yaml', 'Of the search in test rooms.')


@dataclass(frozen=True, kw_only=True)
class BoxConfig:
    """All values of the making of the box."""

    jobs: JobsSection = section(JobsSection)
    rooms: RoomsSection = section(RoomsSection)
    steps: StepsSection = section(StepsSection)

    @property
    def folder(self) -> Path:
        """Of everything that is made on the way."""
        return Path(self.jobs.output)

    @property
    def backbone(self) -> Path:
        """The rounded backbone, without metrics."""
        return self.folder / 'nano.safetensors'

    @property
    def translator(self) -> Path:
        """The translator with its threshold."""
        return self.folder / 'threshold' / 'translator.safetensors'

    def split(self, *names: str) -> str:
        """Return the files of splits of rooms, as settings name them."""
        return ','.join(str(self.folder / 'rooms' / 'splits' / f'{name}.json') for name in names)
