"""
A precision of the bundle: computed by the runtime that is deployed, calibrated on its own scores.

Thresholds move with precision, so every precision has its own backbone, calibration and goldens;
the scorer stays in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.bundle import precision_files
from ros_ood_monitor.bundle.goldens import Goldens
from ros_ood_monitor.calibration import Calibration, OperatingPoint
from ros_ood_monitor.training.features.frame_reader import FrameReader
from ros_ood_monitor.training.features.open_runners import scoring_runner
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.frames.split import Split
from ros_ood_monitor.training.held_out.calibrate import score_images
from ros_ood_monitor.training.held_out.part_scores import score_parts, split_scores
from ros_ood_monitor.training.held_out.pictures import Pictures
from ros_ood_monitor.training.precisions import convert, PrecisionScores

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
    kept : sequence of ndarray of shape (h, w, 3), uint8
        Network inputs of some held-out frames; none where the precision did not read them itself.
    gate_score : dict of str to ndarray, float64
        Of the pseudo-OOD pictures that precisions are judged by, by kind; see `score_for_gate`.
    patch_score : ndarray of shape (k, gh, gw), float32, or None
        Maps of the calibration frames, where there is a map.
    scorer : bytes
        ONNX file, the same for all precisions.
    grid : tuple of int, or None
        Height and width of the map, where there is one.

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
    patch_score: npt.NDArray[np.float32] | None = None
    scorer: bytes = b''
    grid: tuple[int, int] | None = None

    def score(
        self, images: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32] | None]:
        """Return the scores of k pictures, one by one, and their maps where there are any."""
        run = scoring_runner(self.backbone, self.scorer, self.precision)
        return split_scores(score_images(run, images), self.grid)

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
    grid = None if reader.plan is None else reader.plan.grid
    parts = score_parts(precision, onnx, reader, scorer_onnx, table, split)
    raw_score, patch_score = split_scores(parts.calibration, grid)
    validation_score, _ = split_scores(parts.validation, grid)
    run = scoring_runner(onnx, scorer_onnx, precision)
    return Deployed(
        precision=precision,
        backbone=onnx,
        calibration=Calibration.fit(
            raw_score,
            alpha=reader.settings.alpha,
            frame_rate_hz=table.frame_rate_hz(),
            patch_score=patch_score,
        ),
        goldens=Goldens(pictures.golden, *split_scores(score_images(run, pictures.golden), grid)),
        raw_score=raw_score,
        validation_score=validation_score,
        pseudo_score={
            kind: split_scores(score_images(run, images), grid)[0]
            for kind, images in pictures.pseudo.items()
        },
        kept=parts.kept,
        patch_score=patch_score,
        scorer=scorer_onnx,
        grid=grid,
    )
