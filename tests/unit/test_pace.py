"""Replay in real time, and the frames that a robot leaves out: the node's own slots as oracle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from ros_ood_monitor.pace import Pace
from ros_ood_monitor.ros.camera.slot import LatestSlots

CAMERAS = ['/front', '/left', '/rear']


@dataclass(frozen=True)
class Came:
    log_time: float
    topic: str


class Clock:
    """Time that only passes where somebody lets it."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0.0
        self.now += seconds


def arrivals(seed: int) -> list[Came]:
    """Three cameras of different rates with jitter, and a pause."""
    rng = np.random.default_rng(seed)
    found = []
    for topic, hz in zip(CAMERAS, (30.0, 25.0, 4.0), strict=True):
        times = np.arange(60) / hz + rng.normal(0.0, 0.003, 60)
        times[40:] += 0.5
        found += [Came(1000.0 + float(time), topic) for time in times]
    return sorted(found, key=lambda one: one.log_time)


def on_the_robot(came: list[Came], busy: float) -> tuple[list[Came], int]:
    """Return what the node's slots would have given to an engine that takes so long."""
    clock = Clock()
    slots: LatestSlots[Came] = LatestSlots(len(CAMERAS), clock)
    taken, dropped, free = [], 0, -np.inf
    left = list(came)
    while True:
        # the engine looks whenever it is free and something is there; frames come meanwhile
        clock.now = free
        found = slots.take(0.0)
        if found is not None:
            taken.append(found.item)
            free = clock.now + busy
        elif left:
            free = max(free, left[0].log_time)
        else:
            return taken, dropped
        while left and left[0].log_time <= free:
            one = left.pop(0)
            clock.now = one.log_time
            dropped += slots.put(one, CAMERAS.index(one.topic))


@pytest.mark.parametrize('busy', [0.001, 0.012, 0.03, 0.1, 2.0])
def test_frames_left_out_are_those_that_the_slots_of_the_node_leave_out(busy: float) -> None:
    for seed in range(5):
        came = arrivals(seed)
        expected, dropped = on_the_robot(came, busy)
        pace = Pace(CAMERAS, drop=True, busy=busy)
        assert list(pace.through(came)) == expected
        assert (pace.given, pace.dropped.total()) == (len(expected), dropped)
        assert pace.given + pace.dropped.total() == len(came)
        assert dropped > 0 or busy < 0.02


def taken(pace: Pace, clock: Clock, came: list[Came], busy: float) -> Iterator[tuple[float, Came]]:
    for one in pace.through(came):
        yield clock.now, one
        clock.now += busy


@pytest.mark.parametrize('rate', [0.5, 1.0, 4.0])
def test_frames_come_at_their_log_times_as_fast_as_asked(rate: float) -> None:
    clock, came = Clock(), arrivals(0)
    pace = Pace(CAMERAS, rate=rate, clock=clock, sleep=clock.sleep)
    found = list(taken(pace, clock, came, 0.0))
    assert [one for _, one in found] == came
    expected = [50.0 + (one.log_time - came[0].log_time) / rate for one in came]
    assert [now for now, _ in found] == pytest.approx(expected, abs=1e-9)
    assert (pace.late, pace.dropped) == (0, Counter())


def test_whoever_is_too_slow_is_told_so_and_with_drop_leaves_frames_out_instead() -> None:
    came = [Came(0.1 * k, '/front') for k in range(50)]
    clock = Clock()
    pace = Pace(['/front'], rate=1.0, clock=clock, sleep=clock.sleep)
    assert len(list(taken(pace, clock, came, 0.263))) == 50
    # every frame costs 0.163 s more than there is, the first one nothing
    assert pace.behind == pytest.approx(49 * 0.163)
    assert pace.late == 49

    clock = Clock()
    pace = Pace(['/front'], rate=1.0, drop=True, clock=clock, sleep=clock.sleep)
    found = list(taken(pace, clock, came, 0.263))
    assert [round(10 * one.log_time) for _, one in found[:5]] == [0, 2, 5, 7, 10]
    assert max(now - 50.0 - one.log_time for now, one in found) < 0.1
    assert (pace.late, pace.given + pace.dropped['/front']) == (0, 50)
    # the same without a wait, and twice as fast, where a frame takes twice as much of its time
    for rate, busy in ((None, 0.263), (2.0, 0.1315)):
        clock = Clock()
        other = Pace(['/front'], rate=rate, drop=True, clock=clock, sleep=clock.sleep)
        assert [one for _, one in taken(other, clock, came, busy)] == [one for _, one in found]
