"""A bag after the monitor: what it said of every frame, in a few bytes each."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
import io
import json
from typing import Any, Final
import zipfile

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.records import State

__all__ = ['ALERT', 'ARRAYS', 'FAULT', 'STATES', 'Facts', 'ScoredBag']

STATES: Final = tuple(State)
"""What the numbers in ``ScoredBag.state`` mean."""

ALERT: Final = STATES.index(State.ALERT)
FAULT: Final = STATES.index(State.FAULT)
"""Places of ALERT and of FAULT among them."""

ARRAYS: Final = {
    'stamp': 'd', 'log_time': 'd', 'raw_score': 'd', 'peak': 'd', 'latency_ms': 'f', 'camera': 'H',
    'state': 'B', 'changed': 'B', 'judged': 'B',
}  # fmt: skip
"""Frames' arrays, and their types as `array` names them."""


@dataclass(frozen=True)
class Facts:
    """
    What is known of a scored bag besides its frames.

    Parameters
    ----------
    topics, cameras : tuple of str
        Topic and name of each camera; frames name cameras by their place here.
    threshold : float
        On raw_score, over which a frame counts toward an alert.
    stale_after : float
        Gap between stamps after which the alert logic starts anew, in s.
    origin : float
        Stamp of the bag's first image, whichever topics were scored, in s.
    reasons : dict of int to str
        Why an alert was raised, by the frame that raised it.
    health : dict of str to int
        Frames that failed each check of input health, those that no frame failed left out.
    skipped : int
        Frames that did not decode.
    problems : tuple of str
        Sentences: missing and damaged files, the first of the frames skipped, input health,
        frames that the bundle was trained on.
    known : int
        Frames that the bundle was trained on; the last of ``problems`` tells of them.
    wall : float
        How long reading and scoring took, in s.

    """

    topics: tuple[str, ...]
    cameras: tuple[str, ...]
    threshold: float
    stale_after: float
    origin: float
    reasons: dict[int, str]
    health: dict[str, int]
    skipped: int
    problems: tuple[str, ...]
    known: int
    wall: float


@dataclass(frozen=True, eq=False)
class ScoredBag:
    """
    What the monitor said of the frames of a bag, in the order of recording; 41 bytes a frame.

    Parameters
    ----------
    facts : Facts
        What is known besides.
    stamp, log_time : ndarray of shape (n,), float64
        Time of the image and of its arrival, in s.
    raw_score : ndarray of shape (n,), float64
        Higher = more anomalous; NaN where the engine's answer is not finite.
    peak : ndarray of shape (n,), float64
        Highest raw_score since the camera last was NORMAL; NaN where it is NORMAL.
    latency_ms : ndarray of shape (n,), float32
        Processing time.
    camera : ndarray of shape (n,), uint16
        Place in ``facts.cameras``.
    state : ndarray of shape (n,), uint8
        Place in `STATES`.
    changed : ndarray of shape (n,), bool
        True where the frame left the previous state.
    judged : ndarray of shape (n,), bool
        False where the input was so poor that the score reached no alert logic.

    """

    facts: Facts
    stamp: npt.NDArray[np.float64]
    log_time: npt.NDArray[np.float64]
    raw_score: npt.NDArray[np.float64]
    peak: npt.NDArray[np.float64]
    latency_ms: npt.NDArray[np.float32]
    camera: npt.NDArray[np.uint16]
    state: npt.NDArray[np.uint8]
    changed: npt.NDArray[np.bool_]
    judged: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return int(self.stamp.size)

    def rows_of(self, camera: int) -> npt.NDArray[np.int64]:
        """Return the rows of one camera (k,), int64, in order."""
        return np.flatnonzero(self.camera == camera)

    def to_bytes(self) -> bytes:
        """Return it as an npz archive without pickled objects."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {name: getattr(self, name) for name in ARRAYS}
        np.savez(buffer, facts=np.array(json.dumps(asdict(self.facts))), **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> ScoredBag | None:
        """
        Read what `to_bytes` wrote.

        Parameters
        ----------
        content : bytes
            Of the file.

        Returns
        -------
        ScoredBag or None
            None where it is damaged.

        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in ARRAYS}
                raw = json.loads(archive['facts'].item())
            if set(raw) != {field.name for field in fields(Facts)}:
                return None
            raw['reasons'] = {int(row): reason for row, reason in raw['reasons'].items()}
            lists = ('topics', 'cameras', 'problems')
            facts = Facts(**{**raw, **{name: tuple(raw[name]) for name in lists}})
        except (KeyError, ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile):
            return None
        return cls(facts, **arrays)
