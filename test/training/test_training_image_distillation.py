"""Crops of images, and a small transformer that learns from them."""

import copy
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from concerto_ros.config.tree import build, flatten
from concerto_ros.errors import ConfigError, SourceError
from training.datasets.loader import make_loader
from training.images.config import CropsConfig, ImageTrainingConfig
from training.images.crops import change_colors, collate_images, draw_crops
from training.images.dataset import ImageDataset
from training.images.distillation import ImageDistillation
from training.images.places import draw_patch_mask, same_place
from training.images.task import ImageTask
from training.optimizer import apply_step_values, make_optimizer
from training.schedules import step_values
from training.stopping import StopRequestedError
from training.trainer import Trainer

CONFIG = build(
    ImageTrainingConfig,
    {
        'run.num_steps': 40,
        'data.batch_size': 4,
        'network.image_size': 32,
        'network.patch_size': 8,
        'network.channels': 32,
        'network.depth': 2,
        'network.heads': 2,
        'crops.local_size': 16,
        'crops.num_local': 2,
        'distillation.hidden': 32,
        'distillation.embed': 16,
        'distillation.prototypes': 8,
        'optimizer.lr': 0.003,
    },
)


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f'{i}.png' for i in range(6)]
    for path in paths:
        small = Image.fromarray(rng.integers(0, 255, (3, 4, 3), np.uint8))
        small.resize((40, 30), Image.Resampling.NEAREST).save(path)
    return paths


@pytest.fixture
def batch(files):
    return next(iter(make_loader(ImageDataset(files, CONFIG), [range(4)], 0)))


def values(step, config=CONFIG):
    points = config.distillation.points()
    return step_values(step, config.run.num_steps, config.optimizer, points)


# --- crops ---------------------------------------------------------------------------------------


def gradient_image(width=64, height=48):
    """Return an image whose red tells the column and whose green tells the row."""
    v, u = np.mgrid[:height, :width]
    pixels = np.stack([(u + 0.5) / width * 255, (v + 0.5) / height * 255, 0 * u], axis=-1)
    return Image.fromarray(np.round(pixels).astype(np.uint8))


