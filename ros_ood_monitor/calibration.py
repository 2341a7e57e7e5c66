"""
From raw_score to a score in [0, 1] and to thresholds, out of held-out in-distribution frames.

Thresholds are split-conformal: with n held-out scores, the one of rank
``ceil((n + 1)(1 - alpha))`` is exceeded by a new exchangeable frame with probability at most
alpha; where that rank is beyond n the data cannot support alpha and calibration refuses. Frames
of a video are not exchangeable, so alpha is a share of frames and *not* a false-alarm rate: an
operating point says whether its rate per hour was established.

References
----------
Vovk, Gammerman, Shafer (2005), Algorithmic Learning in a Random World, section 4.2 (inductive
conformal predictors).

"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
import io
import json
import math
from typing import Any, Final
import zipfile

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import CalibrationError
from ros_ood_monitor.rates import RateBound

__all__ = [
    'Calibration',
    'MapCalibration',
    'OperatingPoint',
    'conformal_threshold',
    'frames_needed',
    'map_warning',
    'trigger_support',
    'trigger_warning',
]

_FIRM = 10
"""Held-out scores over the trigger at which one of them moves it little."""

_ADDED: Final = ('logic', 'settings', 'refractory', 'rate')
"""Fields of an operating point that older calibrations lack."""

_LEAST_CONTRAST = 1e-3
"""Of a map's threshold over its normal value, in the unit of patch_score."""

_MAP = 'map_'
"""In front of the names of a `MapCalibration` in a file."""


def frames_needed(alpha: float) -> int:
    """
    Return how many held-out frames a conformal threshold at alpha needs.

    Parameters
    ----------
    alpha : float
        Share of in-distribution frames allowed over the threshold, in (0, 1).

    Returns
    -------
    int
        The smallest n with ``ceil((n + 1)(1 - alpha)) <= n``.

    Raises
    ------
    CalibrationError
        If alpha is outside (0, 1).

    """
    if not 0.0 < alpha < 1.0:
        msg = f'alpha must lie in (0, 1), got {alpha!r}'
        raise CalibrationError(msg)
    n = max(1, math.floor(1.0 / alpha) - 1)
    while _rank(n, alpha) > n:
        n += 1
    return n


def _rank(n: int, alpha: float) -> int:
    # the 1e-9 keeps 100 * (1 - 0.01) = 99.00000000000001 from becoming rank 100
    return math.ceil((n + 1) * (1.0 - alpha) - 1e-9)


def _check_support(n: int, alpha: float) -> None:
    needed = frames_needed(alpha)
    if n < needed:
        msg = (
            f'too few held-out frames for alpha = {alpha:g}: expected at least {needed}, got {n}; '
            f'give more frames or an alpha of at least {1.0 / (n + 1):.3g}'
        )
        raise CalibrationError(msg)


def conformal_threshold(raw_score: npt.NDArray[np.float64], alpha: float) -> float:
    """
    Return the split-conformal threshold for a share alpha of frames.

    Parameters
    ----------
    raw_score : ndarray of shape (n,), float64
        Held-out in-distribution scores, in any order.
    alpha : float
        Share of in-distribution frames allowed over the threshold, in (0, 1).

    Returns
    -------
    float
        Threshold on raw_score; frames strictly over it count as anomalous.

    Raises
    ------
    CalibrationError
        If there are fewer frames than alpha needs.

    """
    n = int(raw_score.shape[0])
    _check_support(n, alpha)
    return float(np.sort(raw_score)[_rank(n, alpha) - 1])


