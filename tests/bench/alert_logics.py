"""
Compare how soon the alert logics cry, at an equal rate of false alerts, with an oracle.

Usage, in an environment with the extra ``test``::

    python -m tests.bench.alert_logics --json tests/bench/results/alert_logics.json

Scores are simulated at 10 Hz with known dependence; on a stretch of hours every logic's limit is
set to the same number of false alerts, another stretch says what came of it. Then scores rise by
a number of standard deviations and stay there. The oracle is a CUSUM of the log-likelihood ratio:
it knows what scores look like before and after, the dependence of frames and the variance of the
moment included, and the size of the rise. A second one knows the two distributions of single
scores only.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import replace
import json
import math
from pathlib import Path
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from ros_ood_monitor.alerting import EpisodeLog, make_logic
from ros_ood_monitor.calibration import conformal_threshold, OperatingPoint
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.tables import text_table, write_text
from ros_ood_monitor.records import State
from tests.score_simulation import Kind, KINDS, simulate

Array = npt.NDArray[np.float64]

RATE_HZ = 10.0
REFRACTORY = 10.0
SHIFTS = (0.5, 1.0, 2.0, 4.0)
LEAD_IN, AT_MOST = 300, 1200  # frames before the rise, and after it
ENDS, RISE = LEAD_IN + 200, 4.0  # the frame at which it ends, to see an alert clear
SETTINGS: dict[str, dict[str, float]] = {
    'consecutive': {},
    'ewma': {'time_constant': 1.0},
    'cusum': {'reference': 0.5},
    'martingale': {},
}
VARIANTS: dict[str, tuple[dict[str, float], ...]] = {
    'ewma': tuple({'time_constant': t} for t in (0.5, 2.0, 4.0)),
    'cusum': tuple({'reference': k} for k in (0.25, 1.0, 2.0)),
}


def lowest_limit(count: Callable[[float], int], allowed: int, low: float, high: float) -> float:
    """Return the lowest limit with few enough alerts, to a thousandth of the range searched."""
    while count(high) > allowed:
        low, high = high, high + 2.0 * (high - low)
    precision = 1e-3 * (high - low)
    while high - low > precision:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if count(middle) <= allowed else (middle, high)
    return high


def alerts(
    point: OperatingPoint, held_out: Array, scores: Iterable[float], enough: float = math.inf
) -> int:
    """Return the number of episodes in a stream, or the first number over enough."""
    try:
        logic = make_logic(point, held_out)
    except ParameterError:  # a limit under what is there without evidence: always in alert
        return 10**9
    log = EpisodeLog(refractory=REFRACTORY)
    for k, score in enumerate(scores):
        state = logic.update(score, k / RATE_HZ)
        log.note(state, k / RATE_HZ)
        if state.changed and len(log.episodes) > enough:
            break
    return len(log.episodes)


def delays(point: OperatingPoint, held_out: Array, streams: list[list[float]]) -> list[float]:
    """Return the times from the rise to the alert, in s; the first frame risen takes a period."""
    found = []
    for scores in streams:
        logic = make_logic(point, held_out)
        state = State.NORMAL
        for k, score in enumerate(scores):
            if k == LEAD_IN and state is State.ALERT:
                break
            state = logic.update(score, k / RATE_HZ).state
            if k >= LEAD_IN and state is State.ALERT:
                found.append((k - LEAD_IN + 1) / RATE_HZ)
                break
        else:
            found.append(AT_MOST / RATE_HZ)
    return found


def clearing(point: OperatingPoint, held_out: Array, streams: list[Array]) -> list[float]:
    """Return the times from the end of a rise of 20 s to NORMAL, in s, where it was in alert."""
    found = []
    for scores in streams:
        logic = make_logic(point, held_out)
        for k, score in enumerate(scores.tolist()):
            is_risen = LEAD_IN <= k < ENDS
            state = logic.update(score + RISE * is_risen, k / RATE_HZ).state
            if k >= ENDS and state is not State.ALERT:
                if k > ENDS:  # else it was not in alert when the rise ended
                    found.append((k - ENDS + 1) / RATE_HZ)
                break
    return found


def oracle_alerts(stays: list[float], begins: list[float], limit: float) -> int:
    """Return the episodes of the oracle, which starts anew after each."""
    total, last = 0.0, -math.inf
    count, quiet = 0, REFRACTORY * RATE_HZ
    for k, (stay, begin) in enumerate(zip(stays, begins, strict=True)):
        total = max(0.0, total + stay, begin)
        if total > limit:
            count += k - last > quiet
            last, total = k, 0.0
    return count


def oracle_delays(pairs: list[tuple[list[float], list[float]]], limit: float) -> list[float]:
    """Return the oracle's times from the rise to the alert, in s."""
    found = []
    for stays, begins in pairs:
        total = 0.0
        for k, (stay, begin) in enumerate(zip(stays, begins, strict=True)):
            total = max(0.0, total + stay, begin)
            if k < LEAD_IN and total > limit:
                total = 0.0
            elif total > limit:
                found.append((k - LEAD_IN + 1) / RATE_HZ)
                break
        else:
            found.append(AT_MOST / RATE_HZ)
    return found