def test_boxes_tell_where_the_pixels_of_a_crop_come_from():
    still = CropsConfig(jitter=0.0, gray=0.0, num_local=8)
    mirrored = 0
    for seed in range(4):
        crops = draw_crops(gradient_image(), 32, still, np.random.default_rng(seed))
        for group, size in zip(crops, (32, still.local_size), strict=True):
            assert group.pixels.shape[1:] == (size, size, 3)
            within = (np.arange(size) + 0.5) / size
            for pixels, (top, left, height, width) in zip(group.pixels, group.box, strict=True):
                rows, columns = top + height * within, left + width * within
                middle = slice(2, -2)  # the image ends where its last pixel's centre is
                np.testing.assert_allclose(
                    pixels[size // 2, middle, 0] / 255, columns[middle], atol=0.02
                )
                np.testing.assert_allclose(
                    pixels[middle, size // 2, 1] / 255, rows[middle], atol=0.02
                )
                mirrored += width < 0
    assert 0 < mirrored < 40


def test_crops_have_the_asked_share_of_the_area():
    config = CropsConfig(global_low=0.5, local_low=0.1, local_high=0.2)
    for seed in range(20):
        two, small = draw_crops(gradient_image(), 8, config, np.random.default_rng(seed))
        for group, low, high in ((two, 0.5, 1.0), (small, 0.1, 0.2)):
            area = np.abs(group.box[:, 2] * group.box[:, 3])
            assert (area <= high + 1e-6).all()
            assert (area >= low * 0.85).all()  # a long crop that does not fit loses its ends
            corner = group.box[:, :2] + group.box[:, 2:]
            assert (group.box[:, :2] >= 0).all()
            assert (group.box[:, :2] <= 1 + 1e-6).all()
            assert (corner >= -1e-6).all()
            assert (corner <= 1 + 1e-6).all()


def test_without_change_colours_stay():
    pixels = np.random.default_rng(0).integers(0, 255, (4, 4, 3), np.uint8)
    same = change_colors(pixels, CropsConfig(jitter=0.0, gray=0.0), np.random.default_rng(0))
    assert np.abs(same.astype(int) - pixels).max() <= 1  # rounding


def test_colours_can_be_dropped():
    pixels = np.random.default_rng(0).integers(0, 255, (4, 4, 3), np.uint8)
    gray = change_colors(pixels, CropsConfig(jitter=0.0, gray=1.0), np.random.default_rng(0))
    assert np.ptp(gray, axis=-1).max() == 0


# --- data ----------------------------------------------------------------------------------------


def same_crops(a, b):
    pairs = zip(a, b, strict=True)
    return all(np.array_equal(x.pixels, y.pixels) and np.array_equal(x.box, y.box)
               for x, y in pairs)  # fmt: skip


def test_an_item_depends_on_seed_and_number_alone(files):
    first, again = ImageDataset(files, CONFIG), ImageDataset(files, CONFIG)
    again[3]
    assert same_crops(first[5][1:3], again[5][1:3])
    assert not same_crops(first[5][1:3], first[6][1:3])
    other = ImageDataset(files, build(ImageTrainingConfig, {'run.seed': 1}, CONFIG))
    assert not same_crops(first[5][1:3], other[5][1:3])
    assert first[5].slot == 1  # of the second step


def test_an_epoch_shows_every_image_once(tmp_path):
    files = []
    for i in range(5):
        files.append(tmp_path / f'{i}.png')
        Image.new('RGB', (8, 8), (40 * i, 0, 0)).save(files[-1])
    still = {'crops.jitter': 0.0, 'crops.gray': 0.0}
    dataset = ImageDataset(files, build(ImageTrainingConfig, still, CONFIG))
    seen = [int(dataset[i].global_crops.pixels[0, 0, 0, 0]) for i in range(10)]
    assert sorted(seen[:5]) == sorted(seen[5:]) == [0, 40, 80, 120, 160]
    assert seen[:5] != seen[5:]


def test_an_image_that_cannot_be_read_is_replaced_and_told(files):
    files[2].write_bytes(b'no image')
    files[4].unlink()
    items = [ImageDataset(files, CONFIG)[i] for i in range(6)]
    told = [sentence for item in items for sentence in item.skipped]
    assert sum('2.png is no image that can be read' in sentence for sentence in told) >= 1
    assert sum('4.png' in sentence for sentence in told) >= 1
    assert collate_images(items).skipped == tuple(told)


def test_without_any_image_it_is_said(files):
    with pytest.raises(SourceError, match=r'no image: .* data\.splits'):
        ImageDataset([], CONFIG)
    for file in files:
        file.write_bytes(b'')
    with pytest.raises(SourceError, match='6 images in a row cannot be read; first: '):
        ImageDataset(files, CONFIG)[0]


def test_batches_are_the_same_in_other_processes(files, batch):
    dataset = ImageDataset(files, CONFIG)
    [other] = make_loader(dataset, [range(4)], 1)
    assert other.slots == batch.slots == (0, 1, 2, 3)
    for name in ('global_crops', 'global_box', 'local_crops', 'local_box'):
        torch.testing.assert_close(getattr(other, name), getattr(batch, name), rtol=0, atol=0)
    assert batch.global_crops.shape == (8, 3, 32, 32)
    assert batch.local_box.shape == (8, 4)
    assert batch.num_points == 8 * 32 * 32 + 8 * 16 * 16


# --- objective -----------------------------------------------------------------------------------


def test_the_same_share_of_cells_is_masked():
    generator = torch.Generator().manual_seed(0)
    mask = draw_patch_mask(4, 2, 0.5, generator).view(4, 4)
    assert mask.sum() == 8
    assert torch.equal(mask, mask[::2, ::2].repeat_interleave(2, 0).repeat_interleave(2, 1))
    assert draw_patch_mask(5, 2, 0.99, generator).shape == (25,)
    assert draw_patch_mask(4, 2, 0.001, generator).sum() == 4  # one cell at least


def test_places_are_found_in_the_first_global_crop_that_has_them():
    whole, right = [0, 0, 1, 1], [0, 1, 1, -0.5]  # the right half, mirrored
    left, outside = [0, 0, 1, 0.5], [0.5, 0, 0.5, 0.5]
    local = torch.tensor([[0, 0.5, 0.5, 0.5], [0, 0, 0.5, 0.5], outside, outside])
    boxes = torch.tensor([right, whole, right, left], dtype=torch.float32)
    found, row = same_place(local, boxes, num_local=1, num_global=4)
    # place (row .25, column .75) is in the mirrored right half of image 0: row 0, column 1 of 2
    # place (.25, .25) is only in the whole: crop 1, patch 0
    # place (.75, .25) of image 1 is in its left half: crop 3, row 1, column 1
    assert found.tolist() == [[True], [True], [True], [True]]
    assert row.tolist() == [0 * 4 + 1, 1 * 4 + 0, 3 * 4 + 3, 3 * 4 + 3]
    found, row = same_place(local[:2], boxes[[0, 0]], num_local=1, num_global=4)
    assert found.tolist() == [[True], [False]]
    assert row.tolist() == [1]


def test_a_batch_gives_named_terms_and_gradients_in_the_student_only(batch, device):
    objective = ImageDistillation(CONFIG).to(device)
    result = objective(batch.to(device), values(0))
    assert set(result.terms) == {'mask', 'place', 'prototypes'}
    c = CONFIG.distillation
    weighted = c.mask_weight * result.terms['mask'] + c.place_weight * result.terms['place']
    torch.testing.assert_close(result.total.detach(), weighted)
    result.total.backward()
    without = [name for name, p in objective.named_parameters() if p.grad is None]
    assert all(name.startswith('teacher.') or name.endswith('original0') for name in without)
    assert not any(p.requires_grad for p in objective.teacher.parameters())


def test_crops_without_a_common_place_leave_that_term_out(batch):
    away = copy.copy(batch)
    object.__setattr__(away, 'local_box', batch.local_box + 10)
    result = ImageDistillation(CONFIG)(away, values(0))
    assert set(result.terms) == {'mask', 'prototypes'}


def test_the_same_step_masks_the_same(batch):
    objective = ImageDistillation(CONFIG)
    terms = [objective(batch, values(step)).terms['mask'].item() for step in (5, 5, 6)]
    assert terms[0] == terms[1] != terms[2]


def test_the_teacher_follows_the_student():
    objective = ImageDistillation(CONFIG)
    weight = objective.student.vit.norm.weight
    with torch.no_grad():
        weight += 1
    objective.update_teacher(0.75)
    torch.testing.assert_close(objective.teacher.vit.norm.weight, weight - 0.75)
    objective.train()
    assert objective.student.training
    assert not objective.teacher.training


def test_one_batch_is_learnt(batch):
    objective = ImageDistillation(CONFIG)
    optimizer = make_optimizer(objective, (), CONFIG.optimizer)
    losses = []
    for step in range(CONFIG.run.num_steps):
        v = values(step)
        apply_step_values(optimizer, v)
        optimizer.zero_grad()
        result = objective(batch, v)
        result.total.backward()
        optimizer.step()
        objective.update_teacher(v.momentum)
        losses.append(result.total.item())
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert result.terms['prototypes'] > 0.3  # no collapse


# --- training ------------------------------------------------------------------------------------


def image_task(split, folder):
    settings = {'run.output': str(folder), 'run.num_steps': 3, 'run.precision': 'fp32',
                'data.splits': str(split), 'data.num_workers': 0}  # fmt: skip
    return ImageTask(build(ImageTrainingConfig, settings, CONFIG), torch.device('cpu'))


def trained(task):
    Trainer(task, torch.device('cpu')).train()
    return task.objective.state_dict()


def test_a_run_ended_by_a_signal_goes_on_exactly(tiny_split, tmp_path):
    task = image_task(tiny_split, tmp_path / 'parts')
    batches = task.batches

    def interrupted(first_step):
        for batch in batches(first_step):
            signal.raise_signal(signal.SIGTERM)
            yield batch

    task.batches = interrupted
    with pytest.raises(StopRequestedError, match='after step 1 of 3'):
        trained(task)
    parts = trained(image_task(tiny_split, tmp_path / 'parts'))
    for name, tensor in trained(image_task(tiny_split, tmp_path / 'whole')).items():
        assert torch.equal(parts[name], tensor), name


# --- settings ------------------------------------------------------------------------------------


def test_every_value_has_a_sentence():
    assert all(p.info.sentence.endswith('.') for p in flatten(ImageTrainingConfig()))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(
        ConfigError, match=r'crops\.local_size must be a multiple of .* 16, got 60'
    ):
        build(ImageTrainingConfig, {'crops.local_size': 60})
    with pytest.raises(ConfigError, match=r'crops\.local_low must not exceed crops\.local_high'):
        build(ImageTrainingConfig, {'crops.local_low': 0.9})