@dataclass(frozen=True)
class OperatingPoint:
    """
    Thresholds and counts of the alert logic, with what is known about their false-alarm rate.

    Parameters
    ----------
    trigger : float
        A frame with a raw_score over it counts toward an alert.
    release : float
        A frame with a raw_score under it counts toward the end of an alert; at most ``trigger``.
    trigger_frames, release_frames : int
        Consecutive frames that start and end an alert.
    alpha : float
        Share of held-out frames that the trigger threshold was set for.
    frame_rate_hz : float
        Frame rate of the held-out data; NaN where it is unknown.
    rate_established : bool
        True only where a false-alarm rate per hour was measured on held-out sequences.
    logic : str
        Name of the alert logic; see `ros_ood_monitor.alerting.LOGICS`.
    settings : mapping of str to float
        The logic's other settings by name, its limit among them where that is no trigger.
    refractory : float
        An alert that begins so soon after the last one ended is the same episode, in s.
    rate : RateBound or None
        What is known of the false alerts per hour; None where nothing was measured.

    Raises
    ------
    CalibrationError
        If the values contradict each other.

    """

    trigger: float
    release: float
    trigger_frames: int = 3
    release_frames: int = 5
    alpha: float = 0.01
    frame_rate_hz: float = math.nan
    rate_established: bool = False
    logic: str = 'consecutive'
    settings: Mapping[str, float] = field(default_factory=dict)
    refractory: float = 0.0
    rate: RateBound | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.trigger) and math.isfinite(self.release)):
            msg = f'thresholds must be finite, got trigger {self.trigger}, release {self.release}'
            raise CalibrationError(msg)
        if self.release > self.trigger:
            msg = (
                'release threshold must be at most the trigger threshold, '
                f'got release {self.release:g}, trigger {self.trigger:g}'
            )
            raise CalibrationError(msg)
        if self.trigger_frames < 1 or self.release_frames < 1:
            got = f'{self.trigger_frames} and {self.release_frames}'
            msg = f'trigger_frames and release_frames must be at least 1, got {got}'
            raise CalibrationError(msg)
        bad = sorted(name for name, value in self.settings.items() if not math.isfinite(value))
        if bad:
            msg = f'settings of the alert logic must be finite, got {self.settings!r}'
            raise CalibrationError(msg)
        if not 0.0 <= self.refractory < math.inf:
            msg = f'refractory must be 0 s or more, got {self.refractory:g} s'
            raise CalibrationError(msg)
        if self.rate_established and not (self.rate and self.rate.is_established):
            msg = f'a rate is established by a bound within it only, got {self.rate}'
            raise CalibrationError(msg)

    @property
    def rate_text(self) -> str:
        """Return what is known of the rate of false alerts, for people."""
        return 'not established' if self.rate is None else str(self.rate)

    @property
    def rate_card(self) -> dict[str, Any]:
        """Return what is known of the rate of false alerts, plain values for reports."""
        return {
            'rate_established': self.rate_established,
            'rate': None if self.rate is None else self.rate.card(),
        }

    def at_limit(self, limit: float) -> OperatingPoint:
        """
        Return this operating point with another limit: the one number that calibration chooses.

        Parameters
        ----------
        limit : float
            On the running statistic of the logic. For ``consecutive`` that is the trigger, and a
            release over it comes down with it.

        Returns
        -------
        OperatingPoint
            Otherwise equal.

        Raises
        ------
        CalibrationError
            If the limit is not finite.

        """
        if self.logic == 'consecutive':
            return replace(self, trigger=limit, release=min(self.release, limit))
        return replace(self, settings={**self.settings, 'limit': limit})


@dataclass(frozen=True)
class MapCalibration:
    """
    What a map's values mean, in the unit of ``patch_score``.

    Parameters
    ----------
    normal : float
        Median of the cells of held-out frames.
    threshold : float
        A share alpha of in-distribution frames has a cell over it; more than ``normal``.
    alpha : float
        That share.

    Raises
    ------
    CalibrationError
        If a value is not finite, or the threshold is not over what is normal.

    """

    normal: float
    threshold: float
    alpha: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.normal) and math.isfinite(self.threshold)):
            msg = f'map values must be finite, got normal {self.normal}, {self.threshold}'
            raise CalibrationError(msg)
        if not self.normal < self.threshold:
            msg = (
                'map threshold must be over what is normal, got threshold '
                f'{self.threshold:g}, normal {self.normal:g}'
            )
            raise CalibrationError(msg)

    @classmethod
    def fit(cls, patch_score: npt.NDArray[np.float32], *, alpha: float = 0.01) -> MapCalibration:
        """
        Calibrate on the maps of held-out in-distribution frames.

        Parameters
        ----------
        patch_score : ndarray of shape (n, grid_height, grid_width), float32
            Maps by the deployed engine of frames that nothing was fitted to.
        alpha : float, default 0.01
            Share of in-distribution frames allowed to have a cell over the threshold.

        Returns
        -------
        MapCalibration
            The median of all cells, and the conformal threshold of the highest cell of a frame.

        Raises
        ------
        CalibrationError
            If a cell is not finite, or there are too few frames.

        """
        if patch_score.ndim != 3 or not np.all(np.isfinite(patch_score)):
            msg = f'held-out maps must be finite (n, gh, gw), got shape {patch_score.shape}'
            raise CalibrationError(msg)
        highest = patch_score.max(axis=(1, 2)).astype(np.float64)  # (n,)
        normal = float(np.median(patch_score))
        # a scene without any change has one value everywhere
        threshold = max(conformal_threshold(highest, alpha), normal + _LEAST_CONTRAST)
        return cls(normal, threshold, alpha)


