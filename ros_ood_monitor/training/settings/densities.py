"""The names of detectors, and which of them a training fits; none of them is loaded here."""

from __future__ import annotations

from typing import Final

from ros_ood_monitor.errors import TrainingError

__all__ = [
    'CLOSED_FORMS',
    'DENSITIES',
    'MAP_DENSITIES',
    'NORMALIZATIONS',
    'VIM',
    'WIDEST_FLOW',
    'candidate_densities',
    'check_map_density',
    'check_normalization',
    'choose_density',
]

CLOSED_FORMS: Final = ('mahalanobis', 'ppca', 'mean_distance', 'pca_residual', 'knn')
"""Detectors that are not trained; what fits them: `ros_ood_monitor.training.detectors`."""

VIM: Final = 'vim'
"""The one for the tap in front of a classifier."""

DENSITIES = ('auto', 'evidence', 'flow', *CLOSED_FORMS, VIM, 'woods')
"""
What can be asked for; ``auto`` chooses by the tap's width, ``evidence`` fits all of these first.

``vim`` is for the tap in front of a classifier, beside ``auto`` on the others. ``woods`` is fitted
to all taps at once, beside those of ``auto``, with which it is compared.
"""

WIDEST_FLOW = 320
"""Channels up to which ``auto`` takes a flow."""

MAP_DENSITIES = ('auto', 'flow', *CLOSED_FORMS)
"""What can be asked for to score the cells of a map."""

NORMALIZATIONS = ('l2', 'radial', 'none')
"""What can be done to the length of features."""


def choose_density(kind: str, channels: int) -> str:
    """
    Return the detector for a tap.

    Parameters
    ----------
    kind : str
        One of `DENSITIES` but ``evidence``; ``woods`` is compared with ``auto``, and ``vim``
        leaves it the other taps.
    channels : int
        Width of the tap.

    Returns
    -------
    str
        ``flow``, or a closed form.

    """
    if kind not in ('auto', VIM, 'woods'):
        return kind
    return 'flow' if channels <= WIDEST_FLOW else 'mahalanobis'


def candidate_densities(kind: str, channels: int) -> tuple[str, ...]:
    """
    Return the detectors to fit to a tap that is in front of no classifier.

    Parameters
    ----------
    kind : str
        One of `DENSITIES`.
    channels : int
        Width of the tap.

    Returns
    -------
    tuple of str
        One; for ``evidence`` every closed form, and a flow where ``auto`` would fit one.

    Raises
    ------
    TrainingError
        If the kind is unknown.

    """
    if kind not in DENSITIES:
        msg = f'density is unknown: expected one of {list(DENSITIES)}, got {kind!r}'
        raise TrainingError(msg)
    if kind != 'evidence':
        return (choose_density(kind, channels),)
    return tuple(dict.fromkeys((choose_density('auto', channels), *CLOSED_FORMS)))


def check_map_density(name: str) -> None:
    """
    Refuse what is no detector of cells.

    Parameters
    ----------
    name : str
        Of the detector.

    Raises
    ------
    TrainingError
        If it is unknown.

    """
    if name not in MAP_DENSITIES:
        msg = f'map density is unknown: expected one of {list(MAP_DENSITIES)}, got {name!r}'
        raise TrainingError(msg)


def check_normalization(name: str) -> None:
    """
    Refuse what is no normalisation of features.

    Parameters
    ----------
    name : str
        Of the normalisation.

    Raises
    ------
    TrainingError
        If it is unknown.

    """
    if name not in NORMALIZATIONS:
        msg = f'normalisation is unknown: expected one of {list(NORMALIZATIONS)}, got {name!r}'
        raise TrainingError(msg)
