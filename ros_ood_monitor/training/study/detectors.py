"""
Two detectors without labels, and how well they separate.

They stand for the densities that can be fitted to a tap, both on features of unit length, both
with nothing to tune: the distance to the mean feature, which is what an untrained flow computes,
and the Mahalanobis distance with a shrunk covariance. Which end of a score is anomalous is fixed
beforehand (far from the fit part), never learnt from the test.

References
----------
Mueller, Hein (2025), Mahalanobis++, arXiv:2505.18032 (L2-normalised features).

"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.metrics import auroc, fpr95_id_positive, fpr95_ood_positive
from ros_ood_monitor.training.detectors.gaussian import estimate
from ros_ood_monitor.training.rows import chunks, Rows

__all__ = ['DETECTORS', 'Detectors', 'Separation', 'separate']

DETECTORS = ('distance_to_mean', 'mahalanobis')
"""What is fitted to each tap."""


@dataclass(frozen=True)
class Separation:
    """
    How well one detector separates one OOD folder; an entry for every split.

    Parameters
    ----------
    auroc, fpr95_id_positive, fpr95_ood_positive : tuple of float
        As `ros_ood_monitor.metrics` defines them.

    """

    auroc: tuple[float, ...]
    fpr95_id_positive: tuple[float, ...]
    fpr95_ood_positive: tuple[float, ...]


class Detectors:
    """
    Both detectors, fitted to some rows.

    Parameters
    ----------
    rows : Rows
        Features of unit length to fit to, (n, D).

    Raises
    ------
    TrainingError
        If there are fewer than two rows, or a feature is not finite.

    """

    def __init__(self, rows: Rows) -> None:
        gaussian = estimate(rows)
        self._mean = gaussian.mean  # (D,)
        self._whitening, _, _ = gaussian.whitening()  # (D, D)

    def __call__(self, rows: Rows) -> dict[str, npt.NDArray[np.float64]]:
        """
        Score some rows.

        Parameters
        ----------
        rows : Rows
            Features of unit length, (n, D).

        Returns
        -------
        dict of str to ndarray of shape (n,), float64
            raw_score by detector: distances, higher = more anomalous.

        """
        scores: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in DETECTORS}
        for chunk in chunks(rows):
            centred = chunk.astype(np.float64) - self._mean  # (k, D)
            white = centred @ self._whitening.T  # (k, D)
            scores['distance_to_mean'].append(np.linalg.norm(centred, axis=1))
            scores['mahalanobis'].append(np.linalg.norm(white, axis=1))
        return {name: np.concatenate(values) for name, values in scores.items()}


def separate(
    splits: Iterable[tuple[Detectors, Rows, Mapping[str, Rows]]],
) -> dict[str, dict[str, Separation]]:
    """
    Judge the detectors of every split.

    Parameters
    ----------
    splits : iterable of tuple
        Of each split the fitted detectors, in-distribution rows that they were not fitted to, and
        rows by OOD folder.

    Returns
    -------
    dict
        `Separation` by detector, then by OOD folder.

    """
    measures = (auroc, fpr95_id_positive, fpr95_ood_positive)
    found: dict[str, dict[str, list[tuple[float, ...]]]] = {name: {} for name in DETECTORS}
    for detectors, tested, ood in splits:
        known = detectors(tested)
        for folder, rows in ood.items():
            other = detectors(rows)
            for name in DETECTORS:
                row = tuple(measure(known[name], other[name]) for measure in measures)
                found[name].setdefault(folder, []).append(row)
    return {
        name: {key: Separation(*zip(*rows, strict=True)) for key, rows in folders.items()}
        for name, folders in found.items()
    }
