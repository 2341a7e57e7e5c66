"""
What wild frames teach, beside what is fitted without them: `detectors.woods` on all taps.

Normalisation, split, standardisation and calibration are those of the training frames alone. Both
detectors are judged alike: their boundary is set on validation frames, and what is told of it is
counted on calibration frames and on wild frames that neither was fitted to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math
import time
from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.metrics import auroc
from ros_ood_monitor.training.detectors.woods import boundary, fit_woods, WoodsFit, WoodsParts
from ros_ood_monitor.training.fit_record import FitRecord
from ros_ood_monitor.training.fitting import FittedTap, sum_over_taps
from ros_ood_monitor.training.flow_training import judge
from ros_ood_monitor.training.rows import spread, Table, TapRows
from ros_ood_monitor.training.settings import TrainSettings
from ros_ood_monitor.training.split import Split
from ros_ood_monitor.training.table import FeatureTable
from ros_ood_monitor.training.wild_data import check_wild, hold_out, WildFrames

__all__ = ['FittedWild', 'Flagged', 'chance_of', 'fit_wild']

_MOST_ROWS: Final = 4096  # of each part
_CHANCE: Final = 0.01  # under which a count is taken for no accident

_Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Flagged:
    """
    What a detector flags at its boundary.

    Parameters
    ----------
    density : str
        Its name.
    known, wild : tuple of int
        How many of how many calibration frames, and of held-out wild frames.
    auroc_by_kind : mapping of str to float
        Of pseudo-OOD against calibration frames.

    """

    density: str
    known: tuple[int, int]
    wild: tuple[int, int]
    auroc_by_kind: Mapping[str, float]

    @property
    def known_share(self) -> float:
        """Return the share of the calibration frames."""
        return self.known[0] / self.known[1]

    @property
    def wild_share(self) -> float:
        """Return the share of the held-out wild frames."""
        return self.wild[0] / self.wild[1]


@dataclass(frozen=True, eq=False)
class FittedWild:
    """
    A head that was fitted to wild frames, and what it is worth.

    Parameters
    ----------
    frames : WildFrames
        The data.
    digest : ndarray of shape (n, 32), uint8
        Of every wild network input.
    fitted : list of FittedTap
        The head's shares, one a tap.
    woods : WoodsFit
        How it was found.
    split : str
        How wild frames were held out: ``sequence`` or ``block``.
    alpha : float
        Share of normal frames allowed over the boundary.
    head, beside : Flagged
        What it flags, and what the detector without wild frames does.
    seconds : float
        How long that took.

    """

    frames: WildFrames
    digest: npt.NDArray[np.uint8]
    fitted: list[FittedTap]
    woods: WoodsFit
    split: str
    alpha: float
    head: Flagged
    beside: Flagged
    seconds: float

    @property
    def holds(self) -> bool:
        """Return whether chance explains how many calibration frames are over the boundary."""
        return chance_of(*self.head.known, share=self.alpha) >= _CHANCE

    @property
    def has_learnt(self) -> bool:
        """Return whether more wild frames are flagged than normal ones, by more than chance."""
        share = max(self.alpha, self.head.known_share)
        return chance_of(*self.head.wild, share=share) < _CHANCE

    def check(self) -> None:
        """
        Refuse a head that must not be what a robot listens to.

        Raises
        ------
        TrainingError
            If its constraint does not hold on calibration frames, or it flags no more wild frames
            than normal ones.

        """
        if not self.holds:
            msg = (
                f'woods cannot keep alpha = {self.alpha:g}: {_of(self.head.known)} calibration '
                'frames are over its boundary; give more training frames, a larger --alpha, or '
                'another --density'
            )
            raise TrainingError(msg)
        if not self.has_learnt:
            msg = (
                f'woods learnt nothing: {_of(self.head.wild)} held-out wild frames are over its '
                f'boundary and {_of(self.head.known)} calibration frames; give wild frames that '
                'hold something strange, or another --density'
            )
            raise TrainingError(msg)

    def sentence(self) -> str:
        """Return what came out, for people."""
        if not self.holds:
            return (
                f'its constraint does not hold: {_of(self.head.known)} calibration frames are '
                f'over its boundary, alpha is {self.alpha:g}'
            )
        if not self.has_learnt:
            return (
                'it learnt nothing: it flags no more wild frames than normal ones, as if the wild '
                'data held nothing strange, or too little'
            )
        return (
            f'it flags {self.head.wild_share:.1%} of held-out wild frames, {self.beside.density} '
            f'{self.beside.wild_share:.1%}'
        )


def chance_of(over: int, count: int, *, share: float) -> float:
    """
    Return how likely so many or more of some independent frames are over a boundary.

    Parameters
    ----------
    over, count : int
        How many of how many.
    share : float
        How likely a single one is, in (0, 1].

    Returns
    -------
    float
        Binomial tail.

    """
    if over <= 0 or share >= 1.0:
        return 1.0
    total = math.lgamma(count + 1)
    terms = (
        total
        - math.lgamma(k + 1)
        - math.lgamma(count - k + 1)
        + k * math.log(share)
        + (count - k) * math.log1p(-share)
        for k in range(over, count + 1)
    )
    return min(1.0, math.fsum(math.exp(term) for term in terms))


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
    taps, normalizations = [row.tap for row in rows], [row.normalization for row in rows]

    def read(source: Table, index: npt.NDArray[np.int64]) -> list[TapRows]:
        return [
            TapRows(source, index, table.columns(tap), normalization)
            for tap, normalization in zip(taps, normalizations, strict=True)
        ]

    rule, wild_fit, wild_held_out = hold_out(wild.sequence)
    known = read(table, split.fit), read(table, split.validation)
    woods = fit_woods(
        WoodsParts(
            *(_side_by_side(part) for part in known),
            *(_side_by_side(read(wild, index)) for index in (wild_fit, wild_held_out)),
        ),
        [tap.channels for tap in taps],
        alpha=settings.alpha,
    )
    kinds = np.concatenate(list(probes.values()))
    head = []
    for tap, normalization, detector, fit, held_out, far in zip(
        taps,
        normalizations,
        woods.detectors,
        *known,
        read(kinds, np.arange(len(kinds), dtype=np.int64)),
        strict=True,
    ):
        look = judge(
            lambda part, detector=detector: detector.score(part.double()),  # type: ignore[misc]
            0,
            held_out,
            fit=fit,
            probes=far,
        )
        record = FitRecord('woods', [look], facts={'decay': woods.decay})
        head.append(FittedTap(tap, normalization, detector, record, (0.0, 1.0), 0.0))

    def flagged(density: str, of: Sequence[FittedTap]) -> Flagged:
        def score(source: Table, index: npt.NDArray[np.int64]) -> _Scores:
            return sum_over_taps(of, source, index, table.columns)

        limit = boundary(score(table, split.validation), settings.alpha)
        calibration, others = score(table, split.calibration), score(wild, wild_held_out)
        if not (np.isfinite(calibration).all() and np.isfinite(others).all()):
            msg = f'scores of {density} beside wild frames are not finite; take another density'
            raise TrainingError(msg)
        return Flagged(
            density,
            (int((calibration > limit).sum()), len(calibration)),
            (int((others > limit).sum()), len(others)),
            {
                kind: auroc(calibration, score(far, np.arange(len(far), dtype=np.int64)))
                for kind, far in probes.items()
            },
        )

    return FittedWild(
        frames=frames,
        digest=wild.digest,
        fitted=head,
        woods=woods,
        split=rule,
        alpha=settings.alpha,
        head=flagged('woods', head),
        beside=flagged('auto' if settings.density == 'woods' else settings.density, fitted),
        seconds=time.perf_counter() - started,
    )


def _side_by_side(rows: Sequence[TapRows]) -> _Scores:
    """Return the features of all taps (k, D), an even sample of at most 4096 frames."""
    index = spread(len(rows[0]), _MOST_ROWS)
    return np.concatenate([part[index] for part in rows], axis=1).astype(np.float64)


def _of(pair: tuple[int, int]) -> str:
    return f'{pair[0]} of {pair[1]}'
