"""The probes by name: each trains what it trains and returns a classifier of scenes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from concerto_ros.errors import ConfigError
from concerto_ros.model import PointTransformerV3, save_checkpoint, weights_digest
from training.evaluation.backbone_features import RANDOM, BackboneFeatures, load_backbone
from training.evaluation.class_lists import ClassList
from training.evaluation.config import ProbeConfig
from training.evaluation.evaluate import Classifier, HeadClassifier
from training.evaluation.features import FeatureSource
from training.evaluation.knn_probe import KnnClassifier
from training.evaluation.linear_probe import linear_layer, make_head, train_linear
from training.evaluation.lora import add_lora, merge_lora
from training.evaluation.probe_scenes import ProbeScenes
from training.evaluation.segmentation_network import SegmentationNetwork, with_decoder
from training.evaluation.sources import make_source
from training.evaluation.training_rows import collect_rows, no_scaling
from training.evaluation.tune import tune
from training.origin import settings_of, source_of_run

Origin = Mapping[str, Mapping[str, Any]]
HEAD_FILE, BACKBONE_FILE = 'head.safetensors', 'backbone.safetensors'


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a probe works on.

    Attributes:
        config: All settings.
        device: Where networks run.
        classes: What is to be told apart.
        train: Scenes to learn from.
        validation: Scenes that will be asked about.
        folder: For what is trained.
        fits_voxels: No backbone was trained on voxels of another size, as far as is known.
    """

    config: ProbeConfig
    device: torch.device
    classes: ClassList
    train: ProbeScenes
    validation: ProbeScenes
    folder: Path
    fits_voxels: bool


class Trained(NamedTuple):
    """What a probe learned.

    Attributes:
        classifier: Of scenes.
        source: The features it reads.
        node: Parameters with which the node does the same; none if it cannot, because it reads
            the features of all stages of a backbone and nothing else, or should not, because a
            frozen backbone saw voxels of another size than it was trained on.
    """

    classifier: Classifier
    source: FeatureSource
    node: dict[str, str]


def train_probe(job: Job) -> Trained:
    """Do what `probe.method` says, and save what was trained.

    Raises:
        ConfigError: The settings exclude each other.
        CheckpointError: Weights cannot be used, or a file cannot be written.
        BackendUnavailable: A library is missing.
        SourceError: A scene cannot be read.
    """
    probes: dict[str, Callable[[Job], Trained]] = {
        'linear': _linear, 'knn': _knn, 'decoder': _decoder, 'full': _full, 'lora': _lora,
        'encoder': _encoder,
    }  # fmt: skip
    return probes[job.config.probe.method](job)


def _linear(job: Job) -> Trained:
    c = job.config
    if c.linear.features == 'augmented':
        backbone = _backbone(job)
        return _tuned(job, _network(job, backbone, backbone.config.out_channels, [backbone]))
    source = make_source(c, job.device, (job.train, job.validation))
    rows = collect_rows(source, job.train, c.linear.voxels_per_scene, c.run.seed)
    head = train_linear(rows, job.classes, c.linear, c.optimizer, c.run.seed, job.device)
    is_known = c.source.kind == 'backbone' and c.source.checkpoint != RANDOM
    if is_known:
        head = replace(head, backbone=weights_digest(_backbone(job)))
    head.save(job.folder / HEAD_FILE, _origin(job))
    node = _node(job, c.source.checkpoint) if is_known else {}
    return Trained(HeadClassifier(source, head), source, node)


def _knn(job: Job) -> Trained:
    c = job.config
    source = make_source(c, job.device, (job.train, job.validation))
    rows = collect_rows(source, job.train, c.knn.voxels_per_scene, c.run.seed)
    classifier = KnnClassifier(rows, source, len(job.classes.names), c.knn, job.device)
    return Trained(classifier, source, {})


def _decoder(job: Job) -> Trained:
    model = with_decoder(_backbone(job), job.config.tuning.decoder_depth, job.config.run.seed)
    frozen = [model.embedding, model.enc]
    return _tuned(job, _network(job, model, model.config.dec_channels[0], frozen))


def _full(job: Job) -> Trained:
    model = with_decoder(_backbone(job), job.config.tuning.decoder_depth, job.config.run.seed)
    return _tuned(job, _network(job, model, model.config.dec_channels[0]))


def _encoder(job: Job) -> Trained:
    backbone = _backbone(job).requires_grad_(True)
    return _tuned(job, _network(job, backbone, backbone.config.out_channels))


def _lora(job: Job) -> Trained:
    model = _backbone(job)
    num_channels = model.config.out_channels
    adapted = add_lora(model, job.config.lora, job.config.run.seed)
    return _tuned(job, _network(job, adapted, num_channels), merge_lora)


def _backbone(job: Job) -> PointTransformerV3:
    source = job.config.source
    if source.kind != 'backbone':
        raise ConfigError(
            f'this probe trains on scenes and needs source.kind=backbone, got {source.kind}: '
            'features of other sources can be probed by linear (cached) and knn'
        )
    return load_backbone(source.checkpoint, source.size, job.config.run.seed)


def _network(
    job: Job, backbone: nn.Module, num_channels: int, frozen: Sequence[nn.Module] = ()
) -> SegmentationNetwork:
    generator = torch.Generator().manual_seed(job.config.run.seed)
    head = linear_layer(num_channels, len(job.classes.names), generator)
    return SegmentationNetwork(backbone, head, frozen).to(job.device)


def _tuned(
    job: Job, network: SegmentationNetwork, finish: Callable[[Any], Any] = lambda same: same
) -> Trained:
    """Train a network on scenes and save it; `finish` makes an ordinary backbone of its own."""
    c = job.config
    tune(network, job.train, c, job.device)
    model: PointTransformerV3 = finish(network.backbone)
    head = make_head(network.head, no_scaling(network.head.in_features), job.classes)
    head = replace(head, backbone=weights_digest(model))
    save_checkpoint(model, job.folder / BACKBONE_FILE, _origin(job))
    head.save(job.folder / HEAD_FILE, _origin(job))
    node = _node(job, str(job.folder / BACKBONE_FILE)) if model.config.enc_mode else {}
    name, voxel_size = f'{c.source.checkpoint} {c.probe.method}', c.data.voxel_size
    source = BackboneFeatures(model, name, voxel_size, job.device, c.run.precision)
    return Trained(HeadClassifier(source, head), source, node)


def _origin(job: Job) -> Origin:
    return {'settings': settings_of(job.config), 'source': source_of_run()}


def _node(job: Job, checkpoint: str) -> dict[str, str]:
    if job.config.probe.method == 'linear' and not job.fits_voxels:
        return {}
    head, voxel_size = str(job.folder / HEAD_FILE), str(job.config.data.voxel_size)
    return {
        'semantics.checkpoint': checkpoint, 'semantics.head': head, 'map.voxel_size': voxel_size,
    }  # fmt: skip
