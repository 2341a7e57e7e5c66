"""What the user's labels did to a backbone, as facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.training.backbones import TorchBackbone
from ros_ood_monitor.training.labels.detector_gain import DetectorGain
from ros_ood_monitor.training.settings.unmask_settings import UnmaskSettings
from ros_ood_monitor.training.unmask.constraint import Constraint
from ros_ood_monitor.training.unmask.forgetting import Forgetting

__all__ = ['Atypical', 'Aurocs', 'Images', 'Unmasked']

Images = npt.NDArray[np.uint8]
Aurocs = Mapping[str, Mapping[str, float]]
"""By score, and by kind of pseudo-OOD."""


@dataclass(frozen=True, eq=False)
class Atypical:
    """
    A fitted frame that the network does not know with some of its weights dropped.

    Parameters
    ----------
    name : str
        Its file, below what ``--data`` names.
    image : ndarray of shape (h, w, 3), uint8
        Network input.
    label : str
        Its class.
    masked, plain : float
        Cross-entropy with some weights dropped, and with all, in nats.

    """

    name: str
    image: Images
    label: str
    masked: float
    plain: float


@dataclass(frozen=True, eq=False)
class Unmasked:
    """
    A backbone that learnt the user's classes and forgot the atypical frames, and what it took.

    Parameters
    ----------
    backbone : TorchBackbone
        What the bundle holds; with a classifier of these classes.
    settings : UnmaskSettings
        How.
    classes : tuple of str
        Their names.
    counts : tuple of int
        Frames it was fitted to, and held-out ones that tell the accuracy.
    constraint : Constraint
        Of the fitted frames.
    forgetting : Forgetting
        What followed.
    loss : float
        Mean cross-entropy of the fitted frames afterwards, in nats.
    accuracy : mapping of str to (float, float)
        Before and after, of the ``fit`` and of the ``held_out`` frames.
    before, after : mapping of str to mapping of str to float
        AUROC of every score of the classifier by kind of pseudo-OOD.
    atypical : list of Atypical
        Those that stand out, the largest masked loss first; 24 at most.
    detector : DetectorGain or None
        What the bundle's own detector does with it, as far as it was judged.

    """

    backbone: TorchBackbone
    settings: UnmaskSettings
    classes: tuple[str, ...]
    counts: tuple[int, int]
    constraint: Constraint
    forgetting: Forgetting
    loss: float
    accuracy: Mapping[str, tuple[float, float]]
    before: Aurocs
    after: Aurocs
    atypical: list[Atypical]
    detector: DetectorGain | None = None

    def card(self) -> dict[str, Any]:
        """Return the facts for the manifest; plain values only."""
        kept = self.forgetting.kept
        weights = sum(count for _, count in kept.values())
        return {
            'method': self.settings.method,
            'part': self.settings.part,
            'classes': list(self.classes),
            'frames': {'fit': self.counts[0], 'held_out': self.counts[1]},
            'keep': self.settings.keep,
            'constraint': round(self.constraint.level, 6),
            'constraint_masks': [round(level, 6) for level in self.constraint.levels],
            'loss': {
                'before': round(float(self.constraint.plain.mean()), 6),
                'after': round(self.loss, 6),
            },
            'rising_steps': round(self.forgetting.rising, 4),
            'accuracy': {
                part: {'before': round(before, 4), 'after': round(after, 4)}
                for part, (before, after) in self.accuracy.items()
            },
            'auroc': {
                score: {
                    kind: {'before': round(area, 4), 'after': round(self.after[score][kind], 4)}
                    for kind, area in kinds.items()
                }
                for score, kinds in self.before.items()
            },
            **(
                {
                    'mask': {
                        'keep': self.settings.popup_keep,
                        'kept': sum(count for count, _ in kept.values()),
                        'weights': weights,
                        'layers': {name: list(counts) for name, counts in kept.items()},
                    }
                }
                if kept
                else {}
            ),
            **({} if self.detector is None else {'detector': self.detector.card()}),
        }
