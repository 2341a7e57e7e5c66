"""The precisions: thresholds of each, and what it costs against fp32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.metrics import auroc, share_over

__all__ = ['CalibrationRow', 'PrecisionRow']

_Scores: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CalibrationRow:
    """
    The operating point of one precision, and the scores that it comes from.

    Parameters
    ----------
    precision : str
        Its name.
    raw_score : ndarray of shape (n,), float64
        Of the calibration frames.
    raw_score_pseudo_ood : mapping of str to ndarray of shape (m,), float64
        Of the pseudo-OOD pictures by kind.
    trigger, release, alpha : float
        The operating point; NaN where there is none.
    raw_score_sources : ndarray of shape (k,), float64, optional
        Of the frames that the pseudo-OOD pictures are made from; those of the calibration where
        it is not given.

    """

    precision: str
    raw_score: _Scores
    raw_score_pseudo_ood: Mapping[str, _Scores] = field(default_factory=dict)
    trigger: float = math.nan
    release: float = math.nan
    alpha: float = math.nan
    raw_score_sources: _Scores | None = None

    def auroc_by_kind(self) -> dict[str, float]:
        """
        Return how well raw_score tells each kind of pseudo-OOD from what it is made from.

        Returns
        -------
        dict of str to float
            AUROC, pseudo-OOD positive; empty where there is no pseudo-OOD.

        """
        known = self.raw_score if self.raw_score_sources is None else self.raw_score_sources
        return {kind: auroc(known, s) for kind, s in self.raw_score_pseudo_ood.items()}

    def over_trigger(self) -> float:
        """Return the share of the calibration frames over the trigger; NaN without one."""
        return self._over(self.raw_score)

    def over_trigger_by_kind(self) -> dict[str, float]:
        """
        Return the share of each kind of pseudo-OOD over the trigger.

        Returns
        -------
        dict of str to float
            In [0, 1]; NaN where there is no trigger.

        """
        return {kind: self._over(scores) for kind, scores in self.raw_score_pseudo_ood.items()}

    def _over(self, scores: _Scores) -> float:
        return share_over(scores, self.trigger) if math.isfinite(self.trigger) else math.nan


@dataclass(frozen=True)
class PrecisionRow:
    """
    One precision after its own calibration.

    Parameters
    ----------
    precision : str
        Such as ``fp16``.
    size_bytes : int
        Of its backbone.
    error_mean, error_p99, error_max : float
        Of raw_score against fp32, in deviations of held-out frames' raw_score.
    share_over, share_change : float
        Of held-out frames over the operating point, and its difference from fp32's.
    auroc_by_kind : mapping of str to float
        Held-out frames against each kind of pseudo-OOD; NaN where a score is not finite.
    accepted : bool
        Whether the bundle has it.
    word : str
        The verdict; made from ``accepted`` where it is empty.
    reason : str
        Why not, or what else there is to say.

    """

    precision: str
    size_bytes: int
    error_mean: float = math.nan
    error_p99: float = math.nan
    error_max: float = math.nan
    share_over: float = math.nan
    share_change: float = math.nan
    auroc_by_kind: Mapping[str, float] = field(default_factory=dict)
    accepted: bool = True
    reason: str = ''
    word: str = ''
