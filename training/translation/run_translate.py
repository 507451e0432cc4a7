"""A translator from settings to the file, and what it is worth."""

from dataclasses import replace
from itertools import chain

import torch

from concerto_ros.model import weights_digest
from concerto_ros.semantics import TextEncoder, Translator, load_text_encoder
from training.distributed import choose_device
from training.evaluation.backbone_features import (
    RANDOM,
    BackboneFeatures,
    fits_voxels,
    load_backbone,
)
from training.evaluation.class_lists import class_list
from training.evaluation.features import FeatureSource
from training.evaluation.probe_scenes import ProbeScenes
from training.evaluation.results import files_hash, make_folder
from training.origin import settings_of, source_of_run
from training.translation.calibration import calibration_error, fit_scale
from training.translation.class_texts import EmbeddedTexts, embed_texts, read_class_texts
from training.translation.config import TranslateConfig
from training.translation.linear_map import train_map
from training.translation.recipes import Lesson, learn_from_images, learn_from_labels
from training.translation.report import Calibration, TranslationResult
from training.translation.zero_shot import ZeroShot, judge

_FILE = 'translator.safetensors'


def run_translate(config: TranslateConfig) -> TranslationResult:
    """Train a translator, judge it, and write it with table.md and results.json.

    On a CPU the same settings give the same numbers, bit for bit, with equally many threads.

    Raises:
        ConfigError: A setting does not fit, or the folder cannot be written.
        CheckpointError: Weights cannot be used.
        SourceError: A split or scene cannot be read.
        BackendUnavailable: A library or the weights of an encoder are missing.
        ConcertoError: There is nothing to learn from, or the loss is not finite.
    """
    c = config
    if c.run.num_threads:
        torch.set_num_threads(c.run.num_threads)
    device = choose_device(c.run.device)
    classes = class_list(c.data.vocabulary)
    class_texts = read_class_texts(c.text.classes, classes.names)
    validation = ProbeScenes(
        'data.validation', c.data.validation, c.data.segment, len(classes.names)
    )
    encoder = load_text_encoder(c.text.encoder)
    texts = embed_texts(encoder, class_texts)
    backbone = load_backbone(c.source.checkpoint, c.source.size, c.run.seed)
    if c.source.checkpoint != RANDOM:
        fits_voxels(c.source.checkpoint, c.data.voxel_size)
    digest = weights_digest(backbone)
    source = BackboneFeatures(
        backbone, c.source.checkpoint, c.data.voxel_size, device, c.run.precision
    )
    folder = make_folder(c.run.output)
    lesson = _learn(c, source, encoder, texts, device)
    linear = train_map(
        lesson.feat, lesson.objective, c.translator, c.optimizer, c.run.seed, device
    )
    translator = Translator(
        weight=linear.weight,
        bias=linear.bias,
        text_encoder=encoder.name,
        logit_scale=lesson.objective.logit_scale,
        backbone=digest,
        names=classes.names,
    )
    found = judge(translator, source, validation, texts, c.run.seed)
    calibration = _calibrate(found, translator.logit_scale)
    settings, code = settings_of(c), source_of_run()
    replace(translator, logit_scale=calibration.fitted_scale).save(
        folder / _FILE, {'settings': settings, 'source': code}
    )
    result = TranslationResult(
        scores=found.scores,
        names=classes.names,
        texts=class_texts,
        left_out=texts.left_out,
        calibration=calibration,
        num_scenes=(lesson.num_scenes, len(validation)),
        text_encoder=encoder.name,
        backbone=digest,
        data_hash=files_hash(chain(lesson.files, validation.cloud_files())),
        settings=settings,
        code=code,
        node=_node(c, str(folder / _FILE)),
    )
    result.write(folder)
    return result


def _learn(
    config: TranslateConfig,
    source: FeatureSource,
    encoder: TextEncoder,
    texts: EmbeddedTexts,
    device: torch.device,
) -> Lesson:
    if config.translator.recipe == 'labels':
        return learn_from_labels(config, source, texts)
    return learn_from_images(config, source, encoder, device)


def _calibrate(found: ZeroShot, trained_scale: float) -> Calibration:
    fitted_scale = fit_scale(found.cosine, found.label)
    return Calibration(
        trained_scale=trained_scale,
        fitted_scale=fitted_scale,
        error_before=calibration_error(trained_scale * found.cosine, found.label),
        error_after=calibration_error(fitted_scale * found.cosine, found.label),
    )


def _node(config: TranslateConfig, translator: str) -> dict[str, str]:
    """Return the parameters with which the node uses a translator; none of random weights."""
    if config.source.checkpoint == RANDOM:
        return {}
    return {
        'semantics.checkpoint': config.source.checkpoint,
        'semantics.translator': translator,
        'semantics.text_encoder': config.text.encoder,
        'map.voxel_size': str(config.data.voxel_size),
    }
