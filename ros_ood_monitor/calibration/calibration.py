"""The held-out scores of one precision: from raw_score to score and p-value, and their file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
import io
import json
import math
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.calibration.conformal import check_support, conformal_threshold
from ros_ood_monitor.calibration.map_calibration import MapCalibration
from ros_ood_monitor.calibration.operating_point import OperatingPoint
from ros_ood_monitor.errors import CalibrationError
from ros_ood_monitor.rates import RateBound

__all__ = ['Calibration']

_ADDED: Final = ('logic', 'settings', 'refractory', 'rate')
"""Fields of an operating point that older calibrations lack."""

_KINDS: Final = {'float': (float, int), 'int': (int,), 'bool': (bool,)}

_MAP = 'map_'
"""In front of the names of a `MapCalibration` in a file."""


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

    @overload
    def score(self, raw_score: float) -> float: ...
    @overload
    def score(self, raw_score: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]: ...

    def score(self, raw_score: float | npt.NDArray[np.float64]) -> float | npt.NDArray[np.float64]:
        """
        Return the share of held-out frames that look more normal.

        Parameters
        ----------
        raw_score : float or ndarray of shape (n,), float64
            Scores of the same engine and precision.

        Returns
        -------
        float or ndarray of shape (n,), float64
            In [0, 1], not decreasing in raw_score; NaN where that is not finite.

        """
        below = np.searchsorted(self.raw_score, raw_score, side='left')
        found = np.where(np.isfinite(raw_score), below / self.raw_score.shape[0], np.nan)
        return found if isinstance(raw_score, np.ndarray) else float(found)

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
            check_support(n, alpha)
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
            If the content is damaged, or arrays are missing, unsorted or not finite.

        """
        kinds = {field.name: str(field.type) for field in fields(OperatingPoint)}
        names = [name for name in kinds if name not in _ADDED]
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                scores = np.asarray(archive['raw_score'], dtype=np.float64)
                added = [name for name in _ADDED if name in archive]
                values = {n: _plain(n, archive[n], kinds[n]) for n in (*names, *added)}
                if 'settings' in values:
                    values['settings'] = _settings(values['settings'])
                of_map: dict[str, Any] = {
                    field.name: _plain(field.name, archive[_MAP + field.name], 'float')
                    for field in fields(MapCalibration)
                    if f'{_MAP}normal' in archive  # a bundle without a map has none of them
                }
                if 'rate' in values:
                    card = json.loads(values['rate'])
                    values['rate'] = None if card is None else RateBound.from_card(card)
        except Exception as error:  # whatever zipfile and numpy make of damaged bytes
            msg = f'calibration is not readable: expected raw_score and {names}, got {error}'
            raise CalibrationError(msg) from error
        if scores.ndim != 1 or scores.size == 0 or not np.all(np.isfinite(scores)):
            msg = f'calibration scores must be a finite (n,) array, got shape {scores.shape}'
            raise CalibrationError(msg)
        if np.any(np.diff(scores) < 0.0):
            msg = 'calibration scores must ascend, got unsorted values'
            raise CalibrationError(msg)
        return cls(scores, OperatingPoint(**values), MapCalibration(**of_map) if of_map else None)


def _plain(name: str, stored: npt.NDArray[Any], kind: str) -> Any:
    """Return a field of an operating point as its annotation has it; what is no scalar is JSON."""
    value = stored.item()
    if type(value) not in _KINDS.get(kind, (str,)):
        msg = f'{name} {value!r}'
        raise TypeError(msg)
    return value


def _settings(text: str) -> dict[str, float]:
    settings = json.loads(text)
    if not isinstance(settings, dict):
        msg = f'settings is no mapping: {text!r}'
        raise ValueError(msg)
    return {str(name): float(value) for name, value in settings.items()}
