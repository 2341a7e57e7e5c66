"""What a precision is judged by, and what was said of it."""

from __future__ import annotations

from dataclasses import dataclass, field
import math

import numpy as np
import numpy.typing as npt

__all__ = [
    'LARGEST_AUROC_DROP',
    'LARGE_ERROR',
    'SATURATED',
    'PrecisionScores',
    'PrecisionVerdict',
]

LARGEST_AUROC_DROP = 0.01
LARGE_ERROR = 0.5  # standard deviations: what then passes is held up by the calibration alone
SATURATED = 0.999  # AUROC of the reference from which on a kind says nothing of a precision


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
