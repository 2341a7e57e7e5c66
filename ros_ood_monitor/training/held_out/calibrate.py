"""Scores of held-out frames by the deployed scorer: the calibration and the goldens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.backbones import BackboneTap
from ros_ood_monitor.training.features.table import FeatureTable

__all__ = ['deployed_scores', 'golden_images', 'score_images', 'standardisation']

_ROWS_AT_ONCE = 512
_NARROWEST = 0.01
"""Smallest std of a tap's scores, as a share of what its detector expects."""


def standardisation(scores: npt.NDArray[np.float64], expected: float) -> tuple[float, float]:
    """
    Return mean and deviation of a tap's held-out scores.

    Parameters
    ----------
    scores : ndarray of shape (n,), float64
        Of the validation frames: a density's nll, or a distance.
    expected : float
        The detector's `deviation`. A hundredth of it is the least that is returned, so that a
        scene without any change (a simulator at rest) divides by no zero.

    Returns
    -------
    tuple of float
        Mean and deviation, in the unit of the scores.

    Raises
    ------
    TrainingError
        If a score is not finite.

    """
    mean, std = float(scores.mean()), float(scores.std())
    if not np.isfinite(mean) or not np.isfinite(std):
        msg = f'held-out scores are not finite: mean {mean}, deviation {std}'
        raise TrainingError(msg)
    return mean, max(std, _NARROWEST * expected)


def deployed_scores(
    session: Any,
    taps: Sequence[BackboneTap],
    table: FeatureTable,
    rows: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """
    Score rows of the feature table, one frame at a time as the robot does.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        The exported scorer.
    taps : sequence of BackboneTap
        Its inputs.
    table : FeatureTable
        Features of the exported backbone.
    rows : ndarray of shape (m,), int64
        Rows to score.

    Returns
    -------
    ndarray of shape (m, 1), float32
        Their raw_score.

    """
    scores = np.empty((len(rows), 1), dtype=np.float32)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[start : start + _ROWS_AT_ONCE]
        read = {tap.output: table.of(tap, some) for tap in taps}
        for k, row in enumerate(some):
            features = {output: values[k : k + 1] for output, values in read.items()}
            (raw_score,) = session.run(['raw_score'], features)  # (1,)
            if not np.isfinite(raw_score[0]):
                msg = f'raw_score of held-out frame {row} is not finite: {raw_score[0]}'
                raise TrainingError(msg)
            scores[start + k] = raw_score[0]
    return scores


def golden_images(frames: npt.NDArray[np.uint8], *, seed: int) -> npt.NDArray[np.uint8]:
    """
    Choose the pictures that every engine must reproduce.

    Parameters
    ----------
    frames : ndarray of shape (k, h, w, 3), uint8
        Held-out network inputs, at least one.
    seed : int
        Of the noise.

    Returns
    -------
    ndarray of shape (3, h, w, 3), uint8
        Two of the frames, and a picture of uniform noise, which is far outside of what the flows
        have seen.

    """
    noise = np.random.default_rng(seed).integers(0, 256, frames[0].shape, dtype=np.uint8)
    return np.stack([frames[0], frames[len(frames) // 2], noise])  # (3, h, w, 3)


def score_images(
    run: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]],
    images: npt.NDArray[np.uint8],
) -> npt.NDArray[np.float32]:
    """
    Score pictures one by one, as the robot does.

    Parameters
    ----------
    run : callable
        A `ScoringRunner`.
    images : ndarray of shape (k, h, w, 3), uint8
        Network inputs.

    Returns
    -------
    ndarray of shape (k, 1 + cells), float32
        Their raw_score, and the cells of their maps where there are any.

    """
    return np.concatenate([run(image[np.newaxis]) for image in images])