class Oracle:
    """Log-likelihood ratios of a stream that rises by a known number of standard deviations."""

    def __init__(self, kind: Kind, shift: float, *, knows_dependence: bool) -> None:
        self._kind, self._shift, self._knows = kind, shift, knows_dependence
        innovation = stats.norm()
        if math.isfinite(kind.freedom):
            unit = math.sqrt((kind.freedom - 2.0) / kind.freedom)
            innovation = stats.t(kind.freedom, scale=unit)
        self._innovation = innovation.logpdf
        sample = simulate(kind, 50_000, np.random.default_rng(7))[0]
        is_normal = math.isinf(kind.freedom) and not kind.is_bursty
        self._marginal = (stats.norm() if is_normal else stats.t(*stats.t.fit(sample))).logpdf

    def ratios(self, score: Array, scale: Array) -> tuple[list[float], list[float]]:
        """Return the ratio of every frame for a rise that goes on, and for one that begins."""
        if not self._knows:
            ratio = self._marginal(score - self._shift) - self._marginal(score)
            return ratio.tolist(), ratio.tolist()
        phi = self._kind.phi
        seen = score - phi * np.concatenate([[0.0], score[:-1]])
        normal = self._innovation(seen / scale)
        found = [
            (self._innovation((seen - rise) / scale) - normal).tolist()
            for rise in (self._shift * (1.0 - phi), self._shift)
        ]
        return found[0], found[1]


def measure_kind(
    kind: Kind, *, hours: float, per_hour: float, repeats: int, variants: bool
) -> dict[str, Any]:
    """Return what the logics and the oracles do on one kind of stream."""
    count, allowed = int(hours * 3600 * RATE_HZ), round(hours * per_hour)
    rng = np.random.default_rng(1)
    held_out = np.sort(simulate(kind, 20_000, rng)[0][::10])
    choosing, _, choosing_scale = simulate(kind, count, rng)
    judging = simulate(kind, count, rng)[0]
    rises = [simulate(kind, LEAD_IN + AT_MOST, rng) for _ in range(repeats)]
    is_risen = np.arange(LEAD_IN + AT_MOST) >= LEAD_IN
    streams = {
        shift: [(score + shift * is_risen, scale) for score, _, scale in rises] for shift in SHIFTS
    }
    base = OperatingPoint(
        trigger=conformal_threshold(held_out, 0.01),
        release=conformal_threshold(held_out, 0.05),
        frame_rate_hz=RATE_HZ,
    )
    rows: dict[str, Any] = {}
    for logic, settings in SETTINGS.items():
        for chosen in (settings, *(VARIANTS.get(logic, ()) if variants else ())):
            point = replace(base, logic=logic, settings=chosen)
            start = time.perf_counter()
            limit = lowest_limit(
                lambda x, p=point: alerts(p.at_limit(x), held_out, choosing.tolist(), allowed),
                allowed,
                0.0,
                4.0,
            )
            point = point.at_limit(limit)
            name = ' '.join([logic, *(f'{key}={value:g}' for key, value in chosen.items())])
            rows[name] = {
                'limit': limit,
                'alerts_per_hour': alerts(point, held_out, judging.tolist()) / hours,
                'delay': {
                    shift: _summary(
                        delays(point, held_out, [s.tolist() for s, _ in streams[shift]])
                    )
                    for shift in SHIFTS
                },
                'clear': _summary(clearing(point, held_out, [score for score, _, _ in rises])),
            }
            print(f'{kind.name}: {name} {time.perf_counter() - start:.0f} s', flush=True)
    for name, knows in (('oracle', True), ('oracle of single scores', False)):
        rows[name] = {'delay': {}}
        for shift in SHIFTS:
            oracle = Oracle(kind, shift, knows_dependence=knows)
            ratios = oracle.ratios(choosing, choosing_scale)
            limit = lowest_limit(lambda x, r=ratios: oracle_alerts(*r, x), allowed, 0.0, 8.0)
            pairs = [oracle.ratios(score, scale) for score, scale in streams[shift]]
            rows[name]['delay'][shift] = _summary(oracle_delays(pairs, limit))
    return rows


