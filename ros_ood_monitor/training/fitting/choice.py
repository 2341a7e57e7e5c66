"""
Detector and taps, chosen on held-out frames and on pseudo-OOD made from them.

**Candidates**: every detector on all taps, and on the deeper ones from each tap on; standardised
scores are added up. **Judged by**: AUROC of near pseudo-OOD (`pseudo_ood.NEAR`, because what is
far is found by any of them) against the very frames that it was made from. Against other frames,
AUROC would tell which frames were taken, and not what was pasted. **The rule**: the best one that
is better than chance by its standard error; on a tie, and where none is, the default: all taps
with a flow or a Gaussian by their width. No anomaly is looked at.

The lead over the default comes with its standard error, too, and is told to be within chance where
it is less. It does not decide: with the few frames that are held out, hardly any lead is more.
Errors are of clusters, a frame and all that was made from it: six pictures of one frame are no six
frames. That the best of many is taken flatters it, and no error here makes up for that.
docs/detectors.md has what the rule cost and brought on real anomalies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.metrics import auroc, auroc_difference
from ros_ood_monitor.training.features.frame_reader import FrameReader
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.fitting.fitted_taps import FittedTap, scores
from ros_ood_monitor.training.frames.pseudo_ood import NEAR
from ros_ood_monitor.training.held_out.pictures import Pictures
from ros_ood_monitor.training.rows import Rows, TapRows
from ros_ood_monitor.training.settings.densities import choose_density, CLOSED_FORMS

__all__ = [
    'DEFAULT',
    'RULE',
    'Candidate',
    'Choice',
    'choose',
    'choosing_probes',
    'judge_candidates',
    'taken',
]

RULE: Final = 'best AUROC of near pseudo-OOD against its own frames'
"""What decides, as the manifest tells it."""

DEFAULT: Final = 'auto'
"""What every other candidate is compared with."""

_Scores: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """
    A detector on some taps, and how well it tells pseudo-OOD from what it was made from.

    Parameters
    ----------
    density : str
        ``auto``, or the name of a closed form.
    taps : tuple of str
        All of them, or the deeper ones.
    auroc : float
        Of near pseudo-OOD.
    error : float
        Standard error of that.
    gain, standard_error : float
        That AUROC over the default's, and the error of this difference.
    auroc_by_kind : dict of str to float
        Of every kind of pseudo-OOD.

    """

    density: str
    taps: tuple[str, ...]
    auroc: float
    error: float
    gain: float
    standard_error: float
    auroc_by_kind: dict[str, float]

    @property
    def sees(self) -> bool:
        """Return whether it is better than chance by its error."""
        return self.auroc - 0.5 > self.error


@dataclass(frozen=True)
class Choice:
    """
    What was taken, of what.

    Parameters
    ----------
    taken : Candidate
        One of the candidates.
    candidates : sequence of Candidate
        By detector, then from all taps to the deepest one; the default first.
    alone : dict of str to dict of str to float
        AUROC of near pseudo-OOD of each detector on each tap alone; they are only told.

    """

    taken: Candidate
    candidates: Sequence[Candidate]
    alone: dict[str, dict[str, float]]

    @property
    def within_chance(self) -> bool:
        """Return whether the lead over the default is less than its standard error."""
        return self.taken.gain < self.taken.standard_error

    @property
    def blind(self) -> bool:
        """Return whether no candidate is better than chance, so that the default was kept."""
        return not any(one.sees for one in self.candidates)

    @property
    def default(self) -> Candidate:
        """Return what would be taken without evidence."""
        return self.candidates[0]


def taken(fitted: Sequence[Mapping[str, FittedTap]], density: str) -> list[FittedTap]:
    """
    Return one detector per tap.

    Parameters
    ----------
    fitted : sequence of mapping of str to FittedTap
        What was fitted to each tap, by kind.
    density : str
        What to take where several were fitted: ``auto`` is a flow or a Gaussian, by a tap's
        width.

    Returns
    -------
    list of FittedTap
        In the order of the taps.

    """
    first = [next(iter(by_kind.values())) for by_kind in fitted]
    return [
        one if len(by_kind) == 1 else by_kind[choose_density(density, one.tap.channels)]
        for one, by_kind in zip(first, fitted, strict=True)
    ]


def choosing_probes(
    reader: FrameReader, pictures: Pictures, probes: npt.NDArray[np.float32], *, seed: int
) -> dict[str, npt.NDArray[np.float32]]:
    """
    Return what detectors are judged on: near pseudo-OOD, then the other kinds.

    Parameters
    ----------
    reader : FrameReader
        The backbone.
    pictures : Pictures
        What to make them from.
    probes : ndarray of shape (m, width), float32
        Features of the pseudo-OOD pictures, kind after kind.
    seed : int
        Of the training.

    Returns
    -------
    dict of str to ndarray of shape (k, width), float32
        By kind, near ones first.

    """
    near = {kind: reader.features(images) for kind, images in pictures.near(seed=seed).items()}
    return near | {
        kind: rows for kind, rows in pictures.pseudo_rows(probes).items() if kind not in near
    }


def choose(
    fitted: Sequence[Mapping[str, FittedTap]],
    table: FeatureTable,
    sources: npt.NDArray[np.int64],
    probes: Mapping[str, npt.NDArray[np.float32]],
) -> Choice:
    """
    Choose among everything that was fitted.

    Parameters
    ----------
    fitted : sequence of mapping of str to FittedTap
        Of each tap every closed form, and the flow where it has one.
    table : FeatureTable
        All frames.
    sources : ndarray of shape (k,), int64
        Rows that pseudo-OOD is made from: the in-distribution side.
    probes : mapping of str to ndarray of shape (m, width), float32
        Features of pseudo-OOD pictures by kind, all taps side by side; row i is made from source
        i modulo k.

    Returns
    -------
    Choice
        Equal arguments give an equal choice.

    Raises
    ------
    TrainingError
        If a score is not finite.

    """
    normal: dict[str, _Scores] = {}
    far: dict[str, dict[str, _Scores]] = {}
    for density in (DEFAULT, *CLOSED_FORMS):
        rows = taken(fitted, density)
        normal[density] = np.stack(
            [
                _standardised(
                    row,
                    TapRows(table, sources, table.columns(row.tap), row.normalization),
                )
                for row in rows
            ]
        )  # (taps, k)
        far[density] = {
            kind: np.stack(
                [
                    _standardised(
                        row,
                        row.normalization(
                            np.ascontiguousarray(features[:, table.columns(row.tap)])
                        ),
                    )
                    for row in rows
                ]
            )  # (taps, m)
            for kind, features in probes.items()
        }
    return judge_candidates(normal, far, [tap.name for tap in table.taps])


def _standardised(row: FittedTap, features: Rows) -> _Scores:
    mean, deviation = row.standard
    z: _Scores = (scores(row.detector, features) - mean) / deviation
    if not np.all(np.isfinite(z)):
        msg = (
            f'scores of {row.record.density} on tap {row.tap.name!r} are not finite; '
            'train with another density'
        )
        raise TrainingError(msg)
    return z


def judge_candidates(
    sources: Mapping[str, _Scores],
    far: Mapping[str, Mapping[str, _Scores]],
    taps: Sequence[str],
    *,
    near: Sequence[str] = NEAR,
) -> Choice:
    """
    Apply the rule to standardised scores.

    Parameters
    ----------
    sources : mapping of str to ndarray of shape (taps, k), float64
        Of the frames that pseudo-OOD is made from, by detector; the first one on all taps is the
        default.
    far : mapping of str to mapping of str to ndarray of shape (taps, m), float64
        Of pseudo-OOD, by detector and by kind; picture i is made from source i modulo k.
    taps : sequence of str
        Their names.
    near : sequence of str
        The kinds that decide.

    Returns
    -------
    Choice
        The best of those that see anything; the default on a tie, and where none does.

    """
    default = next(iter(sources))
    frame = np.arange(sources[default].shape[1])
    clusters = (
        frame,
        np.concatenate([np.resize(frame, far[default][kind].shape[1]) for kind in near]),
    )

    def sums(density: str, start: int) -> tuple[_Scores, dict[str, _Scores]]:
        others = {kind: z[start:].sum(axis=0) for kind, z in far[density].items()}  # (m,)
        return sources[density][start:].sum(axis=0), others

    def together(others: Mapping[str, _Scores]) -> _Scores:
        return np.concatenate([others[kind] for kind in near])

    default_normal, others = sums(default, 0)
    default_far = together(others)
    chance = np.zeros_like(default_normal), np.zeros_like(default_far)
    candidates = []
    for density in sources:
        for start in range(len(taps)):
            normal, others = sums(density, start)
            strange = together(others)
            lead = auroc_difference((chance[0], normal), (chance[1], strange), clusters=clusters)
            gain = auroc_difference(
                (default_normal, normal), (default_far, strange), clusters=clusters
            )
            candidates.append(
                Candidate(
                    density=density,
                    taps=tuple(taps[start:]),
                    auroc=auroc(normal, strange),
                    error=lead.standard_error,
                    gain=gain.value,
                    standard_error=gain.standard_error,
                    auroc_by_kind={kind: auroc(normal, z) for kind, z in others.items()},
                )
            )
    alone = {
        density: {
            name: auroc(
                sources[density][k],
                np.concatenate([far[density][kind][k] for kind in near]),
            )
            for k, name in enumerate(taps)
        }
        for density in sources
    }
    seeing = [one for one in candidates if one.sees] or candidates[:1]
    best = max(seeing, key=lambda one: one.auroc)  # the first one of those that are equal
    return Choice(best, candidates, alone)
