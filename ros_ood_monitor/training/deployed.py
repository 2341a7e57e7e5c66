"""
A precision of the bundle: computed by the runtime that is deployed, calibrated on its own scores.

Thresholds move with precision, so every precision has its own backbone, calibration and goldens;
the scorer stays in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import contextlib
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.bundle import precision_files
from ros_ood_monitor.calibration import Calibration, OperatingPoint
from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.goldens import Goldens
from ros_ood_monitor.training.backbones import BackboneTap
from ros_ood_monitor.training.calibrate import deployed_scores, score_images
from ros_ood_monitor.training.frame_reader import FrameReader
from ros_ood_monitor.training.pictures import Pictures
from ros_ood_monitor.training.precisions import (
    convert,
    golden_tolerance,
    judge_worst,
    PrecisionScores,
    PrecisionVerdict,
)
from ros_ood_monitor.training.pseudo_ood import KINDS, pseudo_ood
from ros_ood_monitor.training.reading import in_order, pool_size
from ros_ood_monitor.training.rows import spread
from ros_ood_monitor.training.split import Split
from ros_ood_monitor.training.table import FeatureTable

__all__ = ['Deployed', 'deploy', 'judge_all', 'score_for_gate', 'shipped']

_GATE_FRAMES = 96


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
    kept : sequence of ndarray of shape (h, w, 3), uint8
        Network inputs of some held-out frames; none where the precision did not read them itself.
    gate_score : dict of str to ndarray, float64
        Of the pseudo-OOD pictures that precisions are judged by, by kind; see `score_for_gate`.

    """

    precision: str
    backbone: bytes
    calibration: Calibration
    goldens: Goldens
    raw_score: npt.NDArray[np.float64]
    validation_score: npt.NDArray[np.float64]
    pseudo_score: dict[str, npt.NDArray[np.float64]]
    kept: Sequence[npt.NDArray[np.uint8]] = ()
    gate_score: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    def for_gate(self, kind: str | None = None) -> PrecisionScores:
        """Return what the precision is judged by: one kind of pseudo-OOD, or all of them."""
        kinds = list(self.gate_score) if kind is None else [kind]
        return PrecisionScores(
            self.precision,
            self.validation_score,
            np.concatenate([self.gate_score[name] for name in kinds]),
            self.calibration.operating_point.trigger,
            self.raw_score,
        )

    def at(self, point: OperatingPoint) -> Deployed:
        """Return it with another operating point."""
        return replace(self, calibration=replace(self.calibration, operating_point=point))

    def files(self) -> dict[str, bytes]:
        """Return the bundle's files of this precision, by name."""
        contents = (self.backbone, self.calibration.to_bytes(), self.goldens.to_bytes())
        return dict(zip(precision_files(self.precision), contents, strict=True))


def deploy(
    precision: str,
    reader: FrameReader,
    scorer_onnx: bytes,
    table: FeatureTable,
    split: Split,
    pictures: Pictures,
) -> Deployed:
    """
    Bring a precision to where it can be shipped: converted, calibrated, with goldens.

    Parameters
    ----------
    precision : str
        Its name.
    reader : FrameReader
        Frames and backbone.
    scorer_onnx : bytes
        The exported scorer.
    table : FeatureTable
        Features of all frames, as they were fitted.
    split : Split
        The three parts; held-out frames are read again where the precision computes other
        features.
    pictures : Pictures
        What ranges, goldens and the gate need.

    Returns
    -------
    Deployed
        All of it.

    Raises
    ------
    TrainingError
        If the backbone cannot be converted, or a score is not finite.

    """
    onnx = convert(reader.onnx, precision, calibration_images=pictures.ranges)
    session, scorer = open_session(onnx, precision=precision), open_session(scorer_onnx)
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
        raw_score = deployed_scores(scorer, reader.taps, own, calibration)
        validation_score = deployed_scores(scorer, reader.taps, own, validation)
    return Deployed(
        precision=precision,
        backbone=onnx,
        calibration=Calibration.fit(
            raw_score, alpha=reader.settings.alpha, frame_rate_hz=table.frame_rate_hz()
        ),
        goldens=Goldens(
            pictures.golden, score_images(session, scorer, reader.taps, pictures.golden)
        ),
        raw_score=raw_score,
        validation_score=validation_score,
        pseudo_score={
            kind: score_images(session, scorer, reader.taps, images)
            for kind, images in pictures.pseudo.items()
        },
        kept=kept,
    )


