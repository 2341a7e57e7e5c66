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
import hashlib
import time
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.detectors.folded import Detector, FoldedFlow
from ros_ood_monitor.training.detectors.patch_flow import Adaptor, PatchFlow
from ros_ood_monitor.training.export.map_features import MapPlan, normalize_cells
from ros_ood_monitor.training.export.scorer import CellScorer, highest_mean
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.fitting.fit_store import FitStore
from ros_ood_monitor.training.fitting.tap import fit_density
from ros_ood_monitor.training.flows.fit_record import FitRecord
from ros_ood_monitor.training.frames.split import Split
from ros_ood_monitor.training.held_out.calibrate import standardisation
from ros_ood_monitor.training.maps.cells import cell_normalizations, sampled_cells
from ros_ood_monitor.training.maps.places import Maps, statistics
from ros_ood_monitor.training.rows import spread
from ros_ood_monitor.training.settings.presets import FlowSettings
from ros_ood_monitor.training.settings.train_settings import TrainSettings

__all__ = ['DEFAULT', 'FittedMap', 'fit_map', 'fit_map_detector']

DEFAULT: Final = 'mahalanobis'
"""What ``auto`` is, unless a training chooses by evidence."""

STATISTICS_FRAMES: Final = 128
"""Validation frames that tell what is normal at each place, at most."""

_MOST_ROWS: Final = 65_536
_HELD_OUT_SHARE: Final = 8  # of that, one in so many may be held out
_FLOW: Final = FlowSettings(couplings=2, whiten=False)  # the adaptor whitens


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
        Where fitted flows are kept, by what the features depend on.
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
    normalizations = cell_normalizations(settings, plan, raw_fit, raw_held_out)
    fit, held_out = (
        normalize_cells(torch.from_numpy(rows), plan.taps, normalizations).numpy()
        for rows in (raw_fit, raw_held_out)
    )
    if store is not None:
        store = store.about(
            map=[tap.name for tap in plan.taps],
            grid=list(plan.grid),
            normalization=[one.card() for one in normalizations],
            rows=[hashlib.sha256(rows.tobytes()).hexdigest() for rows in (raw_fit, raw_held_out)],
        )
    detector, record = fit_map_detector(
        density,
        fit,
        held_out,
        flow=replace(_FLOW, steps=settings.flow.steps),
        seed=settings.seed,
        store=store,
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


def _nothing(plan: MapPlan, detector: Detector) -> tuple[Maps, Maps]:
    """Return the mean and deviation with which a cell's score is its energy."""
    return np.full(plan.grid, detector.constant), np.ones(plan.grid)


def fit_map_detector(
    density: str,
    fit: npt.NDArray[np.float32],
    held_out: npt.NDArray[np.float32],
    *,
    flow: FlowSettings,
    seed: int,
    store: FitStore | None = None,
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
        Where fitted flows are kept, by what the features depend on.
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
    if store is not None:
        store = store.about(flow=asdict(flow), seed=seed)
    folded, record = fit_density(
        'flow',
        *latent,
        settings=flow,
        seed=seed,
        name='map',
        keep=None if store is None else store.get_or_fit,
        on_progress=on_progress,
    )
    assert isinstance(folded, FoldedFlow)
    return PatchFlow(adaptor, folded), replace(record, facts={'components': adaptor.kept})
