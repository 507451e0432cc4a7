"""The tasks of the command."""

from dataclasses import replace

import torch

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.classes import ROOM_CLASSES
from training.command import Report
from training.evaluation.results import make_folder
from training.search_quality.config import SearchQualityConfig
from training.search_quality.kitchen import measure_kitchen
from training.search_quality.meanings import Meanings
from training.search_quality.measure_rooms import measure_rooms
from training.search_quality.questions import Asker
from training.search_quality.threshold import CANDIDATES, fit_threshold
from training.search_quality.tour import Robot, Tour
from training.translation.class_texts import read_class_texts


def run_search_quality(config: SearchQualityConfig) -> Report:
    """Do what `run.task` says, and write table.md and results.json.

    Raises:
        ConfigError: A setting does not fit, reserved rooms have changed, or the folder cannot be
            written.
        CheckpointError: Weights cannot be used.
        SearchError: There is no language model.
        BackendUnavailable: A library or the weights of an encoder are missing.
    """
    if config.run.num_threads:
        torch.set_num_threads(config.run.num_threads)
    folder = make_folder(config.run.output)
    if config.run.task == 'kitchen':
        return measure_kitchen(config, folder)
    robot = PerceptionPipeline(node_config(config))
    tour = make_tour(config, robot)
    if config.run.task == 'threshold':
        return fit_threshold(config, tour, robot, folder)
    return measure_rooms(config, tour, folder)


def node_config(config: SearchQualityConfig) -> ConcertoConfig:
    """Return the settings of the node; to be fitted, its threshold is the lowest candidate.

    A question with a threshold below the configured one would be answered in two layers, and not
    as a node answers that is set to it.
    """
    if config.run.task != 'threshold':
        return config.node
    search = replace(config.node.search, min_score=min(CANDIDATES))
    return replace(config.node, search=search)


def make_tour(config: SearchQualityConfig, robot: Robot) -> Tour:
    """Return the walk of a robot through the rooms of the settings."""
    texts = read_class_texts(config.texts.classes, ROOM_CLASSES)
    asker = Asker(texts, Meanings.ours(), config.rooms.least_surface)
    return Tour(robot, asker, config)