def score_for_gate(
    deployed: Mapping[str, Deployed],
    taps: Sequence[BackboneTap],
    scorer_onnx: bytes,
    *,
    seed: int,
    workers: int = 0,
) -> dict[str, Deployed]:
    """
    Let every precision score the pictures that the gate compares them by.

    They are made from more held-out frames than the report's pseudo-OOD (up to 96, one picture of
    each kind from each), since the frames were read for the precision anyway. One kind at a time
    is in memory.

    Parameters
    ----------
    deployed : mapping of str to Deployed
        All of them, fp32 included.
    taps : sequence of BackboneTap
        What passes between backbone and scorer.
    scorer_onnx : bytes
        The exported scorer.
    seed : int
        Of everything random.
    workers : int, default 0
        Threads beside the main one that score; they change nothing in the result.

    Returns
    -------
    dict of str to Deployed
        The same, with ``gate_score``; as they are where fp32 is alone.

    """
    kept = next((one.kept for name, one in deployed.items() if name != 'fp32'), ())
    if not len(kept):
        return dict(deployed)
    sources = np.stack([kept[k] for k in spread(len(kept), _GATE_FRAMES)])
    scorer = open_session(scorer_onnx)
    sessions = {name: open_session(one.backbone, precision=name) for name, one in deployed.items()}
    scores: dict[str, dict[str, npt.NDArray[np.float64]]] = {name: {} for name in deployed}
    for kind in KINDS:
        images = pseudo_ood(sources, seed=seed, kinds=[kind])[kind]
        for name, session in sessions.items():
            one_by_one = partial(_score_one, session, scorer, taps)
            scores[name][kind] = np.concatenate(
                list(in_order(one_by_one, images, workers=pool_size(workers)))
            )
    return {name: replace(one, kept=(), gate_score=scores[name]) for name, one in deployed.items()}


def _score_one(
    session: Any, scorer: Any, taps: Sequence[BackboneTap], image: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    return score_images(session, scorer, taps, image[np.newaxis])  # (1,)


def judge_all(
    deployed: Mapping[str, Deployed], tolerance: tuple[float, float]
) -> tuple[list[PrecisionVerdict], dict[str, tuple[float, float]]]:
    """
    Judge every precision by fp32.

    Parameters
    ----------
    deployed : mapping of str to Deployed
        All of them, fp32 included.
    tolerance : tuple of float
        Absolute and relative, of the goldens of fp32.

    Returns
    -------
    verdicts : list of PrecisionVerdict
        Of all but fp32.
    tolerances : dict of str to tuple of float
        Of fp32 and of those that may be shipped.

    """
    reference = deployed['fp32']
    verdicts, tolerances = [], {'fp32': tolerance}
    for precision, candidate in deployed.items():
        if precision == 'fp32':
            continue
        verdict = judge_worst(
            {
                kind: (reference.for_gate(kind), candidate.for_gate(kind))
                for kind in candidate.gate_score
            }
        )
        verdicts.append(verdict)
        if verdict.ok:
            tolerances[precision] = golden_tolerance(
                reference.for_gate(), candidate.for_gate(), least=tolerance
            )
    return verdicts, tolerances


def shipped(precisions: Sequence[str], verdicts: Sequence[PrecisionVerdict]) -> list[str]:
    """
    Return the precisions that the bundle holds, in the order in which they were asked for.

    Parameters
    ----------
    precisions : sequence of str
        What was asked for.
    verdicts : sequence of PrecisionVerdict
        What was said of them.

    Returns
    -------
    list of str
        At least one.

    Raises
    ------
    TrainingError
        If all of them are refused.

    """
    refused = {verdict.precision: verdict for verdict in verdicts if not verdict.ok}
    kept = [precision for precision in precisions if precision not in refused]
    if not kept:
        msg = f'every precision is refused; add fp32: {"; ".join(map(str, refused.values()))}'
        raise TrainingError(msg)
    return kept
