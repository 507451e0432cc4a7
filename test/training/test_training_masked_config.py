"""Settings of masked scene modelling: what is published, and what cannot be meant."""

from dataclasses import replace

import pytest

from concerto_ros.config.tree import build, dump_plain_yaml, flatten, read_plain_yaml
from concerto_ros.errors import ConfigError
from training.masked_scene.config import LossConfig, MaskedConfig, MaskingConfig

SHALLOW = {'target': 'shallow', 'loss.distance': 'mse'}
ROOMS = ('msm_rooms', 'msm_rooms_gpu')
SCALE = {
    'run.output', 'run.precision', 'run.num_steps', 'run.save_every', 'run.log_every',
    'data.batch_size', 'data.num_workers', 'views.max_points', 'views.crop_size',
}  # fmt: skip


def test_defaults_are_those_of_the_paper():
    config = MaskedConfig()
    assert (config.data.voxel_size, config.data.batch_size) == (0.02, 12)
    assert (config.views.crop_size, config.masking.ratio) == (240_000, 0.4)
    assert (config.teacher.momentum, config.teacher.momentum_last) == (0.996, 1.0)
    optimizer = config.optimizer
    assert (optimizer.lr, optimizer.beta1, optimizer.beta2) == (0.0015, 0.9, 0.95)
    assert (optimizer.weight_decay, optimizer.warmup) == (0.05, 60 / 1800)
    assert config.loss.level_weights(5) == pytest.approx(dict.fromkeys(range(5), 0.2))


def read_settings(name, root):
    return build(MaskedConfig, read_plain_yaml(root / f'config/training/{name}.yaml'))


def test_all_files_of_settings_can_be_read(root):
    names = {path.stem for path in (root / 'config/training').glob('msm*.yaml')}
    assert names == {'msm', *ROOMS}
    default = MaskedConfig()
    config = read_settings('msm', root)
    assert config == replace(default, data=replace(default.data, splits=config.data.splits))


@pytest.mark.parametrize('name', ROOMS)
def test_files_for_rooms_differ_in_their_scale_alone(name, root):
    first, other = (
        {p.name: p.value for p in flatten(read_settings(n, root))} for n in (ROOMS[0], name)
    )
    different = {key for key, value in first.items() if other[key] != value}
    assert different <= SCALE
    assert other['loss.target_norm'] != 'none'


def test_settings_are_written_and_read_back(tmp_path):
    config = build(
        MaskedConfig, {'target': 'shallow', 'loss.distance': 'mse', 'masking.level': '2'}
    )
    (tmp_path / 'settings.yaml').write_text(dump_plain_yaml(config))
    assert build(MaskedConfig, read_plain_yaml(tmp_path / 'settings.yaml')) == config


def test_levels_have_the_weights_they_are_given():
    assert LossConfig(levels='last').level_weights(4) == {0: 1.0}
    assert LossConfig(levels='1,3', weights='1,3').level_weights(4) == {1: 0.25, 3: 0.75}
    assert [MaskingConfig(level=level).level_of(4) for level in ('coarsest', '0')] == [3, 0]


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'loss.levels': '2,0'}, 'loss.levels must be all, last, or growing numbers below 4'),
        ({'loss.levels': '4'}, 'loss.levels must be all, last, or growing numbers below 4'),
        ({'loss.levels': 'fine'}, 'loss.levels must be numbers with commas'),
        ({'loss.weights': '1,2'}, 'loss.weights must be one positive number for each of 4'),
        ({'loss.weights': '1,1,1,nan'}, 'loss.weights must be one positive number'),
        ({'loss.weights': '1,1,1,0'}, 'loss.weights must be one positive number'),
        ({'masking.level': '4'}, 'masking.level must be below 4'),
        ({'masking.level': 'finest'}, 'masking.level must be coarsest or a number'),
        ({'target': 'shallow'}, 'loss.distance cosine does not tell how bright a colour is'),
        ({**SHALLOW, 'loss.target_norm': 'layer'}, 'loss.target_norm layer takes away how bright'),
        ({**SHALLOW, 'views.drop_color': 0.1}, 'take away what target shallow is about'),
        ({**SHALLOW, 'views.drop_normal': 0.1}, 'take away what target shallow is about'),
        ({'views.spatial': False, 'views.elastic': True}, 'set views.spatial'),
    ],
)
def test_what_cannot_be_meant_is_told(values, message):
    def read():
        config = build(MaskedConfig, values)
        return config.loss.level_weights(4), config.masking.level_of(4)

    with pytest.raises(ConfigError, match=message):
        read()
