"""Imports point down the layers, and every heavy package has one home (see CONTRIBUTING.md)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Lowest first. A module may import from its own entry and from lower layers; entries of one layer
# do not see each other.
LAYERS = [
    ('concerto_ros.errors', 'concerto_ros.structures', 'concerto_ros.weights_file',
     'concerto_ros.published_weights', 'concerto_ros.torchvision_beside_cpu',
     'concerto_ros.box', 'concerto_ros.config'),
    ('concerto_ros.geometry',),
    ('concerto_ros.mapping', 'concerto_ros.model', 'concerto_ros.semantics'),
    ('concerto_ros.search',),
    ('concerto_ros.storage',),
    ('concerto_ros.semantic_map',),
    ('concerto_ros.pipeline',),
    ('concerto_ros.map_saver',),
    ('concerto_ros.io', 'concerto_ros.visualization', 'concerto_ros.rooms'),
    ('concerto_ros.ros', 'concerto_ros.cli', 'training'),
]  # fmt: skip
FOUNDATION = LAYERS[0]  # these see each other
ABOVE_GEOMETRY = tuple(entry for layer in LAYERS[2:-2] for entry in layer)
# Adapters and generators speak in frames and arrays, not in maps or models.
BARRED = {
    'concerto_ros.io': ABOVE_GEOMETRY,
    'concerto_ros.visualization': ABOVE_GEOMETRY,
    'concerto_ros.rooms': ABOVE_GEOMETRY,
    'training': ('concerto_ros.semantic_map', 'concerto_ros.pipeline', 'concerto_ros.map_saver'),
}
ASKING = 'training/search_quality/'  # asks the whole pipeline, as people do
ROS = (
    'rclpy', 'tf2_ros', 'tf2_msgs', 'message_filters', 'sensor_msgs', 'sensor_msgs_py', 'std_msgs',
    'std_srvs', 'geometry_msgs', 'visualization_msgs', 'builtin_interfaces', 'rcl_interfaces',
    'diagnostic_msgs', 'tf_transformations', 'concerto_msgs', 'nav_msgs',
)  # fmt: skip
HOMES = {
    **dict.fromkeys(ROS, ('concerto_ros/ros/',)),
    'rosbags': ('concerto_ros/io/bag_messages.py', 'concerto_ros/io/bag_writer.py'),
    'spconv': ('concerto_ros/model/sparse_conv/',),
    'open_clip': ('concerto_ros/semantics/text_encoder/', 'training/image_encoders/'),
    'safetensors': ('concerto_ros/weights_file.py',),
    'plyfile': ('concerto_ros/visualization/ply.py', 'training/prepare/'),
    'PIL': ('concerto_ros/io/', 'concerto_ros/visualization/', 'concerto_ros/rooms/', 'training/'),
    'tqdm': ('concerto_ros/cli/', 'concerto_ros/ros/', 'training/'),
    'yaml': ('concerto_ros/config/', 'concerto_ros/io/'),
    'timm': ('training/image_encoders/',),
    'peft': ('training/evaluation/',),
    'webdataset': ('training/datasets/',),
    'wids': ('training/datasets/',),
    'tensorboard': ('training/',),
}


def imports_of(path, root):
    """Yield the full name of everything that a file imports, wherever in the file."""
    package = path.relative_to(root).with_suffix('').parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) + 1 - node.level]) if node.level else []
            base += [node.module] if node.module else []
            yield from ('.'.join([*base, alias.name]) for alias in node.names)


def entry_of(name):
    """Return (layer, entry) of a module; (None, None) for what is not ours."""
    for layer, entries in enumerate(LAYERS):
        for entry in entries:
            if name == entry or name.startswith(entry + '.'):
                return layer, entry
    return None, None


def violations(root):
    """List what breaks the rules in a tree, one sentence each."""
    found = []
    for path in sorted([*root.glob('concerto_ros/**/*.py'), *root.glob('training/**/*.py')]):
        relative = path.relative_to(root)
        own_name = '.'.join(relative.with_suffix('').parts).removesuffix('.__init__')
        layer, own = entry_of(own_name)
        barred = () if str(relative).startswith(ASKING) else BARRED.get(own, ())
        if layer is None and own_name != 'concerto_ros':
            found.append(f'{relative} belongs to no layer')
        for name in imports_of(path, root):
            homes = HOMES.get(name.split('.')[0])
            if homes and not str(relative).startswith(homes):
                found.append(f'{relative} imports {name}, whose home is {", ".join(homes)}')
            other_layer, other = entry_of(name)
            if layer is None or other is None or other == own:
                continue
            is_foundation = own in FOUNDATION and other in FOUNDATION
            if (other_layer >= layer and not is_foundation) or other in barred:
                found.append(f'{relative} ({own}) imports {name}')
    return found


def test_the_tree_keeps_the_rules():
    assert violations(ROOT) == []


def test_the_package_itself_imports_nothing():
    assert list(imports_of(ROOT / 'concerto_ros' / '__init__.py', ROOT)) == []


@pytest.mark.parametrize(
    ('path', 'line'),
    [
        ('concerto_ros/geometry/a.py', 'from concerto_ros.mapping import VoxelMap'),
        ('concerto_ros/geometry/a.py', 'import concerto_ros.mapping.voxel_map'),
        ('concerto_ros/mapping/a.py', 'from ..model import ptv3'),
        ('concerto_ros/pipeline.py', 'import rclpy.node'),
        ('concerto_ros/io/a.py', 'def f():\n    from concerto_ros import pipeline'),
        ('concerto_ros/io/a.py', 'from concerto_ros.search import regions'),
        ('concerto_ros/ros/a.py', 'from training import schedules'),
        ('training/a.py', 'from concerto_ros.ros import worker'),
        ('training/translation/a.py', 'import open_clip'),
        ('training/a.py', 'from concerto_ros.pipeline import PerceptionPipeline'),
        ('training/search_quality/a.py', 'from concerto_ros.cli import main'),
        ('concerto_ros/cli/a.py', 'import rosbags'),
        ('concerto_ros/other.py', ''),
    ],
)
def test_a_breach_is_found(tmp_path, path, line):
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(line)
    assert len(violations(tmp_path)) == 1
