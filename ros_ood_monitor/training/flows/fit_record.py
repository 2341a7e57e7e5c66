"""What happened while a detector was fitted: one row a look, and the step that was taken."""

from __future__ import annotations

from dataclasses import dataclass, field

from ros_ood_monitor.training.detectors.gaussian import Gaussian

__all__ = ['FitRecord', 'Look']


@dataclass(frozen=True)
class Look:
    """
    A detector seen at one optimiser step.

    Of one that is no density, the score (a distance) stands where the nll is named.

    Parameters
    ----------
    step : int
        Optimiser steps made so far.
    nll : float
        Mean held-out nll, in nats.
    standard_error : float
        Of that mean, in nats.
    fit_nll : float
        Mean nll of the fit part, in nats; far under the other, and it is overfitted.
    probe_auroc : float or None
        AUROC of the probes against the held-out frames; None where there are no probes, or where
        a nll of theirs was not finite.

    """

    step: int
    nll: float
    standard_error: float
    fit_nll: float
    probe_auroc: float | None = None


@dataclass(frozen=True)
class FitRecord:
    """
    What happened while a detector was fitted.

    Parameters
    ----------
    density : str
        ``flow``, or a closed form.
    looks : list of Look
        From step 0 on; those beyond ``steps`` are evidence of over-training and chose nothing.
    step : int
        Optimiser step that was taken; 0 for closed forms.
    steps : int
        Optimiser steps after which training stopped.
    standard_error : float
        Of the lowest mean held-out nll, in nats.
    gaussian : Gaussian or None
        What the density is, or is built upon.
    evidence_ended : str
        Why the steps beyond the stop ended early; empty where they did not.
    facts : dict of str to float or int
        What else there is to tell: of closed forms such as the number of components, of flows
        the level of the brake, in nats, and the step it began at.

    """

    density: str
    looks: list[Look] = field(default_factory=list)
    step: int = 0
    steps: int = 0
    standard_error: float = 0.0
    gaussian: Gaussian | None = None
    evidence_ended: str = ''
    facts: dict[str, float | int] = field(default_factory=dict)

    @property
    def curve(self) -> list[tuple[int, float]]:
        """Return step and mean held-out nll, in nats, of each look that could be chosen."""
        return [(look.step, look.nll) for look in self.looks if look.step <= self.steps]

    @property
    def fit_curve(self) -> list[tuple[int, float]]:
        """Return step and mean nll of the fit part, in nats, of the same looks."""
        return [(look.step, look.fit_nll) for look in self.looks if look.step <= self.steps]

    @property
    def nll_at_start(self) -> float:
        """Return the mean held-out nll before training, in nats."""
        return self.looks[0].nll

    @property
    def nll(self) -> float:
        """Return the mean held-out nll of what was taken, in nats."""
        return dict(self.curve)[self.step]

    @property
    def fit_nll(self) -> float:
        """Return the mean nll of the fit part under what was taken, in nats."""
        return dict(self.fit_curve)[self.step]
