"""What the frames' labels changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ['AtypicalImage', 'UnmaskRow']


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
