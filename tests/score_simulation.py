"""Streams of scores with known dependence, standardised: what alert logics are measured on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
import math

import numpy as np
import numpy.typing as npt

__all__ = ['KINDS', 'Kind', 'simulate']

_BURN = 1000


@dataclass(frozen=True)
class Kind:
    """
    An autoregressive stream of order one, ``x[t] = phi x[t - 1] + e[t]``.

    Parameters
    ----------
    name : str
        Its name.
    phi : float
        Correlation of neighbouring frames.
    freedom : float
        Degrees of freedom of Student's t that ``e`` follows; infinite for a normal one.
    is_bursty : bool
        Whether the variance of ``e`` follows a GARCH(1, 1): quiet and restless stretches.

    """

    name: str
    phi: float
    freedom: float = math.inf
    is_bursty: bool = False


KINDS = (
    Kind('independent', 0.0),
    Kind('correlated', 0.6),
    Kind('slow', 0.95),
    Kind('bursty', 0.6, is_bursty=True),
    Kind('heavy-tailed', 0.6, freedom=3.0),
)


def simulate(
    kind: Kind, count: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """
    Return a stream with its secrets.

    Parameters
    ----------
    kind : Kind
        What to simulate.
    count : int
        Number of frames.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    score : ndarray of shape (count,), float64
        Mean 0 and variance 1.
    innovation : ndarray of shape (count,), float64
        ``e``.
    scale : ndarray of shape (count,), float64
        Standard deviation of ``e``, frame by frame.

    """
    n = count + _BURN
    if math.isinf(kind.freedom):
        unit = rng.standard_normal(n)
    else:
        unit = rng.standard_t(kind.freedom, n) / math.sqrt(kind.freedom / (kind.freedom - 2.0))
    scale = np.ones(n)
    if kind.is_bursty:
        variance = 1.0
        for k in range(1, n):
            variance = 0.05 + 0.1 * variance * unit[k - 1] ** 2 + 0.85 * variance
            scale[k] = math.sqrt(variance)
    scale *= math.sqrt(1.0 - kind.phi**2)
    innovation = unit * scale
    score = np.fromiter(accumulate(innovation.tolist(), lambda x, e: kind.phi * x + e), np.float64)
    return score[_BURN:], innovation[_BURN:], scale[_BURN:]
