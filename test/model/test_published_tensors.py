"""Names and shapes of the published tensors are frozen, so that no refactoring loses a file.

test/data/published_tensors.txt is written by this file, from the published layout, not from our
network, by
`PYTHONPATH=. python test/model/test_published_tensors.py > test/data/published_tensors.txt`.
"""

from pathlib import Path

import pytest
import torch

from concerto_ros.model import BackboneConfig, PointTransformerV3, load_checkpoint
from concerto_ros.semantics import ClassHead
from concerto_ros.weights_file import write_weights

FROZEN = Path(__file__).resolve().parents[1] / 'data' / 'published_tensors.txt'
NETWORKS = {
    'tiny': {
        'enc_depths': (1, 1, 1, 3, 1),
        'enc_channels': (16, 32, 64, 128, 256),
        'enc_num_head': (1, 2, 4, 8, 16),
    },
    'small': {
        'enc_depths': (2, 2, 2, 6, 2),
        'enc_channels': (32, 64, 128, 256, 512),
        'enc_num_head': (2, 4, 8, 16, 32),
    },
    'base': {
        'enc_depths': (3, 3, 3, 12, 3),
        'enc_channels': (48, 96, 192, 384, 512),
        'enc_num_head': (3, 6, 12, 24, 32),
    },
    'large': {
        'enc_depths': (3, 3, 3, 12, 3),
        'enc_channels': (64, 128, 256, 512, 768),
        'enc_num_head': (4, 8, 16, 32, 48),
    },
    # what the layout knows beside: a decoder, gains, and tables of relative positions
    'options': {
        'enc_depths': (1, 2),
        'enc_channels': (16, 32),
        'enc_num_head': (1, 2),
        'enc_patch_size': (128, 128),
        'stride': (2,),
        'enc_mode': False,
        'dec_depths': (1,),
        'dec_channels': (48,),
        'dec_num_head': (3,),
        'dec_patch_size': (128,),
        'layer_scale': 1e-5,
        'enable_rpe': True,
    },
}
SIZES = {'tiny': 4_860_512, 'small': 38_648_992, 'base': 108_461_376, 'large': 207_667_456}
POSITIONS = 3 * (2 * 15 + 1)  # rows of a position table for patches of 128


def frozen(name):
    """Return {tensor name: shape} of one column of the file."""
    header, *rows = (line.split() for line in FROZEN.read_text().splitlines())
    column = header.index(name)
    return {row[0]: tuple(map(int, row[column].split(','))) for row in rows if row[column] != '-'}


def build(name):
    with torch.device('meta'):
        return PointTransformerV3(BackboneConfig(**NETWORKS[name]))


def test_the_file_is_what_this_file_writes():
    assert FROZEN.read_text() == table()


@pytest.mark.parametrize('name', NETWORKS)
def test_the_network_has_the_published_tensors(name):
    state = build(name).state_dict()
    assert {key: tuple(tensor.shape) for key, tensor in state.items()} == frozen(name)


@pytest.mark.parametrize(('name', 'num_parameters'), SIZES.items())
def test_the_network_has_the_published_size(name, num_parameters):
    assert sum(p.numel() for p in build(name).parameters()) == num_parameters


def test_a_file_of_the_published_tensors_loads(tmp_path):
    tensors = {key: torch.ones(shape) for key, shape in frozen('tiny').items()}
    write_weights(tmp_path / 'a.pth', {'in_channels': 9, 'mask_token': True, 'enc_mode': True,
                                       **NETWORKS['tiny']}, tensors)  # fmt: skip
    model, report = load_checkpoint(tmp_path / 'a.pth')
    assert report.num_parameters == SIZES['tiny']
    assert model.state_dict().keys() == tensors.keys()


def test_a_saved_head_has_the_published_tensors(tmp_path):
    shapes = frozen('large_head')
    write_weights(tmp_path / 'a.pth', {}, {key: torch.ones(s) for key, s in shapes.items()})
    head = ClassHead.load(tmp_path / 'a.pth')
    assert head.vocabulary == 'scannet20'
    assert head.weight.shape[1] == BackboneConfig(**NETWORKS['large']).out_channels


# --- the published layout ------------------------------------------------------------------------


def pair(name, *shape):
    """A weight and its bias, which is as long as the weight."""
    return {f'{name}.weight': shape, f'{name}.bias': shape[:1]}


def block_tensors(name, channels, num_heads, options):
    c = channels
    tensors = {
        **pair('cpe.0', c, 3, 3, 3, c), **pair('cpe.1', c, c), **pair('cpe.2', c),
        **pair('norm1.0', c), **pair('attn.qkv', 3 * c, c), **pair('attn.proj', c, c),
        **pair('norm2.0', c), **pair('mlp.0.fc1', 4 * c, c), **pair('mlp.0.fc2', c, 4 * c),
    }  # fmt: skip
    if 'layer_scale' in options:
        tensors |= {'ls1.0.gamma': (c,), 'ls2.0.gamma': (c,)}
    if 'enable_rpe' in options:
        tensors['attn.rpe.rpe_table'] = (POSITIONS, num_heads)
    return {f'{name}.{key}': shape for key, shape in tensors.items()}


def network_tensors(options):
    widths, heads = options['enc_channels'], options['enc_num_head']
    tensors = {'embedding.mask_token': (1, widths[0])}
    tensors |= pair('embedding.stem.linear', widths[0], 9) | pair('embedding.stem.norm', widths[0])
    for s, depth in enumerate(options['enc_depths']):
        if s:
            tensors |= pair(f'enc.enc{s}.down.proj', widths[s], widths[s - 1])
            tensors |= pair(f'enc.enc{s}.down.norm.0', widths[s])
        for i in range(depth):
            tensors |= block_tensors(f'enc.enc{s}.block{i}', widths[s], heads[s], options)
    finer = (*options.get('dec_channels', ()), widths[-1])
    for s, depth in reversed(list(enumerate(options.get('dec_depths', ())))):
        up = f'dec.dec{s}.up'
        tensors |= pair(f'{up}.proj.0', finer[s], finer[s + 1]) | pair(f'{up}.proj.1', finer[s])
        tensors |= pair(f'{up}.proj_skip.0', finer[s], widths[s])
        tensors |= pair(f'{up}.proj_skip.1', finer[s])
        for i in range(depth):
            num_heads = options['dec_num_head'][s]
            tensors |= block_tensors(f'dec.dec{s}.block{i}', finer[s], num_heads, options)
    return tensors


def table():
    """Return the text of the file: a tensor per line, its shape in each network or a dash."""
    columns = {name: network_tensors(options) for name, options in NETWORKS.items()}
    columns['large_head'] = pair('seg_head', 20, sum(NETWORKS['large']['enc_channels']))
    keys = dict.fromkeys(key for name in ('base', 'options', *columns) for key in columns[name])
    lines = [['tensor', *columns]]
    for key in keys:
        shapes = (column.get(key, '-') for column in columns.values())
        lines.append([key, *(','.join(map(str, shape)) for shape in shapes)])
    return '\n'.join(' '.join(line) for line in lines) + '\n'


if __name__ == '__main__':
    print(table(), end='')  # noqa: T201
