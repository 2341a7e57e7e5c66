"""Fitting one detector to the features of one tap."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from ros_ood_monitor.training.backbones.base import Classifier
from ros_ood_monitor.training.detectors import fit_closed_form, vim
from ros_ood_monitor.training.detectors.folded import Detector
from ros_ood_monitor.training.flows.assembly import flow_from_settings
from ros_ood_monitor.training.flows.fit_record import FitRecord, Look
from ros_ood_monitor.training.flows.folding import fold
from ros_ood_monitor.training.flows.looks import judge
from ros_ood_monitor.training.flows.training import train_flow
from ros_ood_monitor.training.rows import Rows
from ros_ood_monitor.training.settings.densities import VIM
from ros_ood_monitor.training.settings.presets import FlowSettings

__all__ = [
    'FitRecord',
    'FlowSettings',
    'Keep',
    'Look',
    'fit_density',
]

Keep: TypeAlias = Callable[
    [Callable[[], Any], Callable[[], tuple[Any, FitRecord]]], tuple[Any, FitRecord]
]
"""From a maker of an untrained flow and a fit to a trained one and its record."""


def fit_density(
    kind: str,
    fit: Rows,
    held_out: Rows,
    *,
    settings: FlowSettings,
    seed: int,
    probes: Rows | None = None,
    name: str = '',
    keep: Keep | None = None,
    classifier: Classifier | None = None,
    coreset: int | None = None,
    on_progress: Callable[[int, float], None] | None = None,
) -> tuple[Detector, FitRecord]:
    """
    Fit a detector to the features of one tap.

    Parameters
    ----------
    kind : str
        ``flow``, ``vim`` or a closed form.
    fit : Rows
        Normalised features to fit to, (n, D); an array, or anything that reads like one.
    held_out : Rows
        Normalised features that choose the step, (m, D).
    settings : FlowSettings
        For flows.
    seed : int
        Of permutations, weights and batches, unless the settings have one.
    probes : Rows, optional
        Normalised features, (k, D), of pictures that are surely not the training condition. They
        are looked at, and choose nothing.
    name : str
        Of the tap, for messages.
    keep : callable, optional
        For flows: from a maker of an untrained one and a fit to a trained one and its record,
        such as `FitStore.get_or_fit`.
    classifier : Classifier, optional
        For ``vim``: what is behind the features.
    coreset : int, optional
        For ``knn``: its size.
    on_progress : callable, optional
        Called with the step and the held-out nll at each look; for closed forms once, with 1.

    Returns
    -------
    tuple of Detector and FitRecord
        The detector in float64, folded.

    Raises
    ------
    TrainingError
        If loss, gradient or nll is not finite, or there is too little to fit to.

    """
    if kind != 'flow':
        if kind == VIM:
            assert classifier is not None
            fitted = vim.fit(fit, held_out, classifier)
        else:
            fitted = fit_closed_form(kind, fit, coreset=coreset)
        look = judge(
            lambda rows: fitted.detector.score(rows.double()), 0, held_out, fit=fit, probes=probes
        )
        if on_progress is not None:
            on_progress(1, look.nll)
        return fitted.detector, FitRecord(
            kind, [look], gaussian=fitted.gaussian, facts=fitted.facts
        )
    train = partial(
        train_flow,
        fit,
        held_out,
        settings=settings,
        seed=seed,
        probes=probes,
        name=name,
        on_progress=on_progress,
    )
    if keep is None:
        flow, record = train()
    else:
        width = fit[np.arange(1)].shape[1]
        flow, record = keep(partial(flow_from_settings, settings, width, seed=seed), train)
    return fold(flow), record
