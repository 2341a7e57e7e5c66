"""What a recorder may use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ['Limits']


@dataclass(frozen=True)
class Limits:
    """
    Where recordings go, how long they are, and how much memory and disk they may take.

    Parameters
    ----------
    folder : Path or None
        Where to make them; None records nothing.
    before, after : float
        Image time around an alert, in s.
    max_duration : float
        Longest image time from the frame that raised the alert on, in s.
    max_disk : int
        Bytes of all recordings of this node that nobody has marked; 0 sets no limit.
    max_memory : int
        Bytes of messages that are kept or wait to be written.
    min_free : int
        Bytes that are left free on the disk.

    """

    folder: Path | None = None
    before: float = 5.0
    after: float = 5.0
    max_duration: float = 60.0
    max_disk: int = 2 * 2**30
    max_memory: int = 256 * 2**20
    min_free: int = 32 * 2**20
