"""
What wild frames teach, beside what is fitted without them: `detectors.woods` on all taps.

Normalisation, split, standardisation and calibration are those of the training frames alone. Both
detectors are judged alike: their boundary is set on validation frames, and what is told of it is
counted on calibration frames and on wild frames that neither was fitted to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
import time
from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.metrics import auroc
from ros_ood_monitor.training.detectors.woods import boundary, fit_woods, WoodsFit, WoodsParts
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.fitting.fitted_taps import FittedTap, sum_over_taps
from ros_ood_monitor.training.flows.fit_record import FitRecord
from ros_ood_monitor.training.flows.looks import judge
from ros_ood_monitor.training.frames.split import Split
from ros_ood_monitor.training.rows import spread, Table, TapRows
from ros_ood_monitor.training.settings.train_settings import TrainSettings
from ros_ood_monitor.training.wild.data import check_wild, hold_out
from ros_ood_monitor.training.wild.fitted_wild import FittedWild, Flagged

__all__ = ['fit_wild']

_WOODS: Final = 'woods'
_MOST_ROWS: Final = 4096  # of each part

_Scores = npt.NDArray[np.float64]


def fit_wild(
    every: Sequence[Mapping[str, FittedTap]],
    fitted: Sequence[FittedTap],
    table: FeatureTable,
    split: Split,
    wild: FeatureTable,
    sequences: Sequence[str],
    probes: Mapping[str, npt.NDArray[np.float32]],
    settings: TrainSettings,
) -> FittedWild:
    """
    Fit the head, and judge it beside what was fitted without it.

    Parameters
    ----------
    every : sequence of mapping of str to FittedTap
        What was fitted to each tap; its normalisation is taken.
    fitted : sequence of FittedTap
        What the head is compared with.
    table, wild : FeatureTable
        Training and wild frames.
    split : Split
        Of the training frames.
    sequences : sequence of str
        Names of the wild ones.
    probes : mapping of str to ndarray of shape (m, width), float32
        Features of pseudo-OOD by kind; they decide nothing.
    settings : TrainSettings
        Alpha and the density's name.

    Returns
    -------
    FittedWild
        Whatever it is worth; `FittedWild.check` refuses.

    Raises
    ------
    TrainingError
        If there are too few different wild frames, or they are training frames.

    """
    started = time.perf_counter()
    frames = check_wild(wild, table, list(sequences))
    rows = [next(iter(by_kind.values())) for by_kind in every]
    rule, wild_fit, wild_held_out = hold_out(wild.sequence)
    read = partial(_read, rows, table)
    known = read(table, split.fit), read(table, split.validation)
    woods = fit_woods(
        WoodsParts(
            *(_side_by_side(part) for part in known),
            *(_side_by_side(read(wild, index)) for index in (wild_fit, wild_held_out)),
        ),
        [row.tap.channels for row in rows],
        alpha=settings.alpha,
    )
    far = np.concatenate(list(probes.values()))
    head = _head(rows, woods, *known, read(far, np.arange(len(far), dtype=np.int64)))
    judge_on = _Judged(table, split, wild, wild_held_out, probes, settings.alpha)
    plain = 'auto' if settings.density == _WOODS else settings.density
    return FittedWild(
        frames=frames,
        digest=wild.digest,
        fitted=head,
        woods=woods,
        split=rule,
        alpha=settings.alpha,
        head=judge_on.flagged(_WOODS, head),
        beside=judge_on.flagged(plain, fitted),
        seconds=time.perf_counter() - started,
    )


def _read(
    rows: Sequence[FittedTap], table: FeatureTable, source: Table, index: npt.NDArray[np.int64]
) -> list[TapRows]:
    """Return the normalised features of each tap, of some frames of a source."""
    return [TapRows(source, index, table.columns(row.tap), row.normalization) for row in rows]


def _head(
    rows: Sequence[FittedTap],
    woods: WoodsFit,
    fit: Sequence[TapRows],
    held_out: Sequence[TapRows],
    far: Sequence[TapRows],
) -> list[FittedTap]:
    """Return the head as a detector of each tap; their sum is the head's logit."""
    head = []
    for row, detector, fitted, validation, probes in zip(
        rows, woods.detectors, fit, held_out, far, strict=True
    ):
        look = judge(
            lambda part, detector=detector: detector.score(part.double()),  # type: ignore[misc]
            0,
            validation,
            fit=fitted,
            probes=probes,
        )
        record = FitRecord(_WOODS, [look], facts={'decay': woods.decay})
        head.append(FittedTap(row.tap, row.normalization, detector, record, (0.0, 1.0), 0.0))
    return head


@dataclass(frozen=True, eq=False)
class _Judged:
    """Frames and pictures on which detectors are held beside each other."""

    table: FeatureTable
    split: Split
    wild: FeatureTable
    wild_held_out: npt.NDArray[np.int64]
    probes: Mapping[str, npt.NDArray[np.float32]]
    alpha: float

    def flagged(self, density: str, of: Sequence[FittedTap]) -> Flagged:
        """Count what a detector flags at the boundary that validation frames set."""

        def score(source: Table, index: npt.NDArray[np.int64]) -> _Scores:
            return sum_over_taps(of, source, index, self.table.columns)

        limit = boundary(score(self.table, self.split.validation), self.alpha)
        calibration = score(self.table, self.split.calibration)
        others = score(self.wild, self.wild_held_out)
        if not (np.isfinite(calibration).all() and np.isfinite(others).all()):
            msg = f'scores of {density} beside wild frames are not finite; take another density'
            raise TrainingError(msg)
        return Flagged(
            density,
            (int((calibration > limit).sum()), len(calibration)),
            (int((others > limit).sum()), len(others)),
            {
                kind: auroc(calibration, score(far, np.arange(len(far), dtype=np.int64)))
                for kind, far in self.probes.items()
            },
        )


def _side_by_side(rows: Sequence[TapRows]) -> _Scores:
    """Return the features of all taps (k, D), an even sample of at most 4096 frames."""
    index = spread(len(rows[0]), _MOST_ROWS)
    return np.concatenate([part[index] for part in rows], axis=1).astype(np.float64)
