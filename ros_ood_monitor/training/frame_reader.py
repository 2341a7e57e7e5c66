"""The frames of a training through a backbone, as often as a precision needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
import copy
from dataclasses import dataclass, replace
from functools import partial
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.training.backbone_store import get_or_export
from ros_ood_monitor.training.backbones import (
    Backbone,
    BackboneTap,
    load_backbone,
    TappedBackbone,
    TiledBackbone,
    Tiles,
    tiles_of,
    TorchBackbone,
)
from ros_ood_monitor.training.datasets import Dataset
from ros_ood_monitor.training.export import output_names
from ros_ood_monitor.training.extract import extract
from ros_ood_monitor.training.fit import vim_classifier
from ros_ood_monitor.training.map_features import CELLS_A_FRAME, map_taps, MapPlan
from ros_ood_monitor.training.progress import Progress
from ros_ood_monitor.training.reading import read_ahead
from ros_ood_monitor.training.runners import (
    CellRunner,
    cells_width,
    CellSampler,
    NoFeatures,
    OnnxRunner,
    run_all,
    Runner,
    ScoringRunner,
    TorchRunner,
)
from ros_ood_monitor.training.scorer import CellScorer
from ros_ood_monitor.training.sequence_shards import fill_elsewhere, SequenceWork
from ros_ood_monitor.training.settings import parse_tiles, Resources, TrainSettings
from ros_ood_monitor.training.table import FeatureTable

__all__ = ['FrameReader', 'deployed_runner', 'open_frames', 'open_reader', 'scoring_runner']

_SMALLEST_INPUT = 32
_CELLS_OF_EACH = 3  # cells kept for each point of a coreset, of which 70 % are fitted
_HELD_OUT_IMAGES = 128  # of a sequence: pictures for the gate of precisions are made from them


@dataclass(frozen=True, eq=False)
class FrameReader:
    """
    Frames, and the backbone that they go through.

    Parameters
    ----------
    dataset : Dataset
        The frames.
    backbone : Backbone
        Frozen.
    taps : sequence of BackboneTap
        Its stages that are scored.
    preprocess : Preprocessor
        Resize to its input size.
    onnx : bytes
        The backbone's graph in float32.
    run : Runner
        What computes the features that are fitted.
    settings : TrainSettings
        Threads and near duplicates are taken from it.
    resources : Resources
        Cache and workers are.
    plan : MapPlan or None
        What the map is made of, where there is one.

    """

    dataset: Dataset
    backbone: Backbone
    taps: Sequence[BackboneTap]
    preprocess: Preprocessor
    onnx: bytes
    run: Runner
    settings: TrainSettings
    resources: Resources
    plan: MapPlan | None = None

    @property
    def maps(self) -> tuple[BackboneTap, ...]:
        """Return the taps whose maps the backbone gives."""
        return () if self.plan is None else self.plan.taps

    @property
    def sha256(self) -> str:
        """Return the digest of the backbone's graph."""
        return hashlib.sha256(self.onnx).hexdigest()

    @property
    def runs_as_deployed(self) -> bool:
        """Return whether features are computed by the runtime that is deployed."""
        return isinstance(self.run, OnnxRunner)

    def all_frames(
        self, on_frame: Callable[[int], object]
    ) -> AbstractContextManager[FeatureTable]:
        """Return the features of all frames; see `extract`."""
        cell_width = 0 if self.plan is None else cells_width(self.plan)
        elsewhere = self._elsewhere(cell_width)
        return self._extract(
            self.onnx,
            self.run,
            near_duplicates=self.settings.near_duplicates,
            cell_width=cell_width,
            elsewhere=elsewhere,
            on_frame=on_frame,
        )

    def _elsewhere(
        self, cell_width: int
    ) -> Callable[[Sequence[Path], Callable[[int], object]], object] | None:
        """Return what has workers compute all features; None to compute them here."""
        executor = self.resources.executor
        if executor is None:
            return None
        if not self.runs_as_deployed:
            msg = (
                'workers compute features by the exported backbone, and this machine would by '
                'torch on its GPU; use --device cpu with --executor ray'
            )
            raise TrainingError(msg)
        work = SequenceWork(
            self.dataset,
            partial(
                deployed_runner,
                self.onnx,
                tuple(self.taps),
                'fp32',
                threads=self.settings.threads,
                plan=self.plan,
            ),
            self.run.name,
            self.preprocess,
            sum(tap.channels for tap in self.taps) + cell_width,
            self.settings.near_duplicates,
        )
        return partial(fill_elsewhere, work, replace(executor, threads=self.settings.threads))

    def some_frames(
        self, precision: str, onnx: bytes, table: FeatureTable, rows: npt.NDArray[np.int64]
    ) -> AbstractContextManager[FeatureTable]:
        """
        Return the features of some frames by the backbone in another precision.

        Parameters
        ----------
        precision : str
            Its name.
        onnx : bytes
            Its graph.
        table : FeatureTable
            Where the rows come from.
        rows : ndarray of shape (k,), int64
            Ascending.

        Returns
        -------
        context manager of FeatureTable
            One row each, in the same order.

        """
        run = deployed_runner(onnx, self.taps, precision, threads=self.settings.threads)
        only = _positions(table, rows)
        return self._extract(onnx, run, only=only, most_images=_HELD_OUT_IMAGES)

    def scored_frames(
        self,
        onnx: bytes,
        run: Runner,
        table: FeatureTable,
        rows: npt.NDArray[np.int64],
        *,
        width: int,
        pictures: bool = False,
    ) -> AbstractContextManager[FeatureTable]:
        """
        Return what a scorer answers to some frames.

        Parameters
        ----------
        onnx : bytes
            The backbone's graph.
        run : Runner
            Backbone and scorer.
        table : FeatureTable
            Where the rows come from.
        rows : ndarray of shape (k,), int64
            Ascending.
        width : int
            Answers of a frame.
        pictures : bool, default False
            Whether some network inputs are kept.

        Returns
        -------
        context manager of FeatureTable
            One row each, in the same order; `FeatureTable.cells` has the answers.

        """
        return self._extract(
            onnx,
            run,
            taps=(),
            cell_width=width,
            only=_positions(table, rows),
            most_images=_HELD_OUT_IMAGES if pictures else 1,
        )

    def cell_scores(
        self, cells: CellScorer, table: FeatureTable, rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """
        Return the maps of some frames.

        Parameters
        ----------
        cells : CellScorer
            In float64.
        table : FeatureTable
            Where the rows come from.
        rows : ndarray of shape (k,), int64
            Ascending.

        Returns
        -------
        ndarray of shape (k, gh, gw), float32
            In the unit of the scorer.

        """
        height, width = cells.plan.grid
        run = self._cell_runner(cells)
        with self.scored_frames(self.onnx, run, table, rows, width=height * width) as scored:
            every = np.arange(len(rows), dtype=np.int64)
            return scored.cells(every).reshape(-1, height, width)

    def pictures(
        self, table: FeatureTable, rows: npt.NDArray[np.int64]
    ) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """
        Read some frames again.

        Parameters
        ----------
        table : FeatureTable
            Where the rows come from.
        rows : ndarray of shape (k,), int64
            Ascending.

        Yields
        ------
        int
            Row.
        ndarray of shape (h, w, 3), uint8
            Its network input.

        """
        left = iter(rows.tolist())
        for index, positions in _positions(table, rows).items():
            items = self.dataset.items(index, only=frozenset(positions))
            for frame in read_ahead(items, self.preprocess, workers=self.resources.workers):
                if frame.image is None:
                    msg = f'frame decoded before and does not now ({frame.problem}): '
                    raise TrainingError(msg + frame.item.name)
                yield next(left), frame.image

    def narrowed(self, taps: Sequence[BackboneTap]) -> FrameReader:
        """
        Return the reader of a backbone with fewer outputs.

        Parameters
        ----------
        taps : sequence of BackboneTap
            Some of `taps`, in their order.

        Returns
        -------
        FrameReader
            This one, where the taps are all of its own.

        """
        if list(taps) == list(self.taps):
            return self
        onnx = get_or_export(
            self.backbone,
            taps,
            self.preprocess.height,
            self.preprocess.width,
            self.maps,
            cache=self.resources.cache,
        )
        run = _runner(self.backbone, onnx, taps, self.plan, self.resources, self.settings.threads)
        return replace(self, taps=taps, onnx=onnx, run=run)

    def features(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return (m, width) features of all taps for (m, h, w, 3) pictures."""
        rows = run_all(self.run, images, workers=self.resources.workers)
        return rows[:, : sum(tap.channels for tap in self.taps)]

    def cell_maps(
        self, cells: CellScorer, images: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.float32]:
        """Return maps (k, gh, gw) of pictures (k, h, w, 3), as `cell_scores` does of frames."""
        rows = run_all(self._cell_runner(cells), images, workers=self.resources.workers)
        return rows.reshape(-1, *cells.plan.grid)  # (k, gh, gw)

    def _cell_runner(self, cells: CellScorer) -> CellRunner:
        session = open_session(self.onnx, threads=self.settings.threads)
        return CellRunner(session, copy.deepcopy(cells).float())

    def _extract(
        self,
        onnx: bytes,
        run: Runner,
        *,
        taps: Sequence[BackboneTap] | None = None,
        **options: Any,
    ) -> AbstractContextManager[FeatureTable]:
        return extract(
            self.dataset,
            run,
            self.preprocess,
            self.taps if taps is None else taps,
            backbone_sha256=hashlib.sha256(onnx).hexdigest(),
            cache=self.resources.cache,
            workers=self.resources.workers,
            **options,
        )


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
    run = _runner(backbone, onnx, taps, plan, resources, settings.threads)
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


def scoring_runner(
    onnx: bytes, scorer: bytes, precision: str, *, threads: int = 1
) -> ScoringRunner:
    """
    Return backbone and scorer in the runtime that is deployed.

    Parameters
    ----------
    onnx, scorer : bytes
        Their graphs.
    precision : str
        Of the backbone.
    threads : int, default 1
        CPU threads.

    Returns
    -------
    ScoringRunner
        One picture at a time.

    """
    return ScoringRunner(
        open_session(onnx, threads=threads, precision=precision),
        open_session(scorer, threads=threads),
        hashlib.sha256(scorer).hexdigest(),
    )


def _positions(table: FeatureTable, rows: npt.NDArray[np.int64]) -> dict[int, list[int]]:
    """Return the places of some rows in their sequences."""
    sequence, position = table.sequence[rows], table.position[rows]
    return {int(k): position[sequence == k].tolist() for k in np.unique(sequence)}


def deployed_runner(
    onnx: bytes,
    taps: Sequence[BackboneTap],
    precision: str,
    *,
    threads: int,
    plan: MapPlan | None = None,
) -> OnnxRunner:
    """
    Return a backbone in the runtime that is deployed.

    Parameters
    ----------
    onnx : bytes
        Its graph.
    taps : sequence of BackboneTap
        Its outputs.
    precision : str
        Its precision.
    threads : int
        CPU threads.
    plan : MapPlan, optional
        For features of some cells.

    Returns
    -------
    OnnxRunner
        One picture at a time.

    """
    sampler = None if plan is None else CellSampler(plan)
    return OnnxRunner(open_session(onnx, threads=threads, precision=precision), taps, sampler)


def _runner(
    backbone: Backbone,
    onnx: bytes,
    taps: Sequence[BackboneTap],
    plan: MapPlan | None,
    resources: Resources,
    threads: int,
) -> Runner:
    """Return what computes features: a GPU where torch has the network and sees one."""
    sampler = None if plan is None else CellSampler(plan)
    device = resources.device
    if device == 'auto':
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    tiles = tiles_of(backbone)
    network = backbone.whole if isinstance(backbone, TiledBackbone) else backbone
    if device == 'cuda' and isinstance(network, TorchBackbone):
        if not torch.cuda.is_available():
            msg = 'torch sees no GPU: expected one for --device cuda; use --device cpu'
            raise TrainingError(msg)
        # what torch's deterministic mode asks of cuBLAS, before anything uses it
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        maps = () if plan is None else plan.taps
        tapped = TappedBackbone(network, taps, maps)
        return TorchRunner(tapped, device, sampler=sampler, tiles=tiles)
    return deployed_runner(onnx, taps, 'fp32', threads=threads, plan=plan)


def _input_size(settings: TrainSettings, backbone: Backbone) -> tuple[int, int]:
    size = settings.input_size
    height, width = backbone.input_size if size is None else (size, size)
    if min(height, width) < _SMALLEST_INPUT:
        msg = f'input size out of range: expected at least {_SMALLEST_INPUT} px, got {size}'
        raise TrainingError(msg)
    backbone.check_size(height, width)
    return height, width
