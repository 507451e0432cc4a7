"""What all tests share: isolated ROS, seeds, devices, shared data, tiers that must not skip.

`CONCERTO_REQUIRE=ros,gpu,data pytest` makes a skipped test of these tiers a failure, so that a run
in which nothing ran is never green.
"""

import importlib.util
import logging
import os
import random
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

# Read when torch is loaded: its threads must not spin for cores that others keep busy.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
import numpy as np
import torch

from concerto_ros.model import BackboneConfig, PointTransformerV3, save_checkpoint
from concerto_ros.semantics import SCANNET20, ClassHead, Translator

HAS_RCLPY = importlib.util.find_spec('rclpy') is not None
NO_RCLPY = 'rclpy cannot be imported: run make, or source the setup.bash of a ROS 2 installation'
NO_CUDA = 'no CUDA device, or torch is built without CUDA'
REQUIRED = set(filter(None, os.environ.get('CONCERTO_REQUIRE', '').split(',')))
LOG_FOLDER = tempfile.TemporaryDirectory(prefix='concerto_ros_log_')


def isolate_ros():
    """Keep tests among themselves; must run before the first import of rclpy."""
    os.environ.update(
        ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST',
        ROS_DOMAIN_ID=str(os.getpid() % 100 + 1),  # above 101, ports meet those of clients
        ROS_LOG_DIR=LOG_FOLDER.name,
        RCUTILS_COLORIZED_OUTPUT='0',
        PYTHONUNBUFFERED='1',
        FASTDDS_BUILTIN_TRANSPORTS='UDPv4',  # leaves nothing in /dev/shm, even after SIGKILL
    )
    os.environ.setdefault('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp')
    os.environ.setdefault('AMENT_PREFIX_PATH', sys.prefix)
    for name in (
        'FASTRTPS_DEFAULT_PROFILES_FILE',
        'ROS_LOCALHOST_ONLY',
        'ROS_STATIC_PEERS',
        'ROS_DISCOVERY_SERVER',
    ):
        os.environ.pop(name, None)


isolate_ros()
# A shell's background job has Ctrl-C ignored, and processes that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(min(2, os.cpu_count() or 1))


def pytest_configure(config):
    """Refuse at once what cannot be run, and what is no tier."""
    unknown = REQUIRED - {'ros', 'gpu', 'slow', 'data'}
    if unknown:
        raise pytest.UsageError(
            f'CONCERTO_REQUIRE names ros, gpu, slow, data; found {sorted(unknown)}'
        )
    if 'ros' in REQUIRED and not HAS_RCLPY:
        raise pytest.UsageError(f'CONCERTO_REQUIRE=ros, but {NO_RCLPY}')
    if 'gpu' in REQUIRED and not torch.cuda.is_available():
        raise pytest.UsageError(f'CONCERTO_REQUIRE=gpu, but there is {NO_CUDA}')


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector):
    """Skip the modules that need rclpy for their imports where there is none."""
    report = (yield).get_result()
    folder = Path(__file__).parent / 'ros'
    if not HAS_RCLPY and report.failed and folder in Path(collector.path).parents:
        report.outcome = 'skipped'
        report.longrepr = (str(collector.path), 0, f'Skipped: {NO_RCLPY}')


def pytest_collection_modifyitems(items):
    """Mark the tests that need shared data; skip those that need rclpy where there is none."""
    for item in items:
        if 'shared_data' in item.fixturenames:
            item.add_marker(pytest.mark.data)
        if not HAS_RCLPY and item.get_closest_marker('ros'):
            item.add_marker(pytest.mark.skip(reason=NO_RCLPY))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Make a skip a failure where its tier is required."""
    report = (yield).get_result()
    tiers = REQUIRED.intersection(mark.name for mark in item.iter_markers())
    if report.skipped and tiers and not hasattr(report, 'wasxfail'):
        report.outcome = 'failed'
        report.longrepr = f'CONCERTO_REQUIRE={",".join(sorted(tiers))}, but: {report.longrepr[2]}'


@pytest.fixture(autouse=True)
def seeded():
    """Start every test with the same random numbers."""
    random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def own_log():
    """Take away the log that a command sets up: the next test has another terminal."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = [handler for handler in root.handlers if handler in before]
    root.setLevel(level)


@pytest.fixture(params=['cpu', pytest.param('cuda', marks=pytest.mark.gpu)])
def device(request):
    """Run a test on the CPU and, if there is one, on the GPU."""
    if request.param == 'cuda' and not torch.cuda.is_available():
        pytest.skip(NO_CUDA)
    return torch.device(request.param)


@pytest.fixture(scope='session')
def shared_data():
    """Return the folder of recordings and weights that lies beside the checkout."""
    folder = Path(__file__).resolve().parents[1].parent / 'shared' / 'data'
    if not folder.is_dir():
        pytest.skip(f'{folder} is absent: it holds recordings too large for the repository')
    return folder


@pytest.fixture(scope='session')
def tiny_weights(tmp_path_factory):
    """Return a function that writes a seeded network and all that reads its features.

    It takes the channels and heads of the five stages and gives the parameters that name the
    files: backbone, ScanNet head, translator, and the words of its text space.
    """
    return partial(write_tiny_weights, tmp_path_factory)


def write_tiny_weights(tmp_path_factory, channels=(16, 32, 32, 48, 64), heads=(1, 2, 2, 3, 4)):
    folder = tmp_path_factory.mktemp('weights')
    generator = torch.Generator().manual_seed(1)
    config = BackboneConfig(
        enc_depths=(1,) * 5, enc_channels=channels, enc_num_head=heads, enc_patch_size=(64,) * 5
    )
    model = PointTransformerV3(config)
    with torch.no_grad():  # unit gain, so that all layers matter
        for t in model.parameters():
            noise = torch.randn(t.shape, generator=generator)
            t.copy_(noise / t[0].numel() ** 0.5 if t.ndim > 1 else t + noise / 5)
    save_checkpoint(model, folder / 'backbone.safetensors')
    ClassHead(
        weight=torch.randn(20, config.out_channels, generator=generator) / 4,
        bias=torch.zeros(20),
        names=SCANNET20.names[1:],
        vocabulary='scannet20',
    ).save(folder / 'head.safetensors')
    words = ('wall', 'chair', 'blue chair', 'lamp')
    embedding = torch.randn(len(words), 8, generator=generator)
    np.savez(folder / 'words.npz', names=words, embedding=embedding, text_encoder='test space')
    Translator(
        weight=torch.randn(8, config.out_channels, generator=generator),
        bias=torch.zeros(8),
        text_encoder='test space',
        logit_scale=5.0,
    ).save(folder / 'translator.safetensors')
    return {
        'semantics.checkpoint': str(folder / 'backbone.safetensors'),
        'semantics.head': str(folder / 'head.safetensors'),
        'semantics.translator': str(folder / 'translator.safetensors'),
        'semantics.text_encoder': f'vocabulary:{folder / "words.npz"}',
        'semantics.vocabulary': 'wall, chair, lamp',
    }
