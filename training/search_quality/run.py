"""The tasks of the command."""

import torch

from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.classes import ROOM_CLASSES
from training.command import Report
from training.evaluation.results import make_folder
from training.search_quality.config import SearchQualityConfig
from training.search_quality.kitchen import measure_kitchen
from training.search_quality.meanings import Meanings
from training.search_quality.measure_rooms import measure_rooms
from training.search_quality.questions import Asker
from training.search_quality.threshold import fit_threshold
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
    robot = PerceptionPipeline(config.node)
    tour = make_tour(config, robot)
    if config.run.task == 'threshold':
        return fit_threshold(config, tour, robot, folder)
    return measure_rooms(config, tour, folder)


def make_tour(config: SearchQualityConfig, robot: Robot) -> Tour:
    """Return the walk of a robot through the rooms of the settings."""
    texts = read_class_texts(config.texts.classes, ROOM_CLASSES)
    asker = Asker(texts, Meanings.ours(), config.rooms.least_surface)
    return Tour(robot, asker, config)
