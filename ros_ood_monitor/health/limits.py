"""
Between which values a check passes: from the frames of the training, or fixed ones without them.

A limit lies well beyond what the training's own frames have, so that a scene that changes does not
reach it: what blinds must not hide an anomaly, and the others only warn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import BundleError, ParameterError
from ros_ood_monitor.health.checks import CHECKS
from ros_ood_monitor.health.measures import MEASURES

__all__ = ['HealthLimits', 'health_table']

_INF: Final = math.inf
_QUANTILES: Final = (0.001, 0.01, 0.5, 0.99, 0.999)
_MOST_SIZES: Final = 4  # more are a folder of pictures, not cameras
_DRIFT: Final = 10.0  # grey levels beyond what the training has

_FIXED: Final[dict[str, tuple[float, float]]] = {
    'black': (8.0, _INF),
    'saturated': (-_INF, 0.98),
    'missing': (-_INF, 0.1),
    'frozen': (-_INF, 2.0),
    'torn': (-_INF, 0.1),
    'format': (-_INF, 2.0),
    'encoding': (-_INF, 0.5),
    'stamps': (1e-9, _INF),
}
"""What needs no training; blank, blurred, noise, banding, exposure and colour are left out."""


@dataclass(frozen=True)
class HealthLimits:
    """
    The limits of all checks.

    Parameters
    ----------
    limits : mapping of str to (float, float)
        Lowest and highest value that passes, by check; one that is not there is not made. From a
        training whose frames fill a check's range nothing could fail it, and it is not there.
    sizes : tuple of (int, int)
        Width and height of the training's pictures, in px; empty where they are not known.
    frames : int
        Training frames that they come from; 0 for the fixed ones.

    """

    limits: Mapping[str, tuple[float, float]]
    sizes: tuple[tuple[int, int], ...] = ()
    frames: int = 0

    @classmethod
    def from_table(
        cls, table: Mapping[str, Any] | None, *, frame_rate_hz: float = math.nan
    ) -> HealthLimits:
        """
        Return the limits that a bundle asks for.

        Parameters
        ----------
        table : mapping or None
            ``health`` of its manifest, as `health_table` made it; None gives the fixed limits.
        frame_rate_hz : float, optional
            Rate for which its operating point was set; NaN where it is not known.

        Returns
        -------
        HealthLimits
            For one camera or several.

        Raises
        ------
        BundleError
            If the table is not whole.

        """
        limits = dict(_FIXED)
        if math.isfinite(frame_rate_hz):
            limits['rate'] = (frame_rate_hz / 2.0, _INF)
        if table is None:
            return cls(limits)
        try:
            limits |= _trained({name: _row(table, name) for name in MEASURES})
            limits['frozen'] = (-_INF, max(_FIXED['frozen'][1], 2.0 * float(table['still'])))
            limits['torn'] = (-_INF, _FIXED['torn'][1] + _bar(table))
            limits = {name: sides for name, sides in limits.items() if any(_within(name, sides))}
            sizes = tuple((int(width), int(height)) for width, height in table['sizes'])
            return cls(limits, sizes, int(table['frames']))
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            msg = f'health table of the manifest is damaged ({error!r}); train the bundle again'
            raise BundleError(msg) from error

    def passes(self, name: str) -> str:
        """
        Return what passes a check, for people.

        Parameters
        ----------
        name : str
            Its name.

        Returns
        -------
        str
            Such as ``at least 8 grey levels``, without a side that no picture is beyond; or that
            it is not made.

        """
        if name not in self.limits:
            return 'not made: training frames fill its range' if self.frames else 'not made'
        low, high = self.limits[name]
        unit = f' {CHECKS[name].unit}'.rstrip()
        has_low, has_high = _within(name, (low, high))
        if has_low and has_high:
            return f'{low:.4g} to {high:.4g}{unit}'
        return f'at least {low:.4g}{unit}' if has_low else f'at most {high:.4g}{unit}'

    def with_limits(self, values: Mapping[str, float]) -> HealthLimits:
        """
        Return the limits with some of them replaced.

        Parameters
        ----------
        values : mapping of str to float
            One-sided limits by check; NaN leaves one as it is.

        Returns
        -------
        HealthLimits
            New limits.

        Raises
        ------
        ParameterError
            If there is no such check, or it has two limits.

        """
        limits = dict(self.limits)
        for name, value in values.items():
            if name not in CHECKS or name in ('exposure', 'colour'):
                allowed = [key for key in CHECKS if key not in ('exposure', 'colour')]
                msg = f'no check with one limit: expected one of {allowed}, got {name!r}'
                raise ParameterError(msg)
            if not math.isnan(value):
                limits[name] = (value, _INF) if name in _LOWER else (-_INF, value)
        return replace(self, limits=limits)

    def without(self, names: Iterable[str]) -> HealthLimits:
        """
        Return the limits without some checks.

        Parameters
        ----------
        names : iterable of str
            Checks that are not made.

        Returns
        -------
        HealthLimits
            New limits.

        Raises
        ------
        ParameterError
            If there is no such check.

        """
        names = set(names)
        unknown = sorted(names - set(CHECKS))
        if unknown:
            msg = f'unknown health check: expected some of {list(CHECKS)}, got {unknown[0]!r}'
            raise ParameterError(msg)
        return replace(self, limits={k: v for k, v in self.limits.items() if k not in names})


_LOWER: Final = frozenset({'black', 'blurred', 'stamps', 'rate'})
"""Checks whose limit is the lowest value that passes."""


def health_table(
    measures: npt.NDArray[np.float32],
    sizes: npt.NDArray[np.integer[Any]],
    *,
    still: float,
    bar: float = 0.0,
) -> dict[str, Any]:
    """
    Return what a bundle holds of its training frames' health.

    Parameters
    ----------
    measures : ndarray of shape (n, 9), float32
        One row a frame, from `measure`.
    sizes : ndarray of shape (n, 2), integer
        Width and height of each frame as it came, in px.
    still : float
        Longest time for which the picture was the same, in s.
    bar : float, default 0
        Share of rows, from one edge on, that stay the same while the rest of the picture changes.

    Returns
    -------
    dict
        Plain values for the manifest.

    """
    different = np.unique(sizes, axis=0)
    rows = np.quantile(measures.astype(np.float64), _QUANTILES, axis=0).T  # (9, 5)
    return {
        'frames': len(measures),
        'sizes': different.tolist() if len(different) <= _MOST_SIZES else [],
        'still': round(float(still), 3),
        'bar': round(float(bar), 3),
        'quantiles': [float(quantile) for quantile in _QUANTILES],
        **{
            name: [float(f'{value:.6g}') for value in row]
            for name, row in zip(MEASURES, rows, strict=True)
        },
    }


def _within(name: str, sides: tuple[float, float]) -> tuple[bool, bool]:
    """Return whether a value can be under the lower limit, and over the higher one."""
    lowest, highest = CHECKS[name].range
    return sides[0] > lowest, sides[1] < highest


def _row(table: Mapping[str, Any], name: str) -> tuple[float, ...]:
    row = tuple(float(value) for value in table[name])
    if len(row) != len(_QUANTILES) or not all(math.isfinite(value) for value in row):
        msg = f'{name}: expected {len(_QUANTILES)} numbers, got {list(row)}'
        raise ValueError(msg)
    return row


def _bar(table: Mapping[str, Any]) -> float:
    bar = float(table.get('bar', 0.0))  # older tables have none
    if not 0.0 <= bar <= 1.0:
        msg = f'bar: expected a share of rows, got {bar:g}'
        raise ValueError(msg)
    return bar


def _trained(rows: Mapping[str, tuple[float, ...]]) -> dict[str, tuple[float, float]]:
    """Return limits beyond the thousandth frame on either side."""
    least, most = ({name: row[k] for name, row in rows.items()} for k in (0, -1))
    return {
        'black': (min(_FIXED['black'][0], least['black'] / 2.0), _INF),
        'saturated': (-_INF, (1.0 + most['saturated']) / 2.0),
        'missing': (-_INF, most['missing'] + 0.05),
        'blank': (-_INF, most['blank'] + 0.1),
        'blurred': (least['blurred'] / 2.0, _INF),
        'noise': (-_INF, 1.5 * most['noise'] + 1.0),
        'banding': (-_INF, 1.5 * most['banding'] + 1.0),
        'exposure': _around(rows['exposure']),
        'colour': _around(rows['colour']),
    }


def _around(row: tuple[float, ...]) -> tuple[float, float]:
    _, low, _, high, _ = row
    margin = max(_DRIFT, (high - low) / 2.0)
    return low - margin, high + margin
