"""Do features of all levels beat those of the last, and masked scenes what else there is?

python -m training.compare_masked config/training/compare_masked.yaml

Goes on from the folder of `training.compare`: with its rooms and seeds it pretrains by masked
scene modelling, once towards a teacher's features and once towards colours and normals, judges
these, the joint training, points alone and random weights by one protocol, and writes the table.
Of U-Nets the maps of the decoder are judged, and those of the encoder beside them.
What is done stays done: the same command goes on where it stopped, more seeds and arms are added,
and other changes want another folder.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from concerto_ros.errors import ConfigError
from training.command import read_settings
from training.comparison.masked_config import U_NETS, CompareMaskedConfig, Judged
from training.comparison.masked_report import write_report
from training.jobs.jobs import Job
from training.jobs.stages import output_told, run_resumable, run_stages
from training.masked_scene.config import MaskedConfig

PROG = 'training.compare_masked'
_CHANGES: dict[str, tuple[str, ...]] = {
    'shallow': ('target=shallow', 'loss.distance=smooth_l1'),
    'msm': (),
    'hunet': ('network.kind=hunet',),
}


def main(argv: Sequence[str]) -> int:
    """Run the command and return the exit status; see `run_resumable`."""
    return run_resumable(PROG, CompareMaskedConfig, _compare, argv)


def _compare(config: CompareMaskedConfig) -> str:
    """Run what is not done and return the report.

    Raises:
        ConcertoError: Settings are wrong, the other comparison is not done, a job failed, or the
            folder cannot be written.
        StopRequestedError: Ctrl-C or SIGTERM came.
    """
    c = config.jobs
    run_stages(stages(config), config.folder, parallel=c.parallel, threads=c.threads)
    with output_told(config.folder):
        return write_report(config)


def stages(config: CompareMaskedConfig) -> list[list[Job]]:
    """Return pretrainings, and then what judges features.

    Raises:
        ConfigError: What the other comparison should have left is not there.
    """
    arms, seeds = config.protocol.names, config.jobs.numbers
    for name in ('train', 'test'):
        _left(Path(config.before.split(name)))
    return [
        [_pretraining(config, arm, seed) for seed in seeds for arm in arms if arm in _CHANGES],
        [_judgement(config, judged, seed) for seed in seeds for judged in config.protocol.judged],
    ]


def _pretraining(config: CompareMaskedConfig, arm: str, seed: int) -> Job:
    m = config.masked
    return Job(
        name=f'{arm} {seed}',
        arguments=(
            'training.pretrain_masked', m.config,
            f'data.splits={config.before.split("train")}', f'run.seed={seed}',
            f'run.num_steps={m.num_steps}', f'run.keep_every={m.num_steps}',
            f'run.device={config.jobs.device}', *_CHANGES[arm],
            f'run.output={config.run(arm, seed)}',
        ),
        done=config.checkpoint(arm, seed),
    )  # fmt: skip


def _judgement(config: CompareMaskedConfig, judged: Judged, seed: int) -> Job:
    results = config.results_of(judged, seed)
    arm, part = judged
    family = (f'encoder.family={part}',) if arm in U_NETS else ()
    return Job(
        name=f'protocol {judged.name} {seed}',
        arguments=(
            'training.evaluate', config.protocol.config,
            f'encoder.name={_encoder(config, arm, seed)}', *family, f'run.seeds={seed}',
            f'data.train={config.before.split("train")}',
            f'data.validation={config.before.split("test")}', 'sampling.levels=last;all',
            f'run.device={config.jobs.device}', f'run.output={results.parent}',
        ),
        done=results,
    )  # fmt: skip


def _encoder(config: CompareMaskedConfig, arm: str, seed: int) -> str:
    """Return the name that the protocol knows an arm by."""
    if arm == 'random':
        return f'concerto:random#{config.protocol.random_size}'
    if arm == 'unet':
        network = read_settings(MaskedConfig, [config.masked.config], PROG).network
        return f'masked:random#{network.kind}/{network.size}'
    if arm in _CHANGES:
        return f'masked:{config.checkpoint(arm, seed)}'
    folder = config.before.run(arm, seed)
    return f'concerto:{_left(*sorted(folder.glob("step_*.pth")), folder / "step_*.pth")}'


def _left(*paths: Path) -> Path:
    """Return the first path if it exists."""
    if not paths[0].exists():
        raise ConfigError(
            f'{paths[0]} is not there; run training.compare first, with the same seeds, or name '
            'its folder in "data.compare"'
        )
    return paths[0]


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
