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
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.bundle import precision_files
from ros_ood_monitor.bundle.goldens import Goldens
from ros_ood_monitor.bundle.manifest import Tolerance
from ros_ood_monitor.calibration import Calibration, OperatingPoint
from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.calibrate import deployed_scores, score_images
from ros_ood_monitor.training.frame_reader import FrameReader, scoring_runner
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
from ros_ood_monitor.training.runners import ScoringRunner
from ros_ood_monitor.training.split import Split
from ros_ood_monitor.training.table import FeatureTable

__all__ = ['Deployed', 'deploy', 'judge_all', 'score_for_gate', 'shipped', 'split_scores']

_GATE_FRAMES = 96
_WIDEST_MAP_TOLERANCE = 0.5  # deviations of a cell


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
    read = _read_again if reader.plan is not None else _from_features
    calibration, validation, kept = read(precision, onnx, reader, scorer_onnx, table, split)
    raw_score, patch_score = split_scores(calibration, grid)
    validation_score, _ = split_scores(validation, grid)
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
        kept=kept,
        patch_score=patch_score,
        scorer=scorer_onnx,
        grid=grid,
    )


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


_HeldOut: TypeAlias = tuple[
    npt.NDArray[np.float32], npt.NDArray[np.float32], list[npt.NDArray[np.uint8]]
]


def _from_features(
    precision: str,
    onnx: bytes,
    reader: FrameReader,
    scorer_onnx: bytes,
    table: FeatureTable,
    split: Split,
) -> _HeldOut:
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
    return calibrating, validating, kept


def _read_again(
    precision: str,
    onnx: bytes,
    reader: FrameReader,
    scorer_onnx: bytes,
    table: FeatureTable,
    split: Split,
) -> _HeldOut:
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
    return calibrating, validating, kept


def score_for_gate(
    deployed: Mapping[str, Deployed],
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
    runs = {name: scoring_runner(one.backbone, one.scorer, name) for name, one in deployed.items()}
    scores: dict[str, dict[str, npt.NDArray[np.float64]]] = {name: {} for name in deployed}
    for kind in KINDS:
        images = pseudo_ood(sources, seed=seed, kinds=[kind])[kind]
        for name, run in runs.items():
            one_by_one = partial(_score_one, run, deployed[name].grid)
            scores[name][kind] = np.concatenate(
                list(in_order(one_by_one, images, workers=pool_size(workers)))
            )
    return {name: replace(one, kept=(), gate_score=scores[name]) for name, one in deployed.items()}


def _score_one(
    run: ScoringRunner, grid: tuple[int, int] | None, image: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    return split_scores(run(image[np.newaxis]), grid)[0]  # (1,)


def judge_all(
    deployed: Mapping[str, Deployed], tolerance: Tolerance
) -> tuple[list[PrecisionVerdict], dict[str, Tolerance]]:
    """
    Judge every precision by fp32.

    Parameters
    ----------
    deployed : mapping of str to Deployed
        All of them, fp32 included.
    tolerance : Tolerance
        Of the goldens of fp32.

    Returns
    -------
    verdicts : list of PrecisionVerdict
        Of all but fp32.
    tolerances : dict of str to Tolerance
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
            absolute, relative = golden_tolerance(
                reference.for_gate(),
                candidate.for_gate(),
                least=(tolerance.absolute, tolerance.relative),
            )
            tolerances[precision] = Tolerance(
                absolute, relative, _map_tolerance(reference, candidate, tolerance.map_absolute)
            )
    return verdicts, tolerances


def _map_tolerance(reference: Deployed, candidate: Deployed, least: float) -> float:
    """Return how far maps of 99 % of held-out frames are from fp32's; half a deviation at most."""
    if reference.patch_score is None or candidate.patch_score is None:
        return least
    squares = np.square(candidate.patch_score - reference.patch_score).mean(axis=(1, 2))  # (n,)
    return max(least, min(float(np.quantile(np.sqrt(squares), 0.99)), _WIDEST_MAP_TOLERANCE))


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
