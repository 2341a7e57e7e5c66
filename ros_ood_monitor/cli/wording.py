"""Phrases that several verbs share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ros_ood_monitor.calibration import Calibration

__all__ = ['DISTANCES', 'count', 'density_text', 'trigger_support', 'trigger_warning']

_FIRM = 10
"""Held-out scores over the trigger at which one of them moves it little."""

DISTANCES = frozenset({'mean_distance', 'pca_residual', 'knn'})
"""Kinds of density, as manifests name them, whose score is a distance and no nll."""


def count(number: int, noun: str) -> str:
    """Return a number with its noun: 1 frame, 2 frames."""
    return f'{number} {noun}{"" if number == 1 else "s"}'


def density_text(density: str, step: int | None, *, gaussian: bool = True) -> str:
    """
    Name what scores a tap.

    Parameters
    ----------
    density : str
        Kind of density.
    step : int or None
        Optimiser step that was chosen, where it is known.
    gaussian : bool, default True
        Whether the flow starts as a Gaussian.

    Returns
    -------
    str
        A flow at step 0 is called what it is: the Gaussian that it starts as.

    """
    if density != 'flow' or step is None:
        return density
    return f'flow: step {step}' + (' = Gaussian' if step == 0 and gaussian else '')


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
    if not 0.0 < point.alpha < 1.0:
        return above, 0
    return above, math.ceil((_FIRM + 1) / point.alpha - 1e-9) - 1


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