def step_us(repeats: int = 20_000) -> dict[str, float]:
    """Return the time that a step of every logic takes, in us: the best of five."""
    rng = np.random.default_rng(0)
    held_out, scores = np.sort(rng.standard_normal(2000)), rng.standard_normal(repeats).tolist()
    found = {}
    for logic in SETTINGS:
        times = []
        for _ in range(5):
            made = make_logic(OperatingPoint(3.0, 2.0, logic=logic), held_out)
            start = time.perf_counter()
            for k, score in enumerate(scores):
                made.update(score, 0.1 * k)
            times.append(time.perf_counter() - start)
        found[logic] = min(times) / repeats * 1e6
    return found


def _summary(values: list[float]) -> dict[str, float]:
    found = np.asarray(values)
    return {
        'mean': float(found.mean()),
        'p90': float(np.quantile(found, 0.9)),
        'standard_error': float(found.std(ddof=1) / math.sqrt(found.size)),
        'missed': float(np.mean(found >= AT_MOST / RATE_HZ)),
    }


def main() -> None:
    """Measure, print, and write the file asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--hours', type=float, default=10.0)
    parser.add_argument('--alerts-per-hour', type=float, default=2.0)
    parser.add_argument('--repeats', type=int, default=200)
    parser.add_argument('--kinds', nargs='+', default=[kind.name for kind in KINDS])
    parser.add_argument('--variants', action='store_true', help='other settings, too')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    facts: dict[str, Any] = {
        'context': context(),
        'settings': {
            'hours': args.hours,
            'alerts_per_hour': args.alerts_per_hour,
            'repeats': args.repeats,
            'rate_hz': RATE_HZ,
            'refractory': REFRACTORY,
        },
        'step_us': step_us(),
        'streams': {},
    }
    print(facts['step_us'])
    for kind in KINDS:
        if kind.name not in args.kinds:
            continue
        rows = facts['streams'][kind.name] = measure_kind(
            kind,
            hours=args.hours,
            per_hour=args.alerts_per_hour,
            repeats=args.repeats,
            variants=args.variants,
        )
        table = [(kind.name, 'limit', 'alerts/h', *(f'{shift:g} sd' for shift in SHIFTS), 'clear')]
        for name, row in rows.items():
            cells = [f'{row["delay"][shift]["mean"]:.2f}' for shift in SHIFTS]
            if 'limit' in row:
                head = [f'{row[key]:.3g}' for key in ('limit', 'alerts_per_hour')]
                table.append((name, *head, *cells, f'{row["clear"]["mean"]:.1f}'))
            else:
                table.append((name, '', '', *cells, ''))
        print(text_table(table), flush=True)
    if args.json:
        write_text(args.json, json.dumps(facts, indent=1, allow_nan=False) + '\n')


if __name__ == '__main__':
    main()
