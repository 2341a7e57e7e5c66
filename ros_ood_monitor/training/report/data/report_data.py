"""What a training report shows, as plain values; what is left empty is left out of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.training.report.data.frames import HealthRow, SequenceRow, SheetImage
from ros_ood_monitor.training.report.data.precisions import CalibrationRow, PrecisionRow
from ros_ood_monitor.training.report.data.taps import CandidateRow, TapReport
from ros_ood_monitor.training.report.data.unmask import AtypicalImage, UnmaskRow
from ros_ood_monitor.training.report.data.wild import WildRow

__all__ = ['ReportData', 'TimingRow']


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
    unmask_detector : UnmaskRow or None
        What the bundle's detector reaches with the pretrained backbone and with its own, where
        that was compared.
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
    unmask_detector: UnmaskRow | None = None
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
