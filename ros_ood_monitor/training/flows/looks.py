"""Looks at a density: its nll on fitted and on held-out frames, and what it makes of probes."""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import Final

import torch

from ros_ood_monitor.metrics import auroc
from ros_ood_monitor.training.flows.fit_record import Look
from ros_ood_monitor.training.rows import chunks, Rows, spread

__all__ = ['LOOKED_AT', 'judge', 'nll_of']

LOOKED_AT: Final = 1024
"""Rows of the fit part that a look sees at most: told, never decides."""


def judge(
    nll: Callable[[torch.Tensor], torch.Tensor],
    step: int,
    held_out: Rows,
    *,
    fit: Rows,
    probes: Rows | None,
) -> Look:
    """
    Look at a density.

    Parameters
    ----------
    nll : callable
        Features (k, D), float32, to their nll (k,).
    step : int
        Optimiser step.
    held_out, fit : Rows
        Normalised features; of the fit part 1024 at most, spread evenly.
    probes : Rows or None
        Normalised features of pictures that are surely not the training condition.

    Returns
    -------
    Look
        Either nll may be infinite or NaN; that is for the caller to refuse.

    """
    values = nll_of(nll, held_out)
    mean, error = float(values.mean()), float(values.std(correction=0)) / math.sqrt(len(values))
    fit_nll = float(nll_of(nll, fit[spread(len(fit), LOOKED_AT)]).mean())
    if probes is None or not bool(torch.isfinite(values).all()):
        return Look(step, mean, error, fit_nll)
    probed = nll_of(nll, probes)  # (m,)
    comparable = bool(torch.isfinite(probed).all())
    told_apart = auroc(values.double().numpy(), probed.double().numpy()) if comparable else None
    return Look(step, mean, error, fit_nll, told_apart)


def nll_of(nll: Callable[[torch.Tensor], torch.Tensor], rows: Rows) -> torch.Tensor:
    """Return the nll (n,) of rows, a chunk at a time."""
    with torch.no_grad():
        return torch.cat([nll(torch.from_numpy(chunk)) for chunk in chunks(rows)])  # (n,)
