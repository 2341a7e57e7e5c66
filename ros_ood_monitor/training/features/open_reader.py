"""Backbone and frames, brought together: which network, of what size, what its map is made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.training.backbones import (
    Backbone,
    BackboneTap,
    load_backbone,
    TiledBackbone,
    Tiles,
)
from ros_ood_monitor.training.detectors.vim import vim_classifier
from ros_ood_monitor.training.export.graphs import output_names
from ros_ood_monitor.training.export.map_features import CELLS_A_FRAME, map_taps, MapPlan
from ros_ood_monitor.training.features.backbone_store import get_or_export
from ros_ood_monitor.training.features.frame_reader import FrameReader
from ros_ood_monitor.training.features.open_runners import feature_runner
from ros_ood_monitor.training.features.runners import NoFeatures
from ros_ood_monitor.training.frames.datasets import Dataset
from ros_ood_monitor.training.progress import Progress
from ros_ood_monitor.training.settings.train_settings import parse_tiles, Resources, TrainSettings

__all__ = ['open_frames', 'open_reader']

_SMALLEST_INPUT = 32
_CELLS_OF_EACH = 3  # cells kept for each point of a coreset, of which 70 % are fitted


def open_reader(
    dataset: Dataset,
    settings: TrainSettings,
    resources: Resources,
    progress: Progress,
    *,
    backbone: Backbone | None = None,
) -> FrameReader:
    """
    Load the backbone, and bring it and the frames together.

    Parameters
    ----------
    dataset : Dataset
        The frames.
    settings : TrainSettings
        Which ones.
    resources : Resources
        Cache, workers, device.
    progress : Progress
        Told what takes the time.
    backbone : Backbone, optional
        Instead of the one that the settings name.

    Returns
    -------
    FrameReader
        Nothing is read yet.

    Raises
    ------
    TrainingError
        If the backbone is not there, or lacks a tap.
    EngineError
        If ONNX Runtime refuses it.

    """
    if backbone is None:
        backbone = load_backbone(settings.backbone, weights=settings.weights)
    taps = backbone.select(settings.taps)
    vim_classifier(settings.density, backbone, taps)  # refused before any frame is read
    maps = map_taps(settings.map, backbone, taps)
    height, width = _input_size(settings, backbone)
    tiles = Tiles(*parse_tiles(settings.tiles))
    if tiles.count > 1:
        backbone = TiledBackbone.of(backbone, tiles)
        height, width = height * tiles.rows, width * tiles.columns
    preprocess = Preprocessor(height, width)
    progress.note('exporting the backbone')
    onnx = get_or_export(backbone, taps, height, width, maps, cache=resources.cache)
    plan = None
    if maps:
        sampled = _cells_a_frame(settings.coreset, dataset.counts.expected)
        plan = MapPlan(
            maps, _grids(onnx, maps, height, width), (tiles.rows, tiles.columns), sampled
        )
    run = feature_runner(backbone, onnx, taps, plan, resources, settings.threads)
    return FrameReader(dataset, backbone, taps, preprocess, onnx, run, settings, resources, plan)


def open_frames(dataset: Dataset, settings: TrainSettings, resources: Resources) -> FrameReader:
    """
    Load the backbone, and bring it and the frames together, without any features.

    Parameters
    ----------
    dataset : Dataset
        The frames.
    settings : TrainSettings
        Which ones.
    resources : Resources
        Cache and workers.

    Returns
    -------
    FrameReader
        For `FrameReader.all_frames` and `FrameReader.pictures`.

    Raises
    ------
    TrainingError
        If the backbone is not there.

    """
    backbone = load_backbone(settings.backbone, weights=settings.weights)
    preprocess = Preprocessor(*_input_size(settings, backbone))
    here = replace(resources, executor=None)  # there is nothing to compute elsewhere
    return FrameReader(dataset, backbone, (), preprocess, b'', NoFeatures(), settings, here)


def _cells_a_frame(coreset: int | None, frames: int) -> int:
    """Return how many cells of a frame are kept: enough for a coreset that was asked for."""
    wanted = _CELLS_OF_EACH * (coreset or 0)
    return max(CELLS_A_FRAME, -(-wanted // max(1, frames)))


def _grids(
    onnx: bytes, maps: tuple[BackboneTap, ...], height: int, width: int
) -> tuple[tuple[int, int], ...]:
    """Return the sizes of the maps' grids, which only the graph knows."""
    blank = np.zeros((1, height, width, 3), np.uint8)
    grids = open_session(onnx).run(output_names((), maps), {'image': blank})
    return tuple((grid.shape[1], grid.shape[2]) for grid in grids)


def _input_size(settings: TrainSettings, backbone: Backbone) -> tuple[int, int]:
    size = settings.input_size
    height, width = backbone.input_size if size is None else (size, size)
    if min(height, width) < _SMALLEST_INPUT:
        msg = f'input size out of range: expected at least {_SMALLEST_INPUT} px, got {size}'
        raise TrainingError(msg)
    backbone.check_size(height, width)
    return height, width
