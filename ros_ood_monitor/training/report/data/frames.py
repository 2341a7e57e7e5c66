"""The frames: where they come from, some of them, and what is a usable one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ['HealthRow', 'SequenceRow', 'SheetImage']


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


class HealthRow(NamedTuple):
    """One check of input health: what the training frames have, and what passes, in words."""

    check: str
    least: float
    median: float
    most: float
    passes: str
