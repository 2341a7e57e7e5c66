"""Fitting one detector to the features of one tap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.backbones.base import Backbone, BackboneTap, Classifier
from ros_ood_monitor.training.detectors import CLOSED_FORMS, fit_closed_form, vim
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
    'vim_classifier',
]

Keep: TypeAlias = Callable[
    [Callable[[], Any], Callable[[], tuple[Any, FitRecord]]], tuple[Any, FitRecord]
]

DENSITIES = ('auto', 'evidence', 'flow', *CLOSED_FORMS, vim.KIND, 'woods')
"""
What can be asked for; ``auto`` chooses by the tap's width, ``evidence`` fits all of these first.

``vim`` is for the tap in front of a classifier, beside ``auto`` on the others. ``woods`` is fitted
to all taps at once, beside those of ``auto``, with which it is compared.
"""

WIDEST_FLOW = 320
"""Channels up to which ``auto`` takes a flow."""


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
    if kind not in ('auto', vim.KIND, 'woods'):
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


def vim_classifier(
    density: str, backbone: Backbone, taps: Sequence[BackboneTap]
) -> Classifier | None:
    """
    Return the classifier behind the last tap, if the density asked for needs it.

    Parameters
    ----------
    density : str
        One of `DENSITIES`.
    backbone : Backbone
        The network.
    taps : sequence of BackboneTap
        What is scored of it.

    Returns
    -------
    Classifier or None
        None for every density but ``vim``.

    Raises
    ------
    TrainingError
        If the backbone's classifier is not known, or the tap in front of it is not scored.

    """
    if density != vim.KIND:
        return None
    if backbone.classifier is None:
        msg = (
            f'density {density!r} needs a classifier: expected weights with one, such as those '
            f'of the EfficientNet-Lites, got backbone {backbone.name!r}; take another --density'
        )
        raise TrainingError(msg)
    if taps[-1] != backbone.taps[-1]:
        msg = (
            f'density {density!r} needs the tap in front of the classifier: expected '
            f'{backbone.taps[-1].name!r} among the taps, got {taps[-1].name!r} as the deepest; '
            'add it to --taps'
        )
        raise TrainingError(msg)
    return backbone.classifier


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
        if kind == vim.KIND:
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