@dataclass(frozen=True, eq=False)
class Calibration:
    """
    The held-out in-distribution scores of one precision, and the operating point made from them.

    Parameters
    ----------
    raw_score : ndarray of shape (n,), float64
        Held-out scores, ascending.
    operating_point : OperatingPoint
        Default thresholds.
    map : MapCalibration or None
        What the map's values mean, where the bundle has a map.

    """

    raw_score: npt.NDArray[np.float64]
    operating_point: OperatingPoint
    map: MapCalibration | None = None

    @classmethod
    def fit(
        cls,
        raw_score: npt.NDArray[np.float64],
        *,
        alpha: float = 0.01,
        frame_rate_hz: float = math.nan,
        patch_score: npt.NDArray[np.float32] | None = None,
    ) -> Calibration:
        """
        Calibrate on held-out in-distribution scores.

        Parameters
        ----------
        raw_score : ndarray of shape (n,), float64
            Scores of the deployed engine on frames that nothing was fitted to.
        alpha : float, default 0.01
            Share of in-distribution frames allowed over the trigger threshold. The release
            threshold is the one for ``5 * alpha`` (at most 0.5), so that an alert ends well inside
            the in-distribution range.
        frame_rate_hz : float, default NaN
            Frame rate of the sequences, in Hz, where it is known.
        patch_score : ndarray of shape (n, grid_height, grid_width), float32, optional
            Maps of the same frames, where the bundle has a map.

        Returns
        -------
        Calibration
            With ``rate_established`` False: a quantile of frames is no rate per hour.

        Raises
        ------
        CalibrationError
            If a score is not finite or there are too few of them.

        """
        scores = np.asarray(raw_score, dtype=np.float64)
        if scores.ndim != 1:
            msg = f'held-out scores must have shape (n,), got {scores.shape}'
            raise CalibrationError(msg)
        bad = int(np.count_nonzero(~np.isfinite(scores)))
        if bad:
            msg = f'held-out scores must be finite, got {bad} of {scores.size} that are not'
            raise CalibrationError(msg)
        point = OperatingPoint(
            trigger=conformal_threshold(scores, alpha),
            release=conformal_threshold(scores, min(5.0 * alpha, max(alpha, 0.5))),
            alpha=alpha,
            frame_rate_hz=frame_rate_hz,
        )
        maps = None if patch_score is None else MapCalibration.fit(patch_score, alpha=alpha)
        return cls(np.sort(scores), point, maps)

    def score(self, raw_score: float) -> float:
        """
        Return the share of held-out frames that look more normal.

        Parameters
        ----------
        raw_score : float
            A score of the same engine and precision.

        Returns
        -------
        float
            In [0, 1], not decreasing in raw_score.

        """
        below = int(np.searchsorted(self.raw_score, raw_score, side='left'))
        return below / int(self.raw_score.shape[0])

    def p_value(self, raw_score: float, *, alpha: float | None = None) -> float:
        """
        Return the split-conformal p-value of a frame.

        A new frame that is exchangeable with the held-out ones has a p-value of at most alpha with
        probability at most alpha, which is when it scores over `conformal_threshold`. Frames of a
        video are not exchangeable: of one frame drawn from another day that holds, and it makes no
        rate of alarms.

        Parameters
        ----------
        raw_score : float
            A score of the same engine and precision.
        alpha : float, optional
            What the p-value is going to be compared with.

        Returns
        -------
        float
            ``(1 + number of held-out scores at least as high) / (n + 1)``.

        Raises
        ------
        CalibrationError
            If no p-value could be as small as alpha, for want of held-out frames.

        """
        n = int(self.raw_score.shape[0])
        if alpha is not None:
            _check_support(n, alpha)
        below = int(np.searchsorted(self.raw_score, raw_score, side='left'))
        return (1 + n - below) / (n + 1)

    def to_bytes(self) -> bytes:
        """
        Return the content of a ``calibration.<precision>.npz``; equal for equal values.

        Returns
        -------
        bytes
            An npz archive without pickled objects.

        """
        buffer = io.BytesIO()
        values = asdict(self.operating_point)
        values['settings'] = json.dumps(values['settings'], sort_keys=True)
        rate = self.operating_point.rate
        values['rate'] = json.dumps(None if rate is None else rate.card())
        arrays = {name: np.asarray(value) for name, value in values.items()}
        if self.map is not None:
            arrays |= {_MAP + name: np.asarray(value) for name, value in asdict(self.map).items()}
        np.savez(buffer, raw_score=self.raw_score, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Calibration:
        """
        Read what `to_bytes` wrote.

        Parameters
        ----------
        content : bytes
            Content of a ``calibration.<precision>.npz``.

        Returns
        -------
        Calibration
            The stored values.

        Raises
        ------
        CalibrationError
            If arrays are missing, unsorted or not finite.

        """
        names = [f.name for f in fields(OperatingPoint) if f.name not in _ADDED]
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                scores = np.asarray(archive['raw_score'], dtype=np.float64)
                added = [name for name in _ADDED if name in archive]
                values: dict[str, Any] = {n: archive[n].item() for n in (*names, *added)}
                if 'settings' in values:
                    values['settings'] = _settings(values['settings'])
                of_map: dict[str, Any] = {
                    field.name: archive[_MAP + field.name].item()
                    for field in fields(MapCalibration)
                    if f'{_MAP}normal' in archive  # a bundle without a map has none of them
                }
                if 'rate' in values:
                    card = json.loads(values['rate'])
                    values['rate'] = None if card is None else RateBound.from_card(card)
        except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile) as error:
            msg = f'calibration is not readable: expected raw_score and {names}, got {error}'
            raise CalibrationError(msg) from error
        if scores.ndim != 1 or scores.size == 0 or not np.all(np.isfinite(scores)):
            msg = f'calibration scores must be a finite (n,) array, got shape {scores.shape}'
            raise CalibrationError(msg)
        if np.any(np.diff(scores) < 0.0):
            msg = 'calibration scores must ascend, got unsorted values'
            raise CalibrationError(msg)
        return cls(scores, OperatingPoint(**values), MapCalibration(**of_map) if of_map else None)


