"""The densities: one for each tap, and what they were chosen from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
import math
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.metrics import auroc, auroc_error

__all__ = ['CandidateRow', 'Look', 'TapReport']

_Scores: TypeAlias = npt.NDArray[np.float64]
_EMPTY = np.empty(0, np.float64)


class Look(NamedTuple):
    """
    What was seen at one optimiser step.

    Parameters
    ----------
    step : int
        Optimiser steps made by then.
    nll_fit, nll : float
        Mean over the fit and over the held-out frames, in nats; NaN where it is unknown.
    auroc : float
        Of pseudo-OOD against held-out frames; NaN where it is unknown.

    """

    step: int
    nll_fit: float = math.nan
    nll: float = math.nan
    auroc: float = math.nan


@dataclass(frozen=True, eq=False)
class TapReport:
    """
    One tap: what it is, how its density was fitted, and what that density says.

    Parameters
    ----------
    name, density, normalization : str
        As in the manifest.
    channels, reduction : int
        Width of its features; input pixels per cell of its grid, in px.
    step, steps : int
        Step that was taken, and steps up to which a better one was looked for; later looks are
        evidence only. 0 for closed forms.
    standard_error : float
        Of the lowest held-out mean, in nats.
    looks : sequence of Look
        In the order of the steps; one or none for closed forms.
    held_out : ndarray of shape (n,), float64
        _Scores of held-out frames: nll in nats, or a distance.
    pseudo_ood : mapping of str to ndarray of shape (m,), float64
        _Scores of each kind of pseudo-OOD pictures.
    sources : ndarray of shape (k,), float64, optional
        _Scores of the held-out frames that those are made from; all held-out ones where it is not
        given.

    """

    name: str
    channels: int
    reduction: int
    density: str
    normalization: str = 'l2'
    step: int = 0
    steps: int = 0
    standard_error: float = math.nan
    looks: Sequence[Look] = ()
    held_out: _Scores = field(default_factory=_EMPTY.copy)
    pseudo_ood: Mapping[str, _Scores] = field(default_factory=dict)
    sources: _Scores | None = None

    @property
    def has_curve(self) -> bool:
        """Return whether there is more than one look to draw."""
        return len(self.looks) > 1

    @property
    def pictures(self) -> int:
        """Return the number of pseudo-OOD pictures, of all kinds."""
        return sum(scores.size for scores in self.pseudo_ood.values())

    def look_error(self, look: Look) -> float:
        """
        Return the standard error of a look's AUROC.

        Parameters
        ----------
        look : Look
            One of the looks.

        Returns
        -------
        float
            NaN where it cannot be told.

        """
        error = auroc_error(look.auroc, self.held_out.size, self.pictures)
        return error if math.isfinite(error) else math.nan

    def at(self, step: int) -> Look:
        """
        Return the look at a step.

        Parameters
        ----------
        step : int
            One of the looks' steps; any other gives a look of unknowns.

        Returns
        -------
        Look
            What was seen then.

        """
        return next((look for look in self.looks if look.step == step), Look(step))

    def auroc_by_kind(self) -> dict[str, float]:
        """
        Return how well the taken density tells each kind of pseudo-OOD from what it is made from.

        Returns
        -------
        dict of str to float
            AUROC, pseudo-OOD positive; empty where either side is missing.

        """
        if not self.held_out.size:
            return {}
        known = self.held_out if self.sources is None else self.sources
        return {kind: auroc(known, nll) for kind, nll in self.pseudo_ood.items()}


@dataclass(frozen=True)
class CandidateRow:
    """
    A detector on some taps, judged on pseudo-OOD against the frames that it was made from.

    Parameters
    ----------
    density : str
        ``auto``, or the name of a closed form.
    taps : sequence of str
        All of them, or the deeper ones.
    auroc : float
        Of near pseudo-OOD.
    error : float
        Standard error of that.
    gain, standard_error : float
        That AUROC over the first candidate's, and the error of this difference.
    auroc_by_kind : mapping of str to float
        Of every kind.
    taken : bool
        Whether the bundle holds it.

    """

    density: str
    taps: Sequence[str]
    auroc: float
    error: float = math.nan
    gain: float = 0.0
    standard_error: float = math.nan
    auroc_by_kind: Mapping[str, float] = field(default_factory=dict)
    taken: bool = False
