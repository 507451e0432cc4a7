"""The comparison of `training.compare` on a GPU, after its rooms are made on all cores."""

import sys
from pathlib import Path

import torch

from training.command import read_settings
from training.compare import PROG, stages
from training.compare import main as compare
from training.comparison.config import CompareConfig
from training.image_encoders.small_vit import SmallViT, VitConfig, save_vit
from training.prepare.command import main as prepare

SETTINGS = Path('config/training/compare_gpu.yaml')
# Views, networks and probes that take a moment; written beside the results of a trial.
_TINY = {
    'compare': """
jobs: {seeds: "0", parallel: 2, threads: 1}
data: {train_rooms: 1, test_rooms: 1}
points:
  config: FOLDER/points.yaml
  num_steps: 2
  image_encoder: "vit:FOLDER/vit.pth"
  image_size: 32
probe: {config: FOLDER/probe.yaml}
""",
    'points': """
data: {batch_size: 1, num_workers: 0, voxel_size: 0.1}
views: {max_points: 300}
backbone: {size: nano}
distillation: {hidden: 16, embed: 8, prototypes: 16}
run: {precision: fp32}
""",
    'probe': """
data: {voxel_size: 0.2}
linear: {num_steps: 2, voxels_per_scene: 64}
""",
}


def run_comparison(folder: Path, device: torch.device, num_workers: int, *, tiny: bool) -> int:
    """Make rooms, train, probe, and print the table.

    Args:
        folder: Of everything; what is done stays done.
        device: Of training and probes.
        num_workers: Processes that make rooms.
        tiny: A trial of the script, with numbers that mean nothing.

    Returns:
        The exit status of the comparison.
    """
    return compare(prepare_comparison(folder, device, num_workers, tiny=tiny))


def prepare_comparison(
    folder: Path, device: torch.device, num_workers: int, *, tiny: bool
) -> list[str]:
    """Make the rooms, as `run_comparison` does; return the arguments of the comparison."""
    settings = _write_tiny(folder) if tiny else SETTINGS
    argv = [str(settings), f'jobs.output={folder}', f'jobs.device={device.type}']
    make_rooms(read_settings(CompareConfig, argv, PROG), num_workers, tiny=tiny)
    return argv


def make_rooms(config: CompareConfig, num_workers: int, *, tiny: bool) -> None:
    """Do the first jobs of a comparison, with more processes than it would."""
    small = ('--frames', '4', '--images', '2', '--size', '64x48') if tiny else ()
    for job in stages(config)[0]:
        if not job.done.exists():
            arguments = (*job.arguments[1:], *small, '--workers', str(num_workers))
            if status := prepare(arguments):  # of options that are given twice the last counts
                sys.exit(status)


def _write_tiny(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in _TINY.items():
        (folder / f'{name}.yaml').write_text(text.replace('FOLDER', str(folder)))
    vit = VitConfig(image_size=32, patch_size=16, channels=16, depth=1, heads=1)
    save_vit(SmallViT(vit), folder / 'vit.pth')
    return folder / 'compare.yaml'
