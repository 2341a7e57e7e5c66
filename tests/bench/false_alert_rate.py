r"""
Does a stated rate of false alerts hold? Simulated deployments, each calibrated and then let run.

Scores are AR(1) in image time with Student-t innovations (heavy tails), every sequence with an
offset of its own: days differ. A deployment is calibrated on its sequences, and the rate that it
states is compared with the alerts in fresh sequences of the same world.

    python -m tests.bench.false_alert_rate --deployments 400 \
        --json tests/bench/results/false_alert_rate.json
    python -m tests.bench.false_alert_rate --logic cusum --deployments 200 \
        --json tests/bench/results/false_alert_rate_cusum.json
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
import json
import math
from pathlib import Path
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from ros_ood_monitor.alerting import (
    AccumulatingLogic,
    CusumLogic,
    EwmaLogic,
    LOGICS,
    make_logic,
    MartingaleLogic,
)
from ros_ood_monitor.calibration import Calibration, OperatingPoint
from ros_ood_monitor.errors import CalibrationError
from ros_ood_monitor.rate_calibration import (
    Alerts,
    calibrate_rate,
    Count,
    RateCalibration,
)
from ros_ood_monitor.rate_calibration.score_streams import ScoreStream
from ros_ood_monitor.rates import RateBound

Array = npt.NDArray[np.float64]

FRAME_RATE_HZ = 2.0
REFRACTORY_S = 10.0


@dataclass(frozen=True)
class World:
    """What scores are like: offsets of sequences in standard deviations, and the recordings."""

    name: str
    offset: float
    sequences: int
    hours: float
    per_hour: float = 1.0
    correlation_s: float = 5.0
    freedom: float = 5.0


WORLDS = (
    World('alike days', offset=0.0, sequences=8, hours=3.0),
    World('days differ a little', offset=0.2, sequences=24, hours=1.0),
    World('days differ', offset=0.5, sequences=24, hours=1.0),
    World('days differ, few of them', offset=0.5, sequences=6, hours=4.0),
    World('days differ a little, as few hours as can be', offset=0.2, sequences=8, hours=0.9),
)


def sequence(world: World, rng: np.random.Generator, name: str, hours: float) -> ScoreStream:
    """Return the scores of one sequence."""
    count = int(hours * 3600.0 * FRAME_RATE_HZ)
    keep = math.exp(-1.0 / (FRAME_RATE_HZ * world.correlation_s))
    start = 200  # frames until the beginning is forgotten
    shock = rng.standard_t(world.freedom, count + start)
    shock *= math.sqrt((1.0 - keep**2) * (world.freedom - 2.0) / world.freedom)
    raw_score = lfilter([1.0], [1.0, -keep], shock)[start:] + world.offset * rng.normal()
    return ScoreStream(name, '', np.arange(count) / FRAME_RATE_HZ, raw_score)


def count_fast(stream: ScoreStream, point: OperatingPoint) -> Alerts:
    """Count the alerts of `ConsecutiveLogic` in a stream without gaps, without a step a frame."""
    raw_score = stream.raw_score
    up = _runs(raw_score > point.trigger, point.trigger_frames)
    down = _runs(raw_score < point.release, point.release_frames)
    episodes, place, left, seconds = 0, 0, -math.inf, 0.0
    while True:
        k = int(np.searchsorted(up, place))
        if k == len(up):
            return Alerts(episodes, seconds)
        first = int(up[k])
        episodes += not 0.0 <= stream.stamp[first] - left <= point.refractory
        k = int(np.searchsorted(down, first))
        if k == len(down):
            return Alerts(episodes, seconds + float(stream.stamp[-1] - stream.stamp[first]))
        place = int(down[k])
        left = stream.stamp[place]
        seconds += float(left - stream.stamp[first])


def _runs(is_so: npt.NDArray[np.bool_], length: int) -> npt.NDArray[np.intp]:
    """Return where so many in a row are complete."""
    whole = is_so[length - 1 :].copy()
    for back in range(1, length):
        whole &= is_so[length - 1 - back : len(is_so) - back]
    return np.flatnonzero(whole) + length - 1


def count_lean(calibration: Calibration) -> Count:
    """Return what counts alerts in a stream without gaps, the logic written out in one loop."""
    held_out = calibration.raw_score
    known: dict[ScoreStream, _Excursions] = {}

    def count(stream: ScoreStream, point: OperatingPoint) -> Alerts:
        if point.logic == 'consecutive':
            return count_fast(stream, point)
        logic = make_logic(point, held_out)
        assert isinstance(logic, AccumulatingLogic)
        if stream not in known:
            known[stream] = _Excursions(logic, stream)
        stamp, columns = known[stream].over(logic.height)
        walk = _walk_bets if isinstance(logic, MartingaleLogic) else _walk
        return _episodes(walk(logic.height, *columns), stamp, point.refractory)

    return count


class _Excursions:
    """A stream cut behind every frame that leaves no evidence."""

    def __init__(self, logic: AccumulatingLogic, stream: ScoreStream) -> None:
        elapsed = np.diff(stream.stamp, prepend=stream.stamp[0])  # (n,)
        height = logic.ceiling(stream.raw_score, elapsed)
        starts = np.flatnonzero(np.concatenate([[True], height[:-1] <= 0.0]))  # (k,)
        self._top = np.maximum.reduceat(height, starts)
        self._length = np.diff(starts, append=len(height))
        self._stamp, self._columns = stream.stamp, _columns(logic, stream.raw_score, elapsed)

    def over(self, limit: float) -> tuple[Array, list[Array]]:
        """Return the frames of those excursions that reach a limit."""
        rows = np.repeat(self._top > (1.0 - 1e-9) * limit, self._length)  # (n,)
        return self._stamp[rows], [column[rows] for column in self._columns]


def _columns(logic: AccumulatingLogic, raw_score: Array, elapsed: Array) -> list[Array]:
    """Return what the loop takes of every frame."""
    if isinstance(logic, CusumLogic):
        excess = (raw_score - logic.mean) / logic.std - logic.reference
        return [np.zeros(len(raw_score)), excess * elapsed]
    if isinstance(logic, EwmaLogic):
        weight = -np.expm1(-elapsed / logic.time_constant)
        return [weight, weight * (raw_score - logic.mean)]
    assert isinstance(logic, MartingaleLogic)
    number = len(logic.scores)
    over = number - np.searchsorted(logic.scores, raw_score)  # (n,), no two scores are equal
    log_p = np.log((over + 0.5) / (number + 1))
    return [math.log(e) + (e - 1.0) * log_p for e in (0.1, 0.3, 0.5)]


def _walk(limit: float, fading: Array, step: Array) -> Iterator[tuple[int, bool]]:
    """Yield where an alert begins (True) and ends: of a sum that may fade."""
    half, most, value, state = 0.5 * limit, 0.6 * limit, 0.0, 0
    for k, (fade, add) in enumerate(zip(fading.tolist(), step.tolist(), strict=True)):
        add -= fade * value
        value += add if add < most else most
        if value <= half:
            value = max(value, 0.0)
            if state == 2:
                yield k, False
            state = 0
        elif value > limit:
            value = limit
            if state == 1:
                yield k, True
            state = min(state + 1, 2)
        elif state == 0:
            state = 1


def _walk_bets(limit: float, *steps: Array) -> Iterator[tuple[int, bool]]:
    """Yield where an alert begins (True) and ends: of the mean capital of three bets."""
    half, state = 0.5 * limit, 0
    x = y = z = 0.0
    bounded = (np.minimum(step, 0.6 * limit).tolist() for step in steps)
    for k, (a, b, c) in enumerate(zip(*bounded, strict=True)):
        x = x + a if x > -a else 0.0
        y = y + b if y > -b else 0.0
        z = z + c if z > -c else 0.0
        if x <= half and y <= half and z <= half:
            if state == 2:
                yield k, False
            state = 0
            continue
        top = max(x, y, z)
        total = math.exp(x - top) + math.exp(y - top) + math.exp(z - top)
        value = top + math.log(total / 3)
        if value <= half:
            if state == 2:
                yield k, False
            state = 0
        elif value > limit:
            over = value - limit
            x, y, z = max(0.0, x - over), max(0.0, y - over), max(0.0, z - over)
            if state == 1:
                yield k, True
            state = min(state + 1, 2)
        elif state == 0:
            state = 1


def _episodes(changes: Iterator[tuple[int, bool]], stamp: Array, refractory: float) -> Alerts:
    episodes, seconds, began, left = 0, 0.0, math.nan, -math.inf
    for place, is_on in changes:
        now = float(stamp[place])
        if is_on:
            episodes += now - left > refractory
            began = now
        else:
            seconds += now - began
            began, left = math.nan, now
    # the last excursion may still be on: it is the stream's end
    return Alerts(episodes, seconds if math.isnan(began) else seconds + float(stamp[-1]) - began)


def deploy(world: World, seed: int, logic: str = 'consecutive') -> RateCalibration:
    """Calibrate one deployment."""
    rng = np.random.default_rng([seed, 1])
    calibration = held_out(world, rng)
    streams = [sequence(world, rng, str(k), world.hours) for k in range(world.sequences)]
    return calibrate_rate(
        streams,
        calibration,
        per_hour=world.per_hour,
        logic=logic,
        refractory=REFRACTORY_S,
        seed=seed,
        count=count_lean(calibration),
    )


def held_out(world: World, rng: np.random.Generator) -> Calibration:
    """Return what a bundle has of its own: a few hundred frames of other sequences."""
    return Calibration.fit(
        np.concatenate([sequence(world, rng, '', 0.1).raw_score[::20] for _ in range(10)])
    )


def observe(world: World, point: OperatingPoint, seed: int, hours: float) -> tuple[float, float]:
    """Return alerts per quiet hour and the share of time in ALERT in at least so many hours."""
    calibration = held_out(world, np.random.default_rng([seed, 1]))
    rng = np.random.default_rng([seed, 2])
    number = math.ceil(hours / world.hours)
    fresh = (sequence(world, rng, str(k), world.hours) for k in range(number))
    found = [count_lean(calibration)(stream, point) for stream in fresh]
    in_alert = sum(alerts.seconds for alerts in found) / (number * world.hours * 3600.0)
    quiet = max(1e-3, 1.0 - in_alert) * number * world.hours
    return sum(alerts.episodes for alerts in found) / quiet, in_alert


def run(world: World, logic: str, deployments: int, hours: float) -> dict[str, Any]:
    """Return how many deployments are within what they were told."""
    rows = []
    for seed in range(deployments):
        try:
            found = deploy(world, seed, logic)
        except CalibrationError:  # a limit beyond hearing
            continue
        rows.append((found.bound, *observe(world, found.point, seed, hours)))
    return summary(world, logic, rows, deployments=deployments, hours=hours)


def summary(
    world: World,
    logic: str,
    rows: Sequence[tuple[RateBound, float, float]],
    *,
    deployments: int,
    hours: float,
) -> dict[str, Any]:
    """Return the figures of bounds with the rates and times in alert that came of them."""
    stated = [row for row in rows if not row[0].odd]
    bounds = [bound for bound, _, _ in stated]
    observed, in_alert = (np.array([row[k] for row in stated]) for k in (1, 2))
    established = np.array([bound.is_established for bound in bounds])

    def within(values: Any) -> int:
        return int(np.sum(observed <= np.array(list(values))))

    return {
        **asdict(world),
        'logic': logic,
        'deployments': deployments,
        'fresh_hours': hours,
        'refused': deployments - len(rows),
        'too_much_in_alert': len(rows) - len(stated),
        'within_bound': within(b.bound for b in bounds),
        'within_count_bound': within(b.upper95 for b in bounds),
        'within_bootstrap_bound': within(b.bootstrap95 for b in bounds),
        'established': int(established.sum()),
        'established_within_asked': int((established & (observed <= world.per_hour)).sum()),
        'stating_hours': float(np.median([b.hours for b in bounds])),
        'bound_median': float(np.median([b.bound for b in bounds])),
        'observed_median': float(np.median(observed)),
        'observed_p95': float(np.quantile(observed, 0.95)),
        'in_alert_p95': float(np.quantile(in_alert, 0.95)),
    }


def main() -> None:
    """Run all worlds, print a table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--logic', choices=sorted(LOGICS), default='consecutive')
    parser.add_argument('--deployments', type=int, default=100)
    parser.add_argument('--fresh-hours', type=float, default=240.0)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    rows = []
    for world in WORLDS:
        began = time.perf_counter()
        rows.append(run(world, args.logic, args.deployments, args.fresh_hours))
        print(json.dumps(rows[-1]), f'{time.perf_counter() - began:.0f} s', flush=True)
    if args.json:
        facts = {'frame_rate_hz': FRAME_RATE_HZ, 'refractory': REFRACTORY_S, 'worlds': rows}
        args.json.write_text(json.dumps(facts, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
