"""
A precision of the bundle: computed by the runtime that is deployed, calibrated on its own scores.

Thresholds move with precision, so every precision has its own backbone, calibration and goldens;
the scorer stays in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.calibration import Calibration
from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.goldens import Goldens
from ros_ood_monitor.training.backbones import BackboneTap
from ros_ood_monitor.training.calibrate import deployed_scores, score_images
from ros_ood_monitor.training.precisions import PrecisionScores
from ros_ood_monitor.training.table import FeatureTable

__all__ = ['Deployed', 'deploy']


@dataclass(frozen=True, eq=False)
class Deployed:
    """
    What the bundle holds of one precision, and what it was judged by.

    Parameters
    ----------
    precision : str
        Its name.
    backbone : bytes
        ONNX file.
    calibration : Calibration
        On its own scores.
    goldens : Goldens
        Computed by its own sessions.
    raw_score, validation_score : ndarray of shape (k,) and (l,), float64
        Of the calibration and of the validation frames.
    pseudo_score : dict of str to ndarray, float64
        Of pseudo-OOD pictures, by kind.

    """

    precision: str
    backbone: bytes
    calibration: Calibration
    goldens: Goldens
    raw_score: npt.NDArray[np.float64]
    validation_score: npt.NDArray[np.float64]
    pseudo_score: dict[str, npt.NDArray[np.float64]]

    def for_gate(self, kind: str | None = None) -> PrecisionScores:
        """Return what the precision is judged by: one kind of pseudo-OOD, or all of them."""
        kinds = list(self.pseudo_score) if kind is None else [kind]
        return PrecisionScores(
            self.precision,
            self.validation_score,
            np.concatenate([self.pseudo_score[name] for name in kinds]),
            self.calibration.operating_point.trigger,
        )

    def files(self) -> dict[str, bytes]:
        """Return the bundle's files of this precision, by name."""
        return {
            f'backbone.{self.precision}.onnx': self.backbone,
            f'calibration.{self.precision}.npz': self.calibration.to_bytes(),
            f'goldens.{self.precision}.npz': self.goldens.to_bytes(),
        }


def deploy(
    precision: str,
    backbone: bytes,
    scorer: Any,
    taps: Sequence[BackboneTap],
    table: FeatureTable,
    calibration: npt.NDArray[np.int64],
    validation: npt.NDArray[np.int64],
    *,
    alpha: float,
    frame_rate_hz: float,
    golden_images: npt.NDArray[np.uint8],
    pseudo: dict[str, npt.NDArray[np.uint8]],
) -> Deployed:
    """
    Calibrate a precision.

    Parameters
    ----------
    precision : str
        Its name.
    backbone : bytes
        ONNX file.
    scorer : onnxruntime.InferenceSession
        The exported scorer.
    taps : sequence of BackboneTap
        What passes between them.
    table : FeatureTable
        Features that this backbone computes.
    calibration, validation : ndarray of shape (k,) and (l,), int64
        Rows of the table.
    alpha : float
        Share of them allowed over the trigger threshold.
    frame_rate_hz : float
        Of the frames.
    golden_images : ndarray of shape (g, h, w, 3), uint8
        What every engine must reproduce.
    pseudo : dict of str to ndarray of shape (m, h, w, 3), uint8
        Pseudo-OOD pictures.

    Returns
    -------
    Deployed
        All of it.

    """
    session = open_session(backbone, precision=precision)
    raw_score = deployed_scores(scorer, taps, table, calibration)
    return Deployed(
        precision=precision,
        backbone=backbone,
        calibration=Calibration.fit(raw_score, alpha=alpha, frame_rate_hz=frame_rate_hz),
        goldens=Goldens(golden_images, score_images(session, scorer, taps, golden_images)),
        raw_score=raw_score,
        validation_score=deployed_scores(scorer, taps, table, validation),
        pseudo_score={
            kind: score_images(session, scorer, taps, images) for kind, images in pseudo.items()
        },
    )
