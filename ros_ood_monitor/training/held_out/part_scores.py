"""Scores of calibration and validation frames, by the runtime that is deployed."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.features.frame_reader import FrameReader
from ros_ood_monitor.training.features.open_runners import scoring_runner
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.frames.split import Split
from ros_ood_monitor.training.held_out.calibrate import deployed_scores

__all__ = ['PartScores', 'score_parts', 'split_scores']


def split_scores(
    rows: npt.NDArray[np.float32], grid: tuple[int, int] | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32] | None]:
    """
    Return what a `ScoringRunner` gives as raw_score and maps.

    Parameters
    ----------
    rows : ndarray of shape (n, 1 + cells), float32
        A row a frame.
    grid : tuple of int, or None
        Height and width of the map.

    Returns
    -------
    raw_score : ndarray of shape (n,), float64
        Of every frame.
    patch_score : ndarray of shape (n, gh, gw), float32, or None
        The maps, where there are any.

    Raises
    ------
    TrainingError
        If a score is not finite.

    """
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        msg = f'scores of {bad.size} of {len(rows)} pictures are not finite; take another density'
        raise TrainingError(msg)
    maps = None if grid is None else np.ascontiguousarray(rows[:, 1:]).reshape(-1, *grid)
    return rows[:, 0].astype(np.float64), maps


class PartScores(NamedTuple):
    """What a scorer gives for the calibration and validation frames, and pictures of some."""

    calibration: npt.NDArray[np.float32]
    validation: npt.NDArray[np.float32]
    kept: list[npt.NDArray[np.uint8]]


def score_parts(
    precision: str,
    onnx: bytes,
    reader: FrameReader,
    scorer_onnx: bytes,
    table: FeatureTable,
    split: Split,
) -> PartScores:
    """
    Score calibration and validation frames by the runtime that is deployed.

    Parameters
    ----------
    precision : str
        Of the backbone.
    onnx : bytes
        The backbone in that precision.
    reader : FrameReader
        Frames.
    scorer_onnx : bytes
        The exported scorer.
    table : FeatureTable
        Features of all frames, as they were fitted.
    split : Split
        The three parts.

    Returns
    -------
    PartScores
        Rows as `split_scores` takes them. No pictures are kept where the precision did not read
        the frames itself.

    """
    score = _read_again if reader.plan is not None else _from_features
    return score(precision, onnx, reader, scorer_onnx, table, split)


def _from_features(
    precision: str,
    onnx: bytes,
    reader: FrameReader,
    scorer_onnx: bytes,
    table: FeatureTable,
    split: Split,
) -> PartScores:
    """Score calibration and validation frames by their features, which may be there already."""
    scorer = open_session(scorer_onnx)
    calibration, validation = split.calibration, split.validation
    kept: list[npt.NDArray[np.uint8]] = []
    with contextlib.ExitStack() as stack:
        own = table
        # a graph of fewer outputs may round otherwise
        narrowed = list(reader.taps) != list(table.taps)
        if precision != 'fp32' or not reader.runs_as_deployed or narrowed:
            rows = np.sort(np.concatenate([calibration, validation]))
            own = stack.enter_context(reader.some_frames(precision, onnx, table, rows))
            calibration, validation = (
                np.searchsorted(rows, part) for part in (calibration, validation)
            )
            kept = [image for _, image in sorted(own.images.items())]
        calibrating, validating = (
            deployed_scores(scorer, reader.taps, own, part) for part in (calibration, validation)
        )
    return PartScores(calibrating, validating, kept)


def _read_again(
    precision: str,
    onnx: bytes,
    reader: FrameReader,
    scorer_onnx: bytes,
    table: FeatureTable,
    split: Split,
) -> PartScores:
    """Score calibration and validation frames from their pictures: whole maps are not kept."""
    assert reader.plan is not None
    rows = np.sort(np.concatenate([split.calibration, split.validation]))
    height, width = reader.plan.grid
    wanted = precision != 'fp32'  # the gate's pictures come from the others
    run = scoring_runner(onnx, scorer_onnx, precision, threads=reader.settings.threads)
    with reader.scored_frames(
        onnx, run, table, rows, width=1 + height * width, pictures=wanted
    ) as own:
        calibrating, validating = (
            own.cells(np.searchsorted(rows, part))
            for part in (split.calibration, split.validation)
        )
        kept = [image for _, image in sorted(own.images.items())] if wanted else []
    return PartScores(calibrating, validating, kept)
