"""What wild frames taught, in figures and words, and whether it is more than chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import math
from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.detectors.woods import WoodsFit
from ros_ood_monitor.training.fitting.fitted_taps import FittedTap
from ros_ood_monitor.training.wild.data import WildFrames

__all__ = ['FittedWild', 'Flagged', 'chance_of']

_CHANCE: Final = 0.01  # under which a count is taken for no accident


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


def _of(pair: tuple[int, int]) -> str:
    return f'{pair[0]} of {pair[1]}'
