"""
Whether a precision may be shipped: what it does to the scores, judged by those of float32.

Rounding shifts scores, so each precision has a calibration of its own; that takes a constant shift
away. What a calibration cannot repair is judged here, on frames that it has not seen: whether
anomalies still stand out, and whether in-distribution frames still stay under the operating point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.metrics import auroc, auroc_difference, share_over

__all__ = ['PrecisionScores', 'PrecisionVerdict', 'golden_tolerance', 'judge', 'judge_worst']

LARGEST_AUROC_DROP = 0.01
CHANCE = 0.05  # of refusing, over all kinds, a precision whose AUROC is the reference's
LARGEST_SHARE_MOVE = 0.01
SATURATED = 0.999  # AUROC of the reference from which on a kind says nothing of a precision
LARGE_ERROR = 0.5  # standard deviations: what then passes is held up by the calibration alone
LARGEST_TOLERANCE = 0.5  # standard deviations of held-out scores: wider would prove nothing
LARGEST_RELATIVE = 0.5
_SLACK = 1e-9


@dataclass(frozen=True, eq=False)
class PrecisionScores:
    """
    Scores of the same pictures by one precision.

    Parameters
    ----------
    precision : str
        Its name.
    held_out : ndarray of shape (n,), float64
        raw_score of in-distribution frames to which nothing was fitted, better not those of the
        calibration either: there the share over the trigger is alpha whatever the precision.
    pseudo_ood : ndarray of shape (m,), float64
        raw_score of pictures that stand for anomalies.
    trigger : float
        Threshold of the precision's own calibration.
    calibration : ndarray of shape (k,), float64
        raw_score of the frames that set the trigger. AUROC knows no trigger, so it counts them,
        too.

    """

    precision: str
    held_out: npt.NDArray[np.float64]
    pseudo_ood: npt.NDArray[np.float64]
    trigger: float
    calibration: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @property
    def in_distribution(self) -> npt.NDArray[np.float64]:
        """Return the scores of all frames to which nothing was fitted."""
        return np.concatenate([self.held_out, self.calibration])


@dataclass(frozen=True)
class PrecisionVerdict:
    """
    How a precision differs from the reference, and whether it may be shipped.

    Parameters
    ----------
    precision : str
        Its name.
    frames, pictures : int
        Held-out frames and pseudo-OOD pictures it was judged on.
    auroc_frames : int
        Held-out frames of AUROC, those of the calibration included.
    error_mean, error_p99, error_max : float
        Absolute difference of raw_score on held-out frames, in standard deviations of the
        reference's held-out scores.
    shift : float
        Mean difference with its sign, in the same unit; the precision's calibration takes it away.
    auroc, auroc_change, auroc_error : float
        Of held-out frames against pseudo-OOD; change: this precision less the reference, and the
        standard error of that.
    share_over, share_change : float
        Share of held-out frames over the precision's own trigger, and its change.
    refused : tuple of str
        Why it may not be shipped; empty where it may. The figures are NaN where a score is not
        finite.
    kind : str
        Kind of pseudo-OOD that it was judged on, where it was judged on several.
    within_chance : bool
        Whether AUROC drops by more than is allowed, but by no more than chance explains: then it
        is not established whether the precision costs that much.
    saturated : bool
        Whether the reference tells every kind of pseudo-OOD from the frames without fail, so that
        AUROC could decide nothing.

    """

    precision: str
    frames: int
    pictures: int
    error_mean: float = math.nan
    error_p99: float = math.nan
    error_max: float = math.nan
    shift: float = math.nan
    auroc: float = math.nan
    auroc_change: float = math.nan
    auroc_error: float = math.nan
    share_over: float = math.nan
    share_change: float = math.nan
    refused: tuple[str, ...] = ()
    kind: str = ''
    within_chance: bool = False
    auroc_frames: int = 0
    saturated: bool = False

    @property
    def ok(self) -> bool:
        """Return whether the precision may be shipped."""
        return not self.refused

    @property
    def word(self) -> str:
        """Return ``ok``, ``not established`` or ``refused``."""
        if self.refused:
            return 'refused'
        return 'not established' if self.within_chance else 'ok'

    @property
    def reason(self) -> str:
        """Return why it is refused, or what else to know of it; empty where that is nothing."""
        where = f'on {self.kind}: ' if self.kind else ''
        if self.refused:
            return where + '; '.join(self.refused)
        told = []
        if self.within_chance:
            told.append(
                f'{where}AUROC drops by {-self.auroc_change:.4f}, its standard error is '
                f'{self.auroc_error:.4f} on {self.auroc_frames} frames and {self.pictures} '
                f'pictures: at most {LARGEST_AUROC_DROP} is allowed, and so few cannot tell; more '
                'frames, or ood_monitor evaluate on pictures of your own, would decide'
            )
        if self.saturated:
            told.append(
                f'fp32 tells every kind of pseudo-OOD apart (AUROC at least {SATURATED}), so '
                'AUROC could decide nothing here'
            )
        return '; '.join(told)

    @property
    def warning(self) -> str:
        """Return what a reader must not overlook; empty where that is nothing."""
        blind = self.saturated and self.error_mean > LARGE_ERROR
        if self.word == 'ok' and not blind:
            return ''
        error = f' (raw_score error {self.error_mean:.2f} sigma)' if blind else ''
        return f'{self.precision}: {self.word}; {self.reason}{error}'

    def __str__(self) -> str:
        facts = (
            f'raw_score error {self.error_mean:.3f} sigma (p99 {self.error_p99:.3f}), '
            f'AUROC {f"on {self.kind} " if self.kind else ""}{self.auroc:.4f} '
            f'({self.auroc_change:+.4f}, standard error {self.auroc_error:.4f}'
            f'{", saturated: decides nothing" if self.saturated else ""}), '
            f'over the trigger {self.share_over:.4f} ({self.share_change:+.4f})'
        )
        why = ': ' + '; '.join(self.refused) if self.refused else ''
        return f'{self.precision}: {self.word}{why}; {facts}'


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
