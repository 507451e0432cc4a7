"""Does joint training beat points alone, images alone, and both side by side? Measured.

python -m training.compare config/training/compare_rooms.yaml

Prepares synthetic rooms, takes an image encoder trained on ImageNet, pretrains the backbone
jointly and on points alone with the same seeds, probes all of it on rooms whose furniture was
never trained on, and writes the table. What is done stays done: the same command goes on where
it stopped, more seeds are added, and other changes want another folder.
"""

import sys
from collections.abc import Sequence

from training.comparison.config import CompareConfig
from training.comparison.report import write_report
from training.jobs.jobs import Job
from training.jobs.stages import output_told, run_resumable, run_stages

PROG = 'training.compare'


def main(argv: Sequence[str]) -> int:
    """Run the command and return the exit status; see `run_resumable`."""
    return run_resumable(PROG, CompareConfig, _compare, argv)


def _compare(config: CompareConfig) -> str:
    """Run what is not done and return the report.

    Raises:
        ConcertoError: Settings are wrong, a job failed, or the folder cannot be written.
        StopRequestedError: Ctrl-C or SIGTERM came.
    """
    c = config.jobs
    run_stages(stages(config), config.folder, parallel=c.parallel, threads=c.threads)
    with output_told(config.folder):
        return write_report(config)


def stages(config: CompareConfig) -> list[list[Job]]:
    """Return the jobs in stages; those of a stage need only what is before it."""
    return [
        _rooms(config),
        [] if config.points.image_encoder else [_image_encoder(config)],
        [job for seed in config.seeds for job in _pretrainings(config, seed)],
        [job for seed in config.seeds for job in _probes(config, seed)],
    ]


def _rooms(config: CompareConfig) -> list[Job]:
    d = config.data
    parts = (('train', 0, d.train_rooms), ('test', d.test_seed, d.test_rooms))
    return [
        Job(
            name=f'rooms {split}',
            arguments=(
                'training.prepare', 'rooms', f'--seeds={first}:{first + num}',
                f'--families={split}', f'--split={split}', f'--output={config.rooms}',
                '--workers=1',
            ),
            done=config.rooms / 'splits' / f'{split}.json',
        )
        for split, first, num in parts
    ]  # fmt: skip


def _image_encoder(config: CompareConfig) -> Job:
    return Job(
        name='image encoder',
        arguments=(
            'training.image_encoders.imagenet_encoder', f'--output={config.encoder_file}',
        ),
        done=config.encoder_file,
    )  # fmt: skip


def _pretrainings(config: CompareConfig, seed: int) -> list[Job]:
    """Return joint training and training on points alone; all but the images is the same."""
    common = (
        f'data.splits={config.split("train")}', f'run.seed={seed}',
        f'run.num_steps={config.points.num_steps}',
        f'run.keep_every={config.points.num_steps}', f'run.device={config.jobs.device}',
        f'cross_modal.image_encoder={config.encoder}',
        f'cross_modal.image_size={config.points.image_size}',
        f'cross_modal.token_cache={config.folder / "tokens"}', 'augmentation.image=false',
    )  # fmt: skip
    alone = ('cross_modal.weight=0.0', 'distillation.mask_weight=0.25',
             'distillation.roll_weight=0.25', 'distillation.unmask_weight=0.5')  # fmt: skip
    return [
        Job(
            name=f'{kind} {seed}',
            arguments=(
                'training.pretrain', config.points.config, *common, *changes,
                f'run.output={config.run(kind, seed)}',
            ),
            done=config.run(kind, seed) / f'step_{config.points.num_steps:08d}.pth',
        )
        for kind, changes in (('joint', ()), ('points', alone))
    ]  # fmt: skip


def _probes(config: CompareConfig, seed: int) -> list[Job]:
    """Return the probes of one seed, of the rows of the table."""
    state = {k: f'source.checkpoint={config.run(k, seed) / "last.pth"}' for k in
             ('joint', 'points')}  # fmt: skip
    rows = {
        'raw': ('source.kind=raw',),
        'random': ('source.kind=backbone', 'source.checkpoint=random'),
        'points': ('source.kind=backbone', state['points']),
        'lifted': ('source.kind=lifted',),
        'concat': ('source.kind=concat', state['points']),
        'joint': ('source.kind=backbone', state['joint']),
    }
    return [
        Job(
            name=f'probe {row} {seed}',
            arguments=(
                'training.probe', config.probe.config, *changes, f'run.seed={seed}',
                f'data.train={config.split("train")}', f'data.validation={config.split("test")}',
                f'source.image_encoder={config.encoder}',
                f'source.image_size={config.points.image_size}',
                f'source.token_cache={config.folder / "tokens"}',
                f'run.device={config.jobs.device}', f'run.output={config.probe_of(row, seed)}',
            ),
            done=config.probe_of(row, seed) / 'results.json',
        )
        for row, changes in rows.items()
    ]  # fmt: skip


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
