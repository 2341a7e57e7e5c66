"""One detector per tap: normalised, fitted, standardised, and the scorer made of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
import hashlib
import threading
import time
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ros_ood_monitor.training.backbones import BackboneTap
from ros_ood_monitor.training.backbones.base import Classifier
from ros_ood_monitor.training.calibrate import standardisation
from ros_ood_monitor.training.detectors import vim
from ros_ood_monitor.training.fit import candidate_densities, fit_density
from ros_ood_monitor.training.fit_record import FitRecord
from ros_ood_monitor.training.fit_store import FitStore
from ros_ood_monitor.training.folded import Detector
from ros_ood_monitor.training.normalization import choose_beta, Normalization
from ros_ood_monitor.training.progress import Progress
from ros_ood_monitor.training.rows import chunks, Rows, spread, Table, TapRows
from ros_ood_monitor.training.scorer import CellScorer, Scorer
from ros_ood_monitor.training.settings import TrainSettings
from ros_ood_monitor.training.split import Split
from ros_ood_monitor.training.table import FeatureTable

__all__ = [
    'FittedTap',
    'deviation_of_sum',
    'fit_taps',
    'make_scorer',
    'scores',
    'sum_over_taps',
]

_BETA_ROWS = 10_000


@dataclass(frozen=True, eq=False)
class FittedTap:
    """
    A tap, and what was fitted to it.

    Parameters
    ----------
    tap : BackboneTap
        The stage.
    normalization : Normalization
        What its detector sees.
    detector : Detector
        In float64, folded.
    record : FitRecord
        How it was fitted.
    standard : tuple of float
        Mean and deviation of the held-out scores.
    seconds : float
        How long that took.

    """

    tap: BackboneTap
    normalization: Normalization
    detector: Detector
    record: FitRecord
    standard: tuple[float, float]
    seconds: float


def fit_taps(
    table: FeatureTable,
    split: Split,
    settings: TrainSettings,
    *,
    probes: npt.NDArray[np.float32],
    store: FitStore | None,
    facts: dict[str, Any],
    classifier: Classifier | None = None,
    parallel: int = 1,
    progress: Progress,
) -> list[dict[str, FittedTap]]:
    """
    Fit every tap's detector, or all of them.

    Parameters
    ----------
    table : FeatureTable
        All frames.
    split : Split
        Which are fitted and which choose.
    settings : TrainSettings
        How.
    probes : ndarray of shape (m, width), float32
        Features of pseudo-OOD pictures, all taps side by side; they decide nothing.
    store : FitStore or None
        Where fitted flows are kept.
    facts : dict
        What the features depend on.
    classifier : Classifier, optional
        Behind the last tap, which gets ``vim`` then.
    parallel : int, default 1
        How many taps are fitted at a time.
    progress : Progress
        What shows progress.

    Returns
    -------
    list of dict of str to FittedTap
        In the order of the taps; by kind, one unless the settings ask for evidence.

    Raises
    ------
    TrainingError
        If a detector cannot be fitted.

    """
    known = {
        **facts,
        'rows': [_digest(part) for part in (split.fit, split.validation)],
        'probes': _digest(probes),
        'threads': settings.threads,
    }
    stop = threading.Event()

    def fit_one(k: int) -> dict[str, FittedTap]:
        tap = table.taps[k]
        title = f'{tap.name} ({k + 1}/{len(table.taps)})'
        mine = probes[:, table.columns(tap)]
        kinds = candidate_densities(settings.density, tap.channels)
        seen = settings
        if classifier is not None and tap == table.taps[-1]:
            # a classifier knows features of the length that they have
            kinds, seen = (vim.KIND,), replace(settings, normalization='none')
        rows = _rows_of(table, tap, split, seen, mine)
        return {
            kind: _fit_tap(
                kind, tap, rows, settings, store, known, title, classifier, progress, stop
            )
            for kind in kinds
        }

    # each fit is small and mostly waits for Python: side by side they use the cores, and each
    # gives what it gives alone
    pool = ThreadPoolExecutor(
        parallel, 'fit', initializer=torch.set_num_threads, initargs=(settings.threads,)
    )
    try:
        futures = [pool.submit(fit_one, k) for k in range(len(table.taps))]
        return [future.result() for future in futures]
    finally:
        stop.set()
        _join(pool)


def _join(pool: ThreadPoolExecutor) -> None:
    """Wait for the fits, whatever happens: no process may end while they are inside of torch."""
    while True:
        try:
            pool.shutdown(wait=True, cancel_futures=True)
        except KeyboardInterrupt:  # it is on its way already
            continue
        return


class _StoppedError(Exception):
    """Another fit failed, or the training was interrupted."""


def sum_over_taps(
    fitted: Sequence[FittedTap],
    features: Table,
    rows: npt.NDArray[np.int64],
    columns: Callable[[BackboneTap], slice],
) -> npt.NDArray[np.float64]:
    """
    Return the sums over taps of the standardised scores.

    Parameters
    ----------
    fitted : sequence of FittedTap
        All taps.
    features : Table
        Of all taps side by side, not normalised.
    rows : ndarray of shape (n,), int64
        Which frames.
    columns : callable
        Where a tap's features lie: `FeatureTable.columns`.

    Returns
    -------
    ndarray of shape (n,), float64
        raw_score without a map's share.

    """
    total = np.zeros(len(rows))
    for row in fitted:
        read = TapRows(features, rows, columns(row.tap), row.normalization)
        total += (scores(row.detector, read) - row.standard[0]) / row.standard[1]
    return total


def deviation_of_sum(fitted: Sequence[FittedTap], table: FeatureTable, split: Split) -> float:
    """
    Return what the sum over taps of validation frames varies by.

    Parameters
    ----------
    fitted : sequence of FittedTap
        All taps.
    table : FeatureTable
        All frames.
    split : Split
        Says which are validation frames.

    Returns
    -------
    float
        At least 1, which is what a single tap varies by.

    """
    total = sum_over_taps(fitted, table, split.validation, table.columns)
    return max(float(total.std()), 1.0)


def make_scorer(
    fitted: Sequence[FittedTap], cells: CellScorer | None = None, local_weight: float = 1.0
) -> Scorer:
    """
    Return the sum over taps of the standardised scores.

    Parameters
    ----------
    fitted : sequence of FittedTap
        All taps.
    cells : CellScorer, optional
        Of the map.
    local_weight : float
        What its local score counts, in standard deviations of a tap; 0: nothing.

    Returns
    -------
    Scorer
        In float64.

    """
    means, stds = zip(*(row.standard for row in fitted), strict=True)
    return Scorer(
        [row.detector for row in fitted],
        means,
        stds,
        [row.normalization for row in fitted],
        cells,
        local_weight,
    )


class _TapParts(NamedTuple):
    """The normalised features of one tap."""

    normalization: Normalization
    fit: TapRows
    held_out: TapRows
    probes: npt.NDArray[np.float32]


def _rows_of(
    table: FeatureTable,
    tap: BackboneTap,
    split: Split,
    settings: TrainSettings,
    probes: npt.NDArray[np.float32],
) -> _TapParts:
    normalization = Normalization(settings.normalization)
    if settings.normalization == 'radial':
        some = split.fit[spread(len(split.fit), _BETA_ROWS)]
        judged = table.of(tap, split.validation)
        normalization = choose_beta(table.of(tap, some), judged).normalization
    columns = table.columns(tap)
    fit, held_out = (
        TapRows(table, part, columns, normalization) for part in (split.fit, split.validation)
    )
    return _TapParts(normalization, fit, held_out, normalization(np.ascontiguousarray(probes)))


def _fit_tap(
    kind: str,
    tap: BackboneTap,
    rows: _TapParts,
    settings: TrainSettings,
    store: FitStore | None,
    facts: dict[str, Any],
    title: str,
    classifier: Classifier | None,
    progress: Progress,
    stop: threading.Event,
) -> FittedTap:
    started = time.perf_counter()
    flow, seed = settings.flow, settings.seed
    about = {
        **facts,
        'tap': tap.name,
        'normalization': rows.normalization.card(),
        'flow': asdict(flow),
        'seed': seed,
    }
    total, unit = (flow.total_steps(len(rows.fit)), 'step') if kind == 'flow' else (1, 'fit')
    with progress.steps(total=total, name=f'{kind} {title}', unit=unit) as bar:

        def show(step: int, nll: float) -> None:
            if stop.is_set():
                raise _StoppedError
            bar(step, nll)

        detector, record = fit_density(
            kind,
            rows.fit,
            rows.held_out,
            settings=flow,
            seed=seed,
            probes=rows.probes,
            name=tap.name,
            keep=None if store is None else partial(store.get_or_fit, about),
            classifier=classifier,
            coreset=settings.coreset,
            on_progress=show,
        )
    standard = standardisation(scores(detector, rows.held_out), detector.deviation)
    seconds = time.perf_counter() - started
    return FittedTap(tap, rows.normalization, detector, record, standard, seconds)


def scores(detector: Detector, features: Rows) -> npt.NDArray[np.float64]:
    """
    Return the scores of normalised features.

    Parameters
    ----------
    detector : Detector
        In float64.
    features : Rows
        As its normalisation gives them, (n, D).

    Returns
    -------
    ndarray of shape (n,), float64
        Higher = more anomalous.

    """
    with torch.no_grad():
        parts = [
            detector.score(torch.from_numpy(chunk).double()).numpy() for chunk in chunks(features)
        ]
    return np.concatenate(parts)


def _digest(values: npt.NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
