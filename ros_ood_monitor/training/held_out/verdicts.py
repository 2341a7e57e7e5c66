"""Which precisions may be shipped: scored on the same pictures, and judged by fp32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.bundle.manifest import Tolerance
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.features.open_runners import scoring_runner
from ros_ood_monitor.training.features.runners import ScoringRunner
from ros_ood_monitor.training.frames.pseudo_ood import KINDS, pseudo_ood
from ros_ood_monitor.training.frames.reading import map_ahead, pool_size
from ros_ood_monitor.training.held_out.deployed import Deployed
from ros_ood_monitor.training.held_out.part_scores import split_scores
from ros_ood_monitor.training.precisions import golden_tolerance, judge_worst, PrecisionVerdict
from ros_ood_monitor.training.rows import spread

__all__ = ['judge_all', 'score_for_gate', 'shipped']

_GATE_FRAMES = 96
_WIDEST_MAP_TOLERANCE = 0.5  # deviations of a cell


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
                list(map_ahead(one_by_one, images, workers=pool_size(workers)))
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
