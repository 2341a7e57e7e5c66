"""A bag through the monitor: what it says of every frame, and what is wrong with the bag."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
import math
from pathlib import Path
import time
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.bags import BagReader
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.bundle.sketch import FrameTally
from ros_ood_monitor.camera_names import camera_names
from ros_ood_monitor.engines import Engine
from ros_ood_monitor.errors import BagError
from ros_ood_monitor.evaluation.bags.scored import ARRAYS, Facts, ScoredBag, STATES
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.records import Frame, NO_ANSWER, Observation, State
from ros_ood_monitor.replay import replay

__all__ = ['score_bag', 'score_frames']

_NAMED: Final = 5  # skipped frames


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
        Threads that decode and resize ahead.
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
    preprocess = Preprocessor(bundle.manifest.input_height, bundle.manifest.input_width)
    with BagReader(path) as bag:
        chosen = [topic.name for topic in bag.choose(topics)]
        received = bag.received_frames(
            topics, every=every, workers=workers, prepare=preprocess.ahead
        )
        scored = score_frames(
            ((message.log_time, frame) for message, frame in received),
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
    columns = _Columns(cameras)
    monitors: list[Monitor] = []

    def make(_: str) -> Monitor:
        monitors.append(Monitor(bundle, engine, on_input=known.add))
        return monitors[-1]

    def logged() -> Iterator[Frame]:
        for log_time, frame in frames:
            columns.add_log_time(log_time)
            yield frame

    for seen in replay(make, logged()):
        columns.add(seen)
        on_frame()
    if not monitors:
        msg = f'recording has no frame to score: {path}'
        raise BagError(msg)
    problems = columns.problems()
    if str(known):
        problems.append(str(known))
    facts = Facts(
        topics=tuple(topics),
        cameras=tuple(cameras),
        threshold=monitors[0].threshold,
        stale_after=float(getattr(monitors[0].alert, 'stale_after', math.inf)),
        origin=columns.first_stamp,
        reasons=columns.reasons,
        health=columns.health(),
        skipped=0,
        problems=tuple(problems),
        known=known.known,
        wall=time.perf_counter() - began,
    )
    return ScoredBag(facts, **columns.arrays())


class _Columns:
    """What is kept of observations while they come, a few bytes of each."""

    def __init__(self, cameras: Sequence[str]) -> None:
        self.reasons: dict[int, str] = {}
        self._place = {camera: k for k, camera in enumerate(cameras)}
        self._arrays: dict[str, Any] = {name: array(code) for name, code in ARRAYS.items()}
        self._failing: Counter[str] = Counter()
        self._unanswered = 0

    def add_log_time(self, log_time: float) -> None:
        self._arrays['log_time'].append(log_time)

    def add(self, seen: Observation) -> None:
        arrays, alert = self._arrays, seen.alert
        if alert.changed and alert.state is State.ALERT:
            self.reasons[len(arrays['stamp'])] = alert.reason
        arrays['stamp'].append(seen.stamp)
        arrays['raw_score'].append(seen.raw_score if seen.has_answer else math.nan)
        arrays['peak'].append(alert.peak)
        arrays['latency_ms'].append(seen.latency_ms)
        arrays['camera'].append(self._place[seen.camera])
        arrays['state'].append(STATES.index(alert.state))
        arrays['changed'].append(alert.changed)
        arrays['judged'].append(seen.is_judged)
        self._unanswered += not seen.has_answer
        if seen.health is not None:
            self._failing.update({fault.name for fault in seen.health.faults})

    @property
    def first_stamp(self) -> float:
        return float(self._arrays['stamp'][0])

    def health(self) -> dict[str, int]:
        return dict(sorted(self._failing.items()))

    def problems(self) -> list[str]:
        found = []
        if self._unanswered:
            found.append(f'{self._unanswered} frames not judged: {NO_ANSWER}')
        if self._failing:
            counts = ', '.join(f'{name} {count}' for name, count in self.health().items())
            found.append(f'frames that fail checks of input health: {counts}')
        return found

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        held = {name: np.array(values) for name, values in self._arrays.items()}  # each (n,)
        for name in ('changed', 'judged'):
            held[name] = held[name].astype(np.bool_)
        return held


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
