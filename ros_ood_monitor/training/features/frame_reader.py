"""The frames of a training through a backbone, as often as a precision needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
import copy
from dataclasses import dataclass, replace
from functools import partial
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.training.backbones import Backbone, BackboneTap
from ros_ood_monitor.training.export.map_features import MapPlan
from ros_ood_monitor.training.export.scorer import CellScorer
from ros_ood_monitor.training.features.backbone_store import get_or_export
from ros_ood_monitor.training.features.extract import extract
from ros_ood_monitor.training.features.open_runners import deployed_runner, feature_runner
from ros_ood_monitor.training.features.runners import (
    CellRunner,
    cells_width,
    OnnxRunner,
    run_all,
    Runner,
)
from ros_ood_monitor.training.features.sequence_shards import fill_elsewhere, SequenceWork
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.frames.datasets import Dataset
from ros_ood_monitor.training.frames.reading import read_ahead
from ros_ood_monitor.training.settings.train_settings import Resources, TrainSettings

__all__ = ['FrameReader']

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
        run = feature_runner(
            self.backbone, onnx, taps, self.plan, self.resources, self.settings.threads
        )
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


def _positions(table: FeatureTable, rows: npt.NDArray[np.int64]) -> dict[int, list[int]]:
    """Return the places of some rows in their sequences."""
    sequence, position = table.sequence[rows], table.position[rows]
    return {int(k): position[sequence == k].tolist() for k in np.unique(sequence)}
