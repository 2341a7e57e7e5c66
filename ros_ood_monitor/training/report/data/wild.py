"""What wild frames taught."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ['WildRow']


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
