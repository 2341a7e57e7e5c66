"""
Whether a precision may be shipped: what it does to the scores, judged by those of float32.

Rounding shifts scores, so each precision has a calibration of its own; that takes a constant shift
away. What a calibration cannot repair is judged here, on frames that it has not seen: whether
anomalies still stand out, and whether in-distribution frames still stay under the operating point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
import math
from statistics import NormalDist

import numpy as np

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.metrics import auroc, auroc_difference, share_over
from ros_ood_monitor.training.precisions.verdict import (
    LARGEST_AUROC_DROP,
    PrecisionScores,
    PrecisionVerdict,
    SATURATED,
)

__all__ = ['golden_tolerance', 'judge', 'judge_worst']

CHANCE = 0.05  # of refusing, over all kinds, a precision whose AUROC is the reference's
LARGEST_SHARE_MOVE = 0.01
LARGEST_TOLERANCE = 0.5  # standard deviations of held-out scores: wider would prove nothing
LARGEST_RELATIVE = 0.5
_SLACK = 1e-9


def judge(
    reference: PrecisionScores, candidate: PrecisionScores, *, kinds: int = 1
) -> PrecisionVerdict:
    """
    Compare a precision with the reference on the same pictures.

    Parameters
    ----------
    reference : PrecisionScores
        Usually fp32.
    candidate : PrecisionScores
        The precision to judge, pictures in the same order.
    kinds : int, default 1
        How many kinds of pseudo-OOD are judged: each further one is a further chance to be
        refused by accident, so each must be the surer.

    Returns
    -------
    PrecisionVerdict
        Refused where AUROC drops by more than 0.01 and by more than chance explains (5 % over all
        kinds, one-sided, paired; with many pictures the first alone decides), or the share of
        held-out frames over the operating point moves by more than 0.01 (by more than one frame,
        where there are fewer than a hundred: one frame is the finest step that can be seen), or a
        score is not finite.

    Raises
    ------
    TrainingError
        If the pictures are not the same ones, there are none, or the reference is not finite.

    """
    _check_pair(reference, candidate)
    frames, pictures = candidate.held_out.size, candidate.pseudo_ood.size
    bad = sum(
        int(np.count_nonzero(~np.isfinite(scores)))
        for scores in (
            candidate.in_distribution,
            candidate.pseudo_ood,
            np.array([candidate.trigger]),
        )
    )
    if bad:
        reason = f'{bad} scores are not finite'
        return PrecisionVerdict(candidate.precision, frames, pictures, refused=(reason,))
    shift = (candidate.held_out - reference.held_out) / _deviation(reference)  # (n,)
    error = np.abs(shift)  # (n,)
    known = reference.in_distribution, candidate.in_distribution
    area = auroc(known[1], candidate.pseudo_ood)
    change, standard_error = auroc_difference(known, (reference.pseudo_ood, candidate.pseudo_ood))
    share = share_over(candidate.held_out, candidate.trigger)
    move = share - share_over(reference.held_out, reference.trigger)
    allowed_move = max(LARGEST_SHARE_MOVE, 1.0 / frames)
    refused: tuple[str, ...] = ()
    sure = NormalDist().inv_cdf(1.0 - CHANCE / kinds) * standard_error
    dropped = change < -LARGEST_AUROC_DROP - _SLACK
    if dropped and -change > sure:
        refused += (
            f'AUROC drops by {-change:.4f}, at most {LARGEST_AUROC_DROP} is allowed '
            f'and {sure:.4f} may be chance',
        )
    if abs(move) > allowed_move + _SLACK:
        refused += (
            f'share of in-distribution frames over the trigger moves by {move:+.4f}, '
            f'at most {allowed_move:.4f} is allowed',
        )
    return PrecisionVerdict(
        precision=candidate.precision,
        frames=frames,
        pictures=pictures,
        error_mean=float(error.mean()),
        error_p99=float(np.quantile(error, 0.99)),
        error_max=float(error.max()),
        shift=float(shift.mean()),
        auroc=area,
        auroc_change=change,
        auroc_error=standard_error,
        share_over=share,
        share_change=move,
        refused=refused,
        within_chance=dropped and -change <= sure,
        auroc_frames=known[1].size,
        saturated=area - change >= SATURATED,
    )


def judge_worst(
    pairs: Mapping[str, tuple[PrecisionScores, PrecisionScores]],
) -> PrecisionVerdict:
    """
    Judge a precision on each kind of pseudo-OOD alone; the worst one counts.

    What rounding takes away first is the small distance of near anomalies, which a mean over far
    ones would hide.

    Parameters
    ----------
    pairs : mapping of str to tuple of PrecisionScores
        Reference and candidate, by kind of the pseudo-OOD pictures; at least one.

    Returns
    -------
    PrecisionVerdict
        That of the kind whose AUROC drops most, of those that are refused if any is, else of those
        that are not established; or whose scores are not finite. Saturated where all kinds are.

    """
    verdicts = [
        replace(judge(reference, candidate, kinds=len(pairs)), kind=kind)
        for kind, (reference, candidate) in pairs.items()
    ]
    worst = min(
        verdicts,
        key=lambda verdict: (
            verdict.ok,
            not verdict.within_chance,
            -math.inf if math.isnan(verdict.auroc_change) else verdict.auroc_change,
        ),
    )
    return replace(worst, saturated=all(verdict.saturated for verdict in verdicts))


def golden_tolerance(
    reference: PrecisionScores, candidate: PrecisionScores, *, least: tuple[float, float]
) -> tuple[float, float]:
    """
    Return how far another device may be from the goldens of a precision.

    Two libraries that both compute a precision faithfully round in different places, so they
    differ by about as much as the precision scatters around the reference (its mean shift is
    common to both); one that is farther away computes something else, int8 products that saturate
    for instance.

    Parameters
    ----------
    reference, candidate : PrecisionScores
        As for `judge`; the candidate passed it.
    least : tuple of float
        ``absolute, relative`` of the reference's own goldens, the least that is returned.

    Returns
    -------
    tuple of float
        ``absolute, relative``: a golden passes where its error is at most
        ``absolute + relative * abs(raw_score)``. absolute: 99 % of the held-out frames scatter by
        less, but at most half a standard deviation of the reference's; relative: 99 % of the
        pseudo-OOD pictures lie within both together, but at most 0.5.

    Raises
    ------
    TrainingError
        If the pictures are not the same ones or a score is not finite.

    """
    _check_pair(reference, candidate)
    change = candidate.held_out - reference.held_out  # (n,)
    near = np.abs(change - change.mean())  # (n,)
    far = np.abs(candidate.pseudo_ood - reference.pseudo_ood)  # (m,)
    widest = LARGEST_TOLERANCE * _deviation(reference)
    absolute = max(float(least[0]), min(float(np.quantile(near, 0.99)), widest))
    beyond = np.maximum(far - absolute, 0.0) / np.maximum(np.abs(candidate.pseudo_ood), absolute)
    relative = max(least[1], min(float(np.quantile(beyond, 0.99)), LARGEST_RELATIVE))
    if not np.isfinite([absolute, relative]).all():
        msg = f'tolerance of {candidate.precision!r} is not finite; leave this precision out'
        raise TrainingError(msg)
    return absolute, relative


def _deviation(reference: PrecisionScores) -> float:
    return max(float(reference.held_out.std()), 1e-12)


def _check_pair(reference: PrecisionScores, candidate: PrecisionScores) -> None:
    pairs = (
        ('held-out frames', reference.in_distribution, candidate.in_distribution),
        ('pseudo-OOD pictures', reference.pseudo_ood, candidate.pseudo_ood),
    )
    for what, ours, theirs in pairs:
        if ours.ndim != 1 or ours.size == 0 or ours.shape != theirs.shape:
            msg = (
                f'precisions are judged on the same {what}: expected scores (n,) of both, '
                f'got {ours.shape} of {reference.precision!r} '
                f'and {theirs.shape} of {candidate.precision!r}'
            )
            raise TrainingError(msg)
        if not np.isfinite(ours).all():
            msg = f'scores of {what} in {reference.precision!r} are not finite'
            raise TrainingError(msg)
