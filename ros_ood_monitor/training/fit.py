"""Fitting one detector to the features of one tap."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.detectors import CLOSED_FORMS, fit_closed_form
from ros_ood_monitor.training.fit_record import FitRecord, Look
from ros_ood_monitor.training.flow_training import judge, train_flow
from ros_ood_monitor.training.flows import flow_from_settings
from ros_ood_monitor.training.folded import Detector
from ros_ood_monitor.training.folding import fold
from ros_ood_monitor.training.presets import FlowSettings
from ros_ood_monitor.training.rows import Rows

__all__ = [
    'DENSITIES',
    'WIDEST_FLOW',
    'FitRecord',
    'FlowSettings',
    'Look',
    'candidate_densities',
    'choose_density',
    'fit_density',
]

Keep: TypeAlias = Callable[
    [Callable[[], Any], Callable[[], tuple[Any, FitRecord]]], tuple[Any, FitRecord]
]

DENSITIES = ('auto', 'evidence', 'flow', *CLOSED_FORMS, 'woods')
"""
What can be asked for; ``auto`` chooses by the tap's width, ``evidence`` fits them all first.

``woods`` is fitted to all taps at once, beside those of ``auto``, with which it is compared.
"""

WIDEST_FLOW = 320
"""Channels up to which ``auto`` takes a flow."""


def choose_density(kind: str, channels: int) -> str:
    """
    Return the detector for a tap.

    Parameters
    ----------
    kind : str
        One of `DENSITIES` but ``evidence``; ``woods`` is compared with ``auto``.
    channels : int
        Width of the tap.

    Returns
    -------
    str
        ``flow``, or a closed form.

    """
    if kind not in ('auto', 'woods'):
        return kind
    return 'flow' if channels <= WIDEST_FLOW else 'mahalanobis'


def candidate_densities(kind: str, channels: int) -> tuple[str, ...]:
    """
    Return the detectors to fit to a tap.

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
    on_progress: Callable[[int, float], None] | None = None,
) -> tuple[Detector, FitRecord]:
    """
    Fit a detector to the features of one tap.

    Parameters
    ----------
    kind : str
        ``flow``, or a closed form.
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
        fitted = fit_closed_form(kind, fit)
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
