"""
Fitting what scores the cells of a map: one detector for all places, and what is normal at each.

The detector is fitted to a sample of cells of every fitted frame, so that memory and time are
bounded whatever is trained on. A cell's score then counts in deviations of the validation frames'
scores *at its own place*: where the picture is always bright, or the network's padding shows, high
scores are normal, and a value means the same everywhere. Few frames tell little about a single
place, so its mean and variance are shrunk towards its neighbours' and the whole map's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
import hashlib
import time
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
import torch

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.calibrate import standardisation
from ros_ood_monitor.training.detectors import CLOSED_FORMS
from ros_ood_monitor.training.detectors.patch_flow import Adaptor, PatchFlow
from ros_ood_monitor.training.fit import fit_density
from ros_ood_monitor.training.fit_record import FitRecord
from ros_ood_monitor.training.fit_store import FitStore
from ros_ood_monitor.training.folded import Detector, FoldedFlow
from ros_ood_monitor.training.map_features import MapPlan, normalize_cells
from ros_ood_monitor.training.normalization import choose_beta, Normalization
from ros_ood_monitor.training.presets import FlowSettings
from ros_ood_monitor.training.rows import spread
from ros_ood_monitor.training.scorer import CellScorer, highest_mean
from ros_ood_monitor.training.settings import TrainSettings
from ros_ood_monitor.training.split import Split
from ros_ood_monitor.training.table import FeatureTable

__all__ = [
    'DEFAULT',
    'MAP_DENSITIES',
    'FittedMap',
    'check_map_density',
    'fit_map',
    'fit_map_detector',
    'statistics',
]

_Maps = npt.NDArray[np.float64]

MAP_DENSITIES = ('auto', 'flow', *CLOSED_FORMS)
"""What can be asked for."""

DEFAULT: Final = 'mahalanobis'
"""What ``auto`` is, unless a training chooses by evidence."""

STATISTICS_FRAMES: Final = 128
"""Validation frames that tell what is normal at each place, at most."""

_MOST_ROWS: Final = 65_536
_MOST_BYTES: Final = 64 * 2**20
_HELD_OUT_SHARE: Final = 8  # of that, one in so many may be held out
_NEAR_FRAMES: Final = 8  # what a place's neighbours count beside the frames seen at it
_PRIOR_FRAMES: Final = 3  # what the whole map counts beside both
_NARROWEST: Final = 0.25  # smallest deviation at a place, as a share of the whole map's
_FLOW: Final = FlowSettings(couplings=2, whiten=False)  # the adaptor whitens


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


@dataclass(frozen=True, eq=False)
class FittedMap:
    """
    What was fitted to the cells of the map.

    Parameters
    ----------
    plan : MapPlan
        What their features are made of.
    cells : CellScorer
        In float64, with the constants of every place.
    record : FitRecord
        How the detector was fitted.
    frames : int
        Validation frames that tell what is normal at each place.
    rows : int
        Cells that the detector was fitted to.
    seconds : float
        How long all of it took.

    """

    plan: MapPlan
    cells: CellScorer
    record: FitRecord
    frames: int
    rows: int
    seconds: float


def fit_map(
    table: FeatureTable,
    split: Split,
    settings: TrainSettings,
    plan: MapPlan,
    *,
    density: str,
    score: Callable[[CellScorer, npt.NDArray[np.int64]], npt.NDArray[np.float32]],
    store: FitStore | None = None,
    facts: dict[str, Any] | None = None,
    on_progress: Callable[[int, float], None] | None = None,
) -> FittedMap:
    """
    Fit a map's detector, and what is normal at each place.

    Parameters
    ----------
    table : FeatureTable
        All frames, with some cells of each.
    split : Split
        Which are fitted and which choose.
    settings : TrainSettings
        Normalisation, seed and steps.
    plan : MapPlan
        What the cells are made of.
    density : str
        ``flow``, or a closed form.
    score : callable
        From a scorer of cells and rows of the table to the maps (k, gh, gw) of these frames, as
        the deployed runtime gives them.
    store : FitStore, optional
        Where fitted flows are kept.
    facts : dict, optional
        What the features depend on, for the store.
    on_progress : callable, optional
        Called with the step and the held-out nll at each look.

    Returns
    -------
    FittedMap
        Equal arguments give an equal one.

    Raises
    ------
    TrainingError
        If a detector cannot be fitted, or a score is not finite.

    """
    started = time.perf_counter()
    raw_fit = sampled_cells(table, split.fit, plan, _MOST_ROWS)
    raw_held_out = sampled_cells(table, split.validation, plan, _MOST_ROWS // _HELD_OUT_SHARE)
    normalizations = _normalizations(settings, plan, raw_fit, raw_held_out)
    fit, held_out = (
        normalize_cells(torch.from_numpy(rows), plan.taps, normalizations).numpy()
        for rows in (raw_fit, raw_held_out)
    )
    about = {
        **(facts or {}),
        'map': [tap.name for tap in plan.taps],
        'grid': list(plan.grid),
        'normalization': [one.card() for one in normalizations],
        'rows': [hashlib.sha256(rows.tobytes()).hexdigest() for rows in (raw_fit, raw_held_out)],
    }
    detector, record = fit_map_detector(
        density,
        fit,
        held_out,
        flow=replace(_FLOW, steps=settings.flow.steps),
        seed=settings.seed,
        store=store,
        facts=about,
        coreset=settings.coreset,
        on_progress=on_progress,
    )
    plain = CellScorer(plan, normalizations, detector, *_nothing(plan, detector))
    rows = split.validation[spread(len(split.validation), STATISTICS_FRAMES)]
    scores = score(plain, rows).astype(np.float64)  # (k, gh, gw)
    if not np.all(np.isfinite(scores)):
        msg = f'scores of cells by {density} are not finite; take another --map-density'
        raise TrainingError(msg)
    mean, std = statistics(scores, detector.deviation)
    z = (scores - mean) / std
    cells = CellScorer(
        plan,
        normalizations,
        detector,
        mean + detector.constant,
        std,
        standardisation(highest_mean(z.astype(np.float32), plan.tiles), 1.0),
    )
    seconds = time.perf_counter() - started
    return FittedMap(plan, cells, record, len(rows), len(fit), seconds)


def _nothing(plan: MapPlan, detector: Detector) -> tuple[_Maps, _Maps]:
    """Return the mean and deviation with which a cell's score is its energy."""
    return np.full(plan.grid, detector.constant), np.ones(plan.grid)


