r"""
Does a stated rate of false alerts hold? Simulated deployments, each calibrated and then let run.

Scores are AR(1) in image time with Student-t innovations (heavy tails), every sequence with an
offset of its own: days differ. A deployment is calibrated on its sequences, and the rate that it
states is compared with the alerts in fresh sequences of the same world.

    python -m tests.bench.false_alert_rate --deployments 400 \
        --json tests/bench/results/false_alert_rate.json
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
import json
import math
from pathlib import Path
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from ros_ood_monitor.calibration import Calibration, OperatingPoint
from ros_ood_monitor.errors import CalibrationError
from ros_ood_monitor.rate_calibration import Alerts, calibrate_rate, RateCalibration
from ros_ood_monitor.rate_calibration.score_streams import ScoreStream

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


def deploy(world: World, seed: int) -> RateCalibration:
    """Calibrate one deployment."""
    rng = np.random.default_rng([seed, 1])
    # what a bundle has of its own: a few hundred held-out frames of other sequences
    frames = [sequence(world, rng, '', 0.1).raw_score[::20] for _ in range(10)]
    streams = [sequence(world, rng, str(k), world.hours) for k in range(world.sequences)]
    return calibrate_rate(
        streams,
        Calibration.fit(np.concatenate(frames)),
        per_hour=world.per_hour,
        refractory=REFRACTORY_S,
        seed=seed,
        count=count_fast,
    )


def observe(world: World, point: OperatingPoint, seed: int, hours: float) -> float:
    """Return the rate of alerts in fresh sequences of at least so many hours."""
    rng = np.random.default_rng([seed, 2])
    number = math.ceil(hours / world.hours)
    fresh = (sequence(world, rng, str(k), world.hours) for k in range(number))
    return sum(count_fast(stream, point).episodes for stream in fresh) / (number * world.hours)


def run(world: World, deployments: int, hours: float) -> dict[str, Any]:
    """Return how many deployments are within what they were told."""
    rows = []
    refused = 0
    for seed in range(deployments):
        try:
            found = deploy(world, seed)
        except CalibrationError:  # a limit beyond hearing
            refused += 1
            continue
        rows.append((found.bound, observe(world, found.point, seed, hours)))
    observed = np.array([rate for _, rate in rows])
    bounds = [bound for bound, _ in rows]
    established = np.array([bound.is_established for bound in bounds])

    def within(values: Any) -> int:
        return int(np.sum(observed <= np.array(list(values))))

    return {
        **asdict(world),
        'deployments': deployments,
        'refused': refused,
        'fresh_hours': hours,
        'within_bound': within(b.bound for b in bounds),
        'within_count_bound': within(b.upper95 for b in bounds),
        'within_bootstrap_bound': within(b.bootstrap95 for b in bounds),
        'established': int(established.sum()),
        'established_within_asked': int((established & (observed <= world.per_hour)).sum()),
        'stating_hours': float(np.median([b.hours for b in bounds])),
        'bound_median': float(np.median([b.bound for b in bounds])),
        'observed_median': float(np.median(observed)),
        'observed_p95': float(np.quantile(observed, 0.95)),
    }


def main() -> None:
    """Run all worlds, print a table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--deployments', type=int, default=100)
    parser.add_argument('--fresh-hours', type=float, default=240.0)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    rows = []
    for world in WORLDS:
        began = time.perf_counter()
        rows.append(run(world, args.deployments, args.fresh_hours))
        print(json.dumps(rows[-1]), f'{time.perf_counter() - began:.0f} s', flush=True)
    if args.json:
        facts = {'frame_rate_hz': FRAME_RATE_HZ, 'refractory': REFRACTORY_S, 'worlds': rows}
        args.json.write_text(json.dumps(facts, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