def _settings(text: str) -> dict[str, float]:
    settings = json.loads(text)
    if not isinstance(settings, dict):
        msg = f'settings is no mapping: {text!r}'
        raise ValueError(msg)
    return {str(name): float(value) for name, value in settings.items()}


def trigger_support(calibration: Calibration) -> tuple[int, int]:
    """
    Tell on how many held-out frames the trigger threshold rests.

    Parameters
    ----------
    calibration : Calibration
        The held-out scores and the threshold.

    Returns
    -------
    above : int
        Held-out frames over the threshold.
    needed : int
        Held-out frames at which ten would be: the smallest n with ``alpha (n + 1) >= 11``; 0 where
        the threshold was set by other means than a share of frames.

    """
    point = calibration.operating_point
    above = int((calibration.raw_score > point.trigger).sum())
    return above, _frames_for_ten(point.alpha) if 0.0 < point.alpha < 1.0 else 0


def _frames_for_ten(alpha: float) -> int:
    return math.ceil((_FIRM + 1) / alpha - 1e-9) - 1


def trigger_warning(calibration: Calibration) -> str:
    """Return a warning where the trigger hangs on the one or two highest scores, else nothing."""
    above, needed = trigger_support(calibration)
    if above > 1 or not needed:
        return ''
    held_out = calibration.raw_score.size
    return (
        f'the trigger hangs on single frames: {above or "none"} of {held_out} held-out frames '
        f'scored over it; {_FIRM} would with {needed} held out'
    )


def map_warning(calibration: Calibration) -> str:
    """Return a warning where the map's threshold hangs on the one or two highest cells, if any."""
    if calibration.map is None:
        return ''
    alpha, held_out = calibration.map.alpha, calibration.raw_score.size
    # by its rule: the highest cells themselves are not kept
    above = held_out - math.ceil((held_out + 1) * (1.0 - alpha) - 1e-9)
    if above > 1:
        return ''
    return (
        f"the map's threshold hangs on single frames: {above or 'none'} of {held_out} held-out "
        f'frames had a cell over it; {_FIRM} would with {_frames_for_ten(alpha)} held out'
    )
