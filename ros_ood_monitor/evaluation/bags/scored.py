"""A bag after the monitor: what it said of every frame, in a few bytes each."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
import io
import json
import math
from pathlib import Path
import time
from typing import Any, Final
import zipfile

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.bags import BagReader
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.bundle.sketch import FrameTally
from ros_ood_monitor.camera_names import camera_names
from ros_ood_monitor.engines import Engine
from ros_ood_monitor.errors import BagError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import Frame, State
from ros_ood_monitor.replay import replay

__all__ = ['ALERT', 'FAULT', 'STATES', 'Facts', 'ScoredBag', 'score_bag', 'score_frames']

STATES: Final = tuple(State)
"""What the numbers in ``ScoredBag.state`` mean."""

ALERT: Final = STATES.index(State.ALERT)
FAULT: Final = STATES.index(State.FAULT)
"""Places of ALERT and of FAULT among them."""

_ARRAYS: Final = {
    'stamp': 'd', 'log_time': 'd', 'raw_score': 'd', 'peak': 'd', 'latency_ms': 'f', 'camera': 'H',
    'state': 'B', 'changed': 'B', 'judged': 'B',
}  # fmt: skip
"""Frames' arrays, and their types as `array` names them."""

_NAMED: Final = 5  # skipped frames


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
        Higher = more anomalous.
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
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
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
                arrays = {name: archive[name] for name in _ARRAYS}
                raw = json.loads(archive['facts'].item())
            if set(raw) != {field.name for field in fields(Facts)}:
                return None
            raw['reasons'] = {int(row): reason for row, reason in raw['reasons'].items()}
            lists = ('topics', 'cameras', 'problems')
            facts = Facts(**{**raw, **{name: tuple(raw[name]) for name in lists}})
        except (KeyError, ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile):
            return None
        return cls(facts, **arrays)


def score_bag(
    path: Path,
    bundle: Bundle,
    engine: Engine,
    *,
    topics: list[str] | None = None,
    every: int = 1,
    workers: int = 0,
    on_frame: Callable[[], object] = lambda: None,
) -> ScoredBag:
    """
    Replay a bag through the monitor, one alert logic a camera, and keep what it said.

    Parameters
    ----------
    path : Path
        The bag.
    bundle : Bundle
        What was trained.
    engine : Engine
        The bundle, opened on this device.
    topics : list of str, optional
        Image topics; all of them by default.
    every : int, default 1
        Each topic's every n-th frame only.
    workers : int, default 0
        Threads that decode ahead.
    on_frame : callable
        Called after each frame.

    Returns
    -------
    ScoredBag
        Its frames.

    Raises
    ------
    BagError
        If the bag cannot be read or has no frame.
    ParameterError
        If a topic is not an image topic of it.
    EngineError
        If the engine fails.

    """
    with BagReader(path) as bag:
        chosen = [topic.name for topic in bag.choose(topics)]
        scored = score_frames(
            bag.logged_frames(topics, every=every, workers=workers),
            bundle,
            engine,
            path=path,
            topics=chosen,
            cameras=camera_names(chosen),
            on_frame=on_frame,
        )
        problems = (*_problems(bag, all_topics=topics is None), *scored.facts.problems)
        facts = replace(
            scored.facts, origin=bag.origin, skipped=len(bag.skipped), problems=problems
        )
        return replace(scored, facts=facts)


def score_frames(
    frames: Iterable[tuple[float, Frame]],
    bundle: Bundle,
    engine: Engine,
    *,
    path: Path,
    topics: Sequence[str] = ('',),
    cameras: Sequence[str] = ('',),
    on_frame: Callable[[], object] = lambda: None,
) -> ScoredBag:
    """
    Replay frames through the monitor, one alert logic a camera, and keep what it said.

    Parameters
    ----------
    frames : iterable of (float, Frame)
        Log times and frames, in order.
    bundle, engine, on_frame
        As for `score_bag`.
    path : Path
        Where they come from.
    topics, cameras : sequence of str
        Topic and name of each camera there may be.

    Returns
    -------
    ScoredBag
        The frames.

    Raises
    ------
    BagError
        If there is none.
    EngineError
        If the engine fails.

    """
    began = time.perf_counter()
    known = FrameTally(bundle.trained_frames())
    arrays: dict[str, Any] = {name: array(code) for name, code in _ARRAYS.items()}
    reasons: dict[int, str] = {}
    failing: Counter[str] = Counter()
    monitors: list[Monitor] = []
    place = {camera: k for k, camera in enumerate(cameras)}

    def make(_: str) -> Monitor:
        monitors.append(Monitor(bundle, engine, on_input=known.add))
        return monitors[-1]

    def logged() -> Iterator[Frame]:
        for log_time, frame in frames:
            arrays['log_time'].append(log_time)
            yield frame

    for row, seen in enumerate(replay(make, logged())):
        alert = seen.alert
        arrays['stamp'].append(seen.stamp)
        arrays['raw_score'].append(seen.raw_score)
        arrays['peak'].append(alert.peak)
        arrays['latency_ms'].append(seen.latency_ms)
        arrays['camera'].append(place[seen.camera])
        arrays['state'].append(STATES.index(alert.state))
        arrays['changed'].append(alert.changed)
        arrays['judged'].append(seen.is_judged)
        if seen.health is not None:
            failing.update({fault.name for fault in seen.health.faults})
        if alert.changed and alert.state is State.ALERT:
            reasons[row] = alert.reason
        on_frame()
    if not monitors:
        msg = f'recording has no frame to score: {path}'
        raise BagError(msg)
    problems = []
    if failing:
        counts = ', '.join(f'{name} {count}' for name, count in sorted(failing.items()))
        problems.append(f'frames that fail checks of input health: {counts}')
    if str(known):
        problems.append(str(known))
    facts = Facts(
        topics=tuple(topics),
        cameras=tuple(cameras),
        threshold=monitors[0].threshold,
        stale_after=float(getattr(monitors[0].alert, 'stale_after', math.inf)),
        origin=arrays['stamp'][0],
        reasons=reasons,
        health=dict(sorted(failing.items())),
        skipped=0,
        problems=tuple(problems),
        known=known.known,
        wall=time.perf_counter() - began,
    )
    held = {name: np.array(values) for name, values in arrays.items()}  # each (n,)
    for name in ('changed', 'judged'):
        held[name] = held[name].astype(np.bool_)
    return ScoredBag(facts, **held)


def _problems(bag: BagReader, *, all_topics: bool) -> list[str]:
    found = [f'missing file {name}' for name in bag.missing_files]
    found += [f'damaged file {name}: {what}' for name, what in bag.damaged_files.items()]
    named = [f'{s.topic} at log time {s.log_time:.6f} s: {s.reason}' for s in bag.skipped[:_NAMED]]
    if named:
        found.append(f'{len(bag.skipped)} frames skipped: {"; ".join(named)}')
    if all_topics and bag.depth_topics:
        depth = ', '.join(f'{name} ({form})' for name, form in bag.depth_topics.items())
        found.append(f'depth is no camera and not scored unless named by --topic: {depth}')
    return found
