"""How a classifier of the user's labels is trained, and made to forget atypical samples."""

from __future__ import annotations

from dataclasses import dataclass
import math

from ros_ood_monitor.errors import TrainingError

__all__ = ['METHODS', 'PARTS', 'UnmaskSettings']

METHODS = ('none', 'um', 'umap')
"""Nothing; all weights fine-tuned; or the weights kept, and some of them dropped by a mask."""

PARTS = ('all', 'block', 'head')
"""What is trained: the whole network, its last stage and the classifier, or the classifier."""


@dataclass(frozen=True)
class UnmaskSettings:
    """
    How frames with labels change the backbone.

    Parameters
    ----------
    method : {'none', 'um', 'umap'}
        See `METHODS`.
    part : {'all', 'block', 'head'}
        See `PARTS`.
    keep : float
        Share of the weights that the random masks keep whose loss is the constraint.
    masks : int
        How many of them are drawn; the median of their losses is taken.
    popup_keep : float
        Share of the weights that the learnt mask of ``umap`` keeps.
    passes, forget_passes : int
        Over the labelled frames: for the classifier, and behind it with the constraint.
    batch_size : int
        Frames a step.
    learning_rate, popup_learning_rate, weight_decay : float
        Of gradient descent with momentum 0.9 (Nesterov), the rate falling as a cosine; the second
        rate is that of the mask's scores.

    """

    method: str = 'none'
    part: str = 'block'
    keep: float = 0.965
    masks: int = 5
    popup_keep: float = 0.8
    passes: int = 30
    forget_passes: int = 15
    batch_size: int = 32
    learning_rate: float = 0.01
    popup_learning_rate: float = 0.1
    weight_decay: float = 1e-4

    def check(self) -> None:
        """
        Refuse values outside their ranges.

        Raises
        ------
        TrainingError
            If one is outside its range.

        """
        for key, allowed in (('method', METHODS), ('part', PARTS)):
            value = getattr(self, key)
            if value not in allowed:
                msg = f'unmask.{key} is unknown: expected one of {list(allowed)}, got {value!r}'
                raise TrainingError(msg)
        if self.method == 'none' and self.part != UnmaskSettings.part:
            msg = (
                f'unmask.part is of a method: expected {UnmaskSettings.part!r} where there is '
                f'none, got {self.part!r}; name one of {list(METHODS[1:])} with --unmask, or '
                'leave out --unmask-part'
            )
            raise TrainingError(msg)
        for key in ('keep', 'popup_keep'):
            value = getattr(self, key)
            if not 0.0 < value < 1.0:
                msg = f'unmask.{key} out of range: expected a share in (0, 1), got {value}'
                raise TrainingError(msg)
        for key in ('masks', 'passes', 'forget_passes', 'batch_size'):
            if getattr(self, key) < 1:
                msg = f'unmask.{key} out of range: expected at least 1, got {getattr(self, key)}'
                raise TrainingError(msg)
        for key in ('learning_rate', 'popup_learning_rate'):
            value = getattr(self, key)
            if not 0.0 < value < math.inf:  # also where it is NaN
                msg = f'unmask.{key} out of range: expected more than 0 and finite, got {value}'
                raise TrainingError(msg)
        if not 0.0 <= self.weight_decay < math.inf:
            msg = f'unmask.weight_decay must be at least 0 and finite, got {self.weight_decay}'
            raise TrainingError(msg)

    def check_deepest(self, deepest: str, last: str) -> None:
        """
        Refuse to change a stage that is not among those that are scored.

        Parameters
        ----------
        deepest, last : str
            Tap of the training, and of the backbone.

        Raises
        ------
        TrainingError
            If they differ, unless the whole network is trained or none.

        """
        if self.method != 'none' and self.part != 'all' and deepest != last:
            msg = (
                f'unmask.part {self.part!r} changes the last stage only: expected {last!r} among '
                f'the taps, got {deepest!r} as the deepest; add it to --taps, or take part all'
            )
            raise TrainingError(msg)
