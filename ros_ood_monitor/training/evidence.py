"""What a training found: for its card, its remarks and its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.fitting.choice import Choice
from ros_ood_monitor.training.fitting.fitted_taps import FittedTap
from ros_ood_monitor.training.frames.split import Split
from ros_ood_monitor.training.held_out.deployed import Deployed
from ros_ood_monitor.training.held_out.leaks import Repetition
from ros_ood_monitor.training.held_out.pictures import Pictures
from ros_ood_monitor.training.held_out.rate import HeldOutRate
from ros_ood_monitor.training.labels.unmasked import Unmasked
from ros_ood_monitor.training.maps.fit import FittedMap
from ros_ood_monitor.training.precisions import PrecisionVerdict
from ros_ood_monitor.training.wild.fitted_wild import FittedWild

__all__ = ['Evidence']


@dataclass(frozen=True, eq=False)
class Evidence:
    """
    What the training found.

    Parameters
    ----------
    table : FeatureTable
        All frames.
    sequences : sequence of str
        Names of the sequences.
    split : Split
        The three parts.
    repetition : Repetition
        How much of the data repeats itself.
    pictures : Pictures
        Kept network inputs, and pseudo-OOD.
    probes : ndarray of shape (m, width), float32
        Features of the pseudo-OOD pictures, kind after kind.
    fitted : sequence of FittedTap
        The detectors.
    choice : Choice or None
        Of what they were taken, where it was asked for.
    fitted_map : FittedMap or None
        What scores the map's cells, where there is a map.
    map_choice : mapping of str to float, or None
        AUROC of the cells of pseudo-defects by detector, where it was asked for.
    wild : FittedWild or None
        What wild frames taught, where there are any.
    deployed : mapping of str to Deployed
        Every precision, the reference first; refused ones too.
    verdicts : sequence of PrecisionVerdict
        Of all but the reference.
    seconds : mapping of str to float
        Wall time by part, in s.
    rates : mapping of str to HeldOutRate
        What held-out sequences say of false alerts per hour, by precision; empty where nobody
        asked.
    unmasked : Unmasked or None
        What the frames' labels did to the backbone, where it was asked for.

    """

    table: FeatureTable
    sequences: Sequence[str]
    split: Split
    repetition: Repetition
    pictures: Pictures
    probes: npt.NDArray[np.float32]
    fitted: Sequence[FittedTap]
    choice: Choice | None
    fitted_map: FittedMap | None
    map_choice: Mapping[str, float] | None
    wild: FittedWild | None
    deployed: Mapping[str, Deployed]
    verdicts: Sequence[PrecisionVerdict]
    seconds: Mapping[str, float]
    rates: Mapping[str, HeldOutRate] = field(default_factory=dict)
    unmasked: Unmasked | None = None

    @property
    def source_places(self) -> npt.NDArray[np.int64]:
        """Return where the frames that pseudo-OOD is made from are among the validation frames."""
        return np.searchsorted(self.split.validation, self.pictures.source_rows)
