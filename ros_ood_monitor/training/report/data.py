"""What a training report shows, as plain values; what is left empty is left out of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.metrics import auroc, auroc_error, share_over

__all__ = [
    'AtypicalImage',
    'CalibrationRow',
    'CandidateRow',
    'HealthRow',
    'Look',
    'PrecisionRow',
    'ReportData',
    'SequenceRow',
    'SheetImage',
    'TapReport',
    'TimingRow',
    'UnmaskRow',
    'WildRow',
]

_EMPTY = np.empty(0, np.float64)
Scores = npt.NDArray[np.float64]


class Look(NamedTuple):
    """
    What was seen at one optimiser step.

    Parameters
    ----------
    step : int
        Optimiser steps made by then.
    nll_fit, nll : float
        Mean over the fit and over the held-out frames, in nats; NaN where it is unknown.
    auroc : float
        Of pseudo-OOD against held-out frames; NaN where it is unknown.

    """

    step: int
    nll_fit: float = math.nan
    nll: float = math.nan
    auroc: float = math.nan


@dataclass(frozen=True, eq=False)
class TapReport:
    """
    One tap: what it is, how its density was fitted, and what that density says.

    Parameters
    ----------
    name, density, normalization : str
        As in the manifest.
    channels, reduction : int
        Width of its features; input pixels per cell of its grid, in px.
    step, steps : int
        Step that was taken, and steps up to which a better one was looked for; later looks are
        evidence only. 0 for closed forms.
    standard_error : float
        Of the lowest held-out mean, in nats.
    looks : sequence of Look
        In the order of the steps; one or none for closed forms.
    held_out : ndarray of shape (n,), float64
        Scores of held-out frames: nll in nats, or a distance.
    pseudo_ood : mapping of str to ndarray of shape (m,), float64
        Scores of each kind of pseudo-OOD pictures.

    """

    name: str
    channels: int
    reduction: int
    density: str
    normalization: str = 'l2'
    step: int = 0
    steps: int = 0
    standard_error: float = math.nan
    looks: Sequence[Look] = ()
    held_out: Scores = field(default_factory=_EMPTY.copy)
    pseudo_ood: Mapping[str, Scores] = field(default_factory=dict)

    @property
    def has_curve(self) -> bool:
        """Return whether there is more than one look to draw."""
        return len(self.looks) > 1

    @property
    def pictures(self) -> int:
        """Return the number of pseudo-OOD pictures, of all kinds."""
        return sum(scores.size for scores in self.pseudo_ood.values())

    def look_error(self, look: Look) -> float:
        """
        Return the standard error of a look's AUROC.

        Parameters
        ----------
        look : Look
            One of the looks.

        Returns
        -------
        float
            NaN where it cannot be told.

        """
        error = auroc_error(look.auroc, self.held_out.size, self.pictures)
        return error if math.isfinite(error) else math.nan

    def at(self, step: int) -> Look:
        """
        Return the look at a step.

        Parameters
        ----------
        step : int
            One of the looks' steps; any other gives a look of unknowns.

        Returns
        -------
        Look
            What was seen then.

        """
        return next((look for look in self.looks if look.step == step), Look(step))

    def auroc_by_kind(self) -> dict[str, float]:
        """
        Return how well the taken density tells each kind of pseudo-OOD from held-out frames.

        Returns
        -------
        dict of str to float
            AUROC, pseudo-OOD positive; empty where either side is missing.

        """
        if not self.held_out.size:
            return {}
        return {kind: auroc(self.held_out, nll) for kind, nll in self.pseudo_ood.items()}


@dataclass(frozen=True)
class CandidateRow:
    """
    A detector on some taps, judged on pseudo-OOD against validation frames.

    Parameters
    ----------
    density : str
        ``auto``, or the name of a closed form.
    taps : sequence of str
        All of them, or the deeper ones.
    auroc : float
        Of near pseudo-OOD.
    gain, standard_error : float
        That AUROC over the first candidate's, and the error of this difference.
    auroc_by_kind : mapping of str to float
        Of every kind.
    taken : bool
        Whether the bundle holds it.

    """

    density: str
    taps: Sequence[str]
    auroc: float
    gain: float = 0.0
    standard_error: float = math.nan
    auroc_by_kind: Mapping[str, float] = field(default_factory=dict)
    taken: bool = False


@dataclass(frozen=True)
class SequenceRow:
    """A folder or bag, and how many of its frames went into each part."""

    name: str
    fit: int = 0
    validation: int = 0
    calibration: int = 0


@dataclass(frozen=True, eq=False)
class SheetImage:
    """
    A kept network input.

    Parameters
    ----------
    image : ndarray of shape (h, w, 3), uint8
        The picture.
    part : str
        Where it fell into: ``fit``, ``validation`` or ``calibration``.
    sequence, place : str
        Which sequence it is of, and where in it: a time from its start, or a number.

    """

    image: npt.NDArray[np.uint8]
    part: str = ''
    sequence: str = ''
    place: str = ''


@dataclass(frozen=True, eq=False)
class AtypicalImage:
    """
    A fitted frame that a classifier knows only with all of its weights.

    Parameters
    ----------
    image : ndarray of shape (h, w, 3), uint8
        Network input.
    label, place : str
        Its class; its file.
    masked, plain : float
        Cross-entropy with some weights dropped, and with all of them, in nats.

    """

    image: npt.NDArray[np.uint8]
    label: str
    place: str
    masked: float
    plain: float


class UnmaskRow(NamedTuple):
    """A score of the classifier: AUROC by kind of pseudo-OOD, before and after forgetting."""

    score: str
    before: Mapping[str, float]
    after: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class CalibrationRow:
    """
    The operating point of one precision, and the scores that it comes from.

    Parameters
    ----------
    precision : str
        Its name.
    raw_score : ndarray of shape (n,), float64
        Of the calibration frames.
    raw_score_pseudo_ood : mapping of str to ndarray of shape (m,), float64
        Of the pseudo-OOD pictures by kind.
    trigger, release, alpha : float
        The operating point; NaN where there is none.

    """

    precision: str
    raw_score: Scores
    raw_score_pseudo_ood: Mapping[str, Scores] = field(default_factory=dict)
    trigger: float = math.nan
    release: float = math.nan
    alpha: float = math.nan

    def auroc_by_kind(self) -> dict[str, float]:
        """
        Return how well raw_score tells each kind of pseudo-OOD from calibration frames.

        Returns
        -------
        dict of str to float
            AUROC, pseudo-OOD positive; empty where there is no pseudo-OOD.

        """
        return {kind: auroc(self.raw_score, s) for kind, s in self.raw_score_pseudo_ood.items()}

    def over_trigger(self) -> float:
        """Return the share of the calibration frames over the trigger; NaN without one."""
        return self._over(self.raw_score)

    def over_trigger_by_kind(self) -> dict[str, float]:
        """
        Return the share of each kind of pseudo-OOD over the trigger.

        Returns
        -------
        dict of str to float
            In [0, 1]; NaN where there is no trigger.

        """
        return {kind: self._over(scores) for kind, scores in self.raw_score_pseudo_ood.items()}

    def _over(self, scores: Scores) -> float:
        return share_over(scores, self.trigger) if math.isfinite(self.trigger) else math.nan


@dataclass(frozen=True)
class PrecisionRow:
    """
    One precision after its own calibration.

    Parameters
    ----------
    precision : str
        Such as ``fp16``.
    size_bytes : int
        Of its backbone.
    error_mean, error_p99, error_max : float
        Of raw_score against fp32, in deviations of held-out frames' raw_score.
    share_over, share_change : float
        Of held-out frames over the operating point, and its difference from fp32's.
    auroc_by_kind : mapping of str to float
        Held-out frames against each kind of pseudo-OOD; NaN where a score is not finite.
    accepted : bool
        Whether the bundle has it.
    word : str
        The verdict; made from ``accepted`` where it is empty.
    reason : str
        Why not, or what else there is to say.

    """

    precision: str
    size_bytes: int
    error_mean: float = math.nan
    error_p99: float = math.nan
    error_max: float = math.nan
    share_over: float = math.nan
    share_change: float = math.nan
    auroc_by_kind: Mapping[str, float] = field(default_factory=dict)
    accepted: bool = True
    reason: str = ''
    word: str = ''


@dataclass(frozen=True)
class TimingRow:
    """
    A stretch of the training.

    Parameters
    ----------
    name : str
        What was done.
    seconds : float
        How long it took, in s.
    frames, decoded : int
        Frames it gave, and pictures it decoded for them, those left out as near-duplicates too;
        0 where that is no matter.

    """

    name: str
    seconds: float
    frames: int = 0
    decoded: int = 0


class HealthRow(NamedTuple):
    """One check of input health: what the training frames have, and what passes, in words."""

    check: str
    least: float
    median: float
    most: float
    passes: str


@dataclass(frozen=True)
class WildRow:
    """
    What a detector flags at the boundary that validation frames set.

    Parameters
    ----------
    density : str
        Its name.
    known_over, known, wild_over, wild : int
        How many of how many calibration frames, and of held-out wild frames.
    auroc_by_kind : mapping of str to float
        Of pseudo-OOD against calibration frames.

    """

    density: str
    known_over: int
    known: int
    wild_over: int
    wild: int
    auroc_by_kind: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ReportData:
    """
    Everything that a report shows. Only the name and the digest must be there.

    Parameters
    ----------
    name, digest : str
        Of the bundle.
    verdict : str
        One sentence for the head; made from the numbers where it is empty.
    limits : sequence of str
        What the bundle does not promise.
    warnings : sequence of str
        What a reader must not overlook.
    sequences : sequence of SequenceRow
        Where the frames come from.
    skipped, missing : sequence of str
        Frames that did not decode, files that are not there: a line each.
    duplicates : int
        Frames left out because they nearly repeat another.
    distinct, shared : int
        Different pictures; frames whose picture is in an earlier sequence, too.
    data_sha256, split : str
        Digest of all network inputs; the rule by which frames were held out.
    sheet : sequence of SheetImage
        Kept network inputs.
    health : sequence of HealthRow
        What a node checks before it judges.
    examples : mapping of str to ndarray of shape (k, h, w, 3), uint8
        Pseudo-OOD pictures by kind.
    backbone : mapping
        Facts of the backbone, such as name, weights, input size, mean and deviation.
    taps : sequence of TapReport
        In the order of the network.
    candidates : sequence of CandidateRow
        By detector, then from all taps to the deepest one, the default first; none where nothing
        was chosen.
    candidates_alone : mapping of str to mapping of str to float
        AUROC of near pseudo-OOD by detector and tap, each tap alone.
    unmask_facts : mapping
        How the frames' labels changed the backbone; empty where they did not.
    unmask_aurocs : sequence of UnmaskRow
        What every score of the classifier reaches.
    atypical : sequence of AtypicalImage
        Those of the largest masked loss first.
    wild_facts : mapping
        What wild frames there were, and what came of them; empty where there were none.
    wild_rows : sequence of WildRow
        The detector without them, then the head that learnt from them.
    unit : str
        Of raw_score.
    map_facts : mapping
        What the map is made of, and what its values mean; empty where there is none.
    map_examples : mapping of str to ndarray of shape (k, h, w, 3), uint8
        Pictures under their maps: held-out frames, and kinds of pseudo-defects.
    calibrations : sequence of CalibrationRow
        Of every precision in the bundle, the one that a node takes by default first.
    precisions : sequence of PrecisionRow
        The first one is what the others are compared with.
    judged_on : str
        Which frames and pictures they were judged on.
    timings : sequence of TimingRow
        In the order of the training.
    settings, versions, licences : mapping
        Plain values, nested as they are.

    """

    name: str
    digest: str
    verdict: str = ''
    limits: Sequence[str] = ()
    warnings: Sequence[str] = ()
    sequences: Sequence[SequenceRow] = ()
    skipped: Sequence[str] = ()
    missing: Sequence[str] = ()
    duplicates: int = 0
    distinct: int = 0
    shared: int = 0
    data_sha256: str = ''
    split: str = ''
    sheet: Sequence[SheetImage] = ()
    health: Sequence[HealthRow] = ()
    examples: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    backbone: Mapping[str, Any] = field(default_factory=dict)
    taps: Sequence[TapReport] = ()
    candidates: Sequence[CandidateRow] = ()
    candidates_alone: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    unmask_facts: Mapping[str, Any] = field(default_factory=dict)
    unmask_aurocs: Sequence[UnmaskRow] = ()
    atypical: Sequence[AtypicalImage] = ()
    wild_facts: Mapping[str, Any] = field(default_factory=dict)
    wild_rows: Sequence[WildRow] = ()
    unit: str = ''
    map_facts: Mapping[str, Any] = field(default_factory=dict)
    map_examples: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    calibrations: Sequence[CalibrationRow] = ()
    precisions: Sequence[PrecisionRow] = ()
    judged_on: str = ''
    timings: Sequence[TimingRow] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    licences: Mapping[str, str] = field(default_factory=dict)

    def sentence(self) -> str:
        """
        Return the verdict, or one sentence made from the numbers.

        Returns
        -------
        str
            For the head of the page.

        """
        if self.verdict:
            return self.verdict
        fitted = sum(row.fit for row in self.sequences)
        count = fitted + sum(row.validation + row.calibration for row in self.sequences)
        parts = [f'{count} frames, {fitted} of them fitted' if count else 'Trained']
        if not self.calibrations:
            return parts[0] + '.'
        default = self.calibrations[0]
        over = default.over_trigger()
        if math.isfinite(over):
            which = f' of {default.precision}' if len(self.calibrations) > 1 else ''
            parts.append(
                f'{over:.2%} of {default.raw_score.size} held-out frames over the trigger{which}'
            )
        by_kind = default.auroc_by_kind()
        if by_kind:
            hardest = min(by_kind, key=lambda kind: by_kind[kind])
            mean = sum(by_kind.values()) / len(by_kind)
            parts.append(
                f'AUROC on pseudo-OOD {mean:.3f} (hardest kind {hardest}, {by_kind[hardest]:.3f})'
            )
            caught = default.over_trigger_by_kind()
            least = min(caught, key=lambda kind: caught[kind])
            if math.isfinite(caught[least]):
                parts.append(
                    f'{sum(caught.values()) / len(caught):.0%} of pseudo-OOD over the trigger '
                    f'(least of {least}, {caught[least]:.0%})'
                )
        return '; '.join(parts) + '.'
