"""One detector per tap: normalised, fitted and standardised, several taps at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
import hashlib
import threading
import time
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ros_ood_monitor.training.backbones import BackboneTap
from ros_ood_monitor.training.backbones.base import Classifier
from ros_ood_monitor.training.detectors.normalization import choose_beta, Normalization
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.fitting.fit_store import FitStore
from ros_ood_monitor.training.fitting.fitted_taps import FittedTap, scores
from ros_ood_monitor.training.fitting.tap import fit_density, Keep
from ros_ood_monitor.training.frames.split import Split
from ros_ood_monitor.training.held_out.calibrate import standardisation
from ros_ood_monitor.training.progress import Progress
from ros_ood_monitor.training.rows import spread, TapRows
from ros_ood_monitor.training.settings.densities import candidate_densities, VIM
from ros_ood_monitor.training.settings.train_settings import TrainSettings

__all__ = ['fit_taps']

_BETA_ROWS = 10_000


def fit_taps(
    table: FeatureTable,
    split: Split,
    settings: TrainSettings,
    *,
    probes: npt.NDArray[np.float32],
    store: FitStore | None,
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
        Where fitted flows are kept, by what the features depend on.
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
    if store is not None:
        store = store.about(
            rows=[_digest(part) for part in (split.fit, split.validation)],
            probes=_digest(probes),
            threads=settings.threads,
        )
    stop = threading.Event()

    def fit_one(k: int) -> dict[str, FittedTap]:
        tap = table.taps[k]
        title = f'{tap.name} ({k + 1}/{len(table.taps)})'
        mine = probes[:, table.columns(tap)]
        kinds = candidate_densities(settings.density, tap.channels)
        seen = settings
        if classifier is not None and tap == table.taps[-1]:
            # a classifier knows features of the length that they have
            kinds, seen = (VIM,), replace(settings, normalization='none')
        rows = _rows_of(table, tap, split, seen, mine)
        one = _TapFit(tap, title, rows, settings, store, classifier, progress, stop)
        return {kind: one.fit(kind) for kind in kinds}

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


@dataclass(frozen=True, eq=False)
class _TapFit:
    """All that a fit to one tap needs but the kind of detector."""

    tap: BackboneTap
    title: str
    rows: _TapParts
    settings: TrainSettings
    store: FitStore | None
    classifier: Classifier | None
    progress: Progress
    stop: threading.Event

    def fit(self, kind: str) -> FittedTap:
        started = time.perf_counter()
        rows, flow, seed = self.rows, self.settings.flow, self.settings.seed
        total, unit = (flow.total_steps(len(rows.fit)), 'step') if kind == 'flow' else (1, 'fit')
        name = f'{kind} {self.title}'
        with self.progress.steps(total=total, name=name, unit=unit) as bar:

            def show(step: int, nll: float) -> None:
                if self.stop.is_set():
                    raise _StoppedError
                bar(step, nll)

            detector, record = fit_density(
                kind,
                rows.fit,
                rows.held_out,
                settings=flow,
                seed=seed,
                probes=rows.probes,
                name=self.tap.name,
                keep=self._keep(),
                classifier=self.classifier,
                coreset=self.settings.coreset,
                on_progress=show,
            )
        standard = standardisation(scores(detector, rows.held_out), detector.deviation)
        seconds = time.perf_counter() - started
        return FittedTap(self.tap, rows.normalization, detector, record, standard, seconds)

    def _keep(self) -> Keep | None:
        if self.store is None:
            return None
        return self.store.about(
            tap=self.tap.name,
            normalization=self.rows.normalization.card(),
            flow=asdict(self.settings.flow),
            seed=self.settings.seed,
        ).get_or_fit


def _digest(values: npt.NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
