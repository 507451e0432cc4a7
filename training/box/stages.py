"""The commands that make the box."""

from pathlib import Path

from concerto_ros.config.tree import read_plain_yaml
from training.box.config import BoxConfig
from training.jobs.jobs import Job

_ROOMS = 'data.segment=segment55', 'data.vocabulary=rooms55'


def stages(config: BoxConfig) -> list[list[Job]]:
    """Return the jobs in stages; those of a stage need only what is before it."""
    return [
        _data(config),
        [_pretraining(config)],
        [_tuning(config)],
        [_rounding(config)],
        [_translator(config), *_probes(config)],
        [_threshold(config)],
        [_search(config)],
    ]


def _data(config: BoxConfig) -> list[Job]:
    r = config.rooms
    end = r.with_images + r.without_images
    encoder = config.folder / 'encoder.safetensors'
    images = Job(
        name='image encoder',
        arguments=('training.image_encoders.imagenet_encoder', f'--output={encoder}'),
        done=encoder,
    )
    return [
        _rooms(config, 'train', f'0:{r.with_images}', 'train', '--images=8'),
        _rooms(config, 'more', f'{r.with_images}:{end}', 'train', '--images=0'),
        _rooms(config, 'val', r.validation, 'train', '--images=0'),
        _rooms(config, 'test', r.test, 'test', '--images=0'),
        images,
    ]


def _rooms(config: BoxConfig, split: str, seeds: str, families: str, images: str) -> Job:
    return Job(
        name=f'rooms {split}',
        arguments=(
            'training.prepare', 'rooms', f'--seeds={seeds}', f'--families={families}',
            f'--split={split}', images, f'--output={config.folder / "rooms"}', '--workers=1',
        ),
        done=config.folder / 'rooms' / 'splits' / f'{split}.json',
    )  # fmt: skip


def _pretraining(config: BoxConfig) -> Job:
    folder = config.folder / 'joint'
    steps = int(read_plain_yaml(config.steps.pretrain)['run.num_steps'])
    return Job(
        name='pretraining',
        arguments=(
            'training.pretrain', config.steps.pretrain, f'run.output={folder}',
            f'run.device={config.jobs.device}', f'run.keep_every={steps}',
            f'data.splits={config.split("train")}',
            f'cross_modal.image_encoder=timm:tf_efficientnet_lite0@'
            f'{config.folder / "encoder.safetensors"}',
            f'cross_modal.token_cache={config.folder / "tokens"}',
        ),
        done=folder / f'step_{steps:08d}.pth',
    )  # fmt: skip


def _tuning(config: BoxConfig) -> Job:
    return _probe(
        config, 'tuned', config.steps.tune, *_ROOMS,
        f'source.checkpoint={config.folder / "joint" / "last.pth"}',
        f'data.train={config.split("train", "more")}', f'data.validation={config.split("val")}',
    )  # fmt: skip


def _rounding(config: BoxConfig) -> Job:
    tuned = config.folder / 'tuned' / 'backbone.safetensors'
    return Job(
        name='rounding',
        arguments=('training.export', str(tuned), f'--output={config.backbone}', '--half'),
        done=config.backbone,
    )


def _probes(config: BoxConfig) -> list[Job]:
    """Return the head, and what colours and random weights reach on the same rooms."""
    data = f'data.train={config.split("train")}', f'data.validation={config.split("test")}'
    sources = {
        'head': (f'source.checkpoint={config.backbone}',),
        'raw': ('source.kind=raw',),
        'random': ('source.checkpoint=random',),
    }
    return [
        _probe(config, name, config.steps.head, *data, *source) for name, source in sources.items()
    ]


def _probe(config: BoxConfig, name: str, settings: str, *changes: str) -> Job:
    folder = config.folder / name
    return Job(
        name=name,
        arguments=(
            'training.probe', settings, *changes, f'run.output={folder}',
            f'run.device={config.jobs.device}',
        ),
        done=folder / 'results.json',
    )  # fmt: skip


def _translator(config: BoxConfig) -> Job:
    folder = config.folder / 'translator'
    return Job(
        name='translator',
        arguments=(
            'training.translate', config.steps.translate, *_ROOMS,
            f'source.checkpoint={config.backbone}', f'data.train={config.split("train")}',
            f'data.validation={config.split("val")}', f'run.output={folder}',
            f'run.device={config.jobs.device}',
        ),
        done=folder / 'results.json',
    )  # fmt: skip


def _threshold(config: BoxConfig) -> Job:
    fresh = config.folder / 'translator' / 'translator.safetensors'
    settings, seeds = config.steps.threshold, config.rooms.validation
    return _asking(config, 'threshold', settings, seeds, fresh)


def _search(config: BoxConfig) -> Job:
    settings, seeds = config.steps.search, config.rooms.test
    return _asking(config, 'search', settings, seeds, config.translator)


def _asking(config: BoxConfig, name: str, settings: str, seeds: str, translator: Path) -> Job:
    folder = config.folder / name
    return Job(
        name=name,
        arguments=(
            'training.search_quality', settings, f'rooms.seeds={seeds}', f'run.output={folder}',
            f'semantics.checkpoint={config.backbone}', 'semantics.head=',
            f'semantics.translator={translator}', f'map.device={config.jobs.device}',
        ),
        done=folder / 'results.json',
    )  # fmt: skip