def sampled_cells(
    table: FeatureTable, index: npt.NDArray[np.int64], plan: MapPlan, most: int
) -> npt.NDArray[np.float32]:
    """
    Return features of cells, evenly from all of some frames.

    Parameters
    ----------
    table : FeatureTable
        With some cells of each frame.
    index : ndarray of shape (n,), int64
        Its rows.
    plan : MapPlan
        What the cells are made of.
    most : int
        Cells that are returned at most; fewer where they are wide, so that they fit into 64 MiB.

    Returns
    -------
    ndarray of shape (m, channels), float32
        Frame after frame.

    """
    width = plan.channels
    most = max(2, min(most, _MOST_BYTES // (4 * width)))
    frames = index[spread(len(index), most)]
    cells = table.cells(frames).reshape(len(frames), -1, width)  # (k, cells, channels)
    a_frame = max(1, min(cells.shape[1], most // len(frames)))
    chosen = cells[:, spread(cells.shape[1], a_frame)]  # (k, a_frame, channels)
    return np.ascontiguousarray(chosen.reshape(-1, width))


def _normalizations(
    settings: TrainSettings,
    plan: MapPlan,
    fit: npt.NDArray[np.float32],
    held_out: npt.NDArray[np.float32],
) -> list[Normalization]:
    if settings.normalization != 'radial':
        return [Normalization(settings.normalization)] * len(plan.taps)
    ends = np.cumsum([tap.channels for tap in plan.taps])[:-1]
    return [
        choose_beta(ours, theirs).normalization
        for ours, theirs in zip(
            np.split(fit, ends, axis=1), np.split(held_out, ends, axis=1), strict=True
        )
    ]


def fit_map_detector(
    density: str,
    fit: npt.NDArray[np.float32],
    held_out: npt.NDArray[np.float32],
    *,
    flow: FlowSettings,
    seed: int,
    store: FitStore | None = None,
    facts: dict[str, Any] | None = None,
    coreset: int | None = None,
    on_progress: Callable[[int, float], None] | None = None,
) -> tuple[Detector, FitRecord]:
    """
    Fit the detector that all cells share.

    Parameters
    ----------
    density : str
        ``flow``, or a closed form.
    fit, held_out : ndarray of shape (n, D) and (m, D), float32
        Normalised features of cells to fit to, and those that choose a flow's step.
    flow : FlowSettings
        For a flow of whitened components.
    seed : int
        Of permutations, weights and batches.
    store : FitStore, optional
        Where fitted flows are kept.
    facts : dict, optional
        What the features depend on, for the store.
    coreset : int, optional
        Size of that of ``knn``.
    on_progress : callable, optional
        Called with the step and the held-out nll at each look.

    Returns
    -------
    tuple of Detector and FitRecord
        In float64. The record of a flow tells the nll of the components alone.

    Raises
    ------
    TrainingError
        If there is too little to fit to, or a value is not finite.

    """
    if density != 'flow':
        return fit_density(
            density,
            fit,
            held_out,
            settings=flow,
            seed=seed,
            name='map',
            coreset=coreset,
            on_progress=on_progress,
        )
    adaptor = Adaptor.fit(fit)
    latent = [
        adaptor.inside(torch.from_numpy(rows).double()).float().numpy() for rows in (fit, held_out)
    ]
    about = {**(facts or {}), 'flow': asdict(flow), 'seed': seed}
    folded, record = fit_density(
        'flow',
        *latent,
        settings=flow,
        seed=seed,
        name='map',
        keep=None if store is None else partial(store.get_or_fit, about),
        on_progress=on_progress,
    )
    assert isinstance(folded, FoldedFlow)
    return PatchFlow(adaptor, folded), replace(record, facts={'components': adaptor.kept})


def statistics(scores: _Maps, expected: float) -> tuple[_Maps, _Maps]:
    """
    Return what is normal at each place.

    Parameters
    ----------
    scores : ndarray of shape (n, gh, gw), float64
        Maps of frames that nothing was fitted to.
    expected : float
        The detector's `deviation`: a hundredth of it is the least deviation anywhere.

    Returns
    -------
    mean, std : ndarray of shape (gh, gw), float64
        Of n frames a place's own values count ``n / (n + 8)`` and those of the 3 x 3 cells around
        it the rest; of both together ``n / (n + 3)``, and the whole map's the rest. A deviation is
        at least a quarter of the whole map's, so that a corner in which nothing ever moves turns
        no noise into an anomaly.

    """
    mean = _shrunk(scores.mean(axis=0), len(scores))  # (gh, gw)
    squares = np.square(scores - mean).mean(axis=0)  # (gh, gw)
    variance = _shrunk(squares, len(scores))
    least = max(_NARROWEST * float(np.sqrt(squares.mean())), 0.01 * expected)
    return mean, np.maximum(np.sqrt(variance), least)


def _shrunk(values: _Maps, frames: int) -> _Maps:
    """Return means of places over some frames, shrunk towards neighbours and whole map."""
    options: dict[str, Any] = {'normalize': False, 'borderType': cv2.BORDER_CONSTANT}
    sums = cv2.boxFilter(values, -1, (3, 3), **options)
    counts = cv2.boxFilter(np.ones_like(values), -1, (3, 3), **options)
    own, seen = (frames / (frames + prior) for prior in (_NEAR_FRAMES, _PRIOR_FRAMES))
    near = own * values + (1.0 - own) * sums / counts  # (gh, gw)
    return np.asarray(seen * near + (1.0 - seen) * values.mean(), np.float64)
