"""A broken input is told as what it is, and never judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.errors import BundleError, ParameterError
from ros_ood_monitor.health import (
    CHECKS,
    health_table,
    HealthLimits,
    HealthMonitor,
    measure,
    MEASURES,
)
from ros_ood_monitor.health.measures import grey_of, repeated
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.records import Frame, Health, Observation, State
from tests.bench.health_faults import bag_streams, clean, FAULTS, found, trained
from tests.tiny_bundle import make_tiny_bundle

FIXED = HealthLimits.from_table(None)


@functools.cache
def bag() -> tuple[list[list[Frame]], list[list[Frame]]]:
    """Return the shipped bag's first 20 s, and the rest in pieces."""
    return bag_streams()


@functools.cache
def limits_of_bag() -> HealthLimits:
    return trained(bag()[0], 10.0)


def limits_of_shipped() -> HealthLimits:
    shipped = Bundle.load(Path(__file__).resolve().parents[2] / 'models/lunar_orbit')
    return HealthLimits.from_table(shipped.manifest.health, frame_rate_hz=10.0)


def noise(seed: int = 0, middle: float = 128.0) -> Any:
    rng = np.random.default_rng(seed)
    return rng.uniform(middle - 28, middle + 28, (60, 90, 3)).astype(np.uint8)


def look(monitor: HealthMonitor, pictures: Sequence[Any], hz: float = 10.0) -> list[Health]:
    return [monitor.look(rgb, Frame(rgb, 50.0 + k / hz)) for k, rgb in enumerate(pictures)]


def names(health: Health) -> list[str]:
    return [fault.name for fault in health.faults]


# on the shipped bag -----------------------------------------------------------------------------


@pytest.mark.parametrize('limits', [lambda: FIXED, limits_of_bag, limits_of_shipped])
def test_no_frame_of_the_shipped_bag_fails_a_check_not_even_its_anomaly(limits: Any) -> None:
    known, rest = bag()
    counts = clean([*known, *rest], limits())
    assert counts == {'frames': counts['frames'], 'blind': 0}
    assert counts['frames'] == 500


@pytest.mark.parametrize('fault', [name for name in FAULTS if name != 'red and blue swapped'])
def test_every_fault_is_found_in_its_first_frames(fault: str) -> None:
    check, change = FAULTS[fault]
    fails, lasts = found(bag()[1][0], limits_of_bag(), check, change)
    slow = {'frozen': 21, 'exposure': 25, 'rate': 10}  # what takes time by its nature
    assert 0 < fails <= slow.get(check, 1)
    if fault == 'one frame half old, half new':
        assert not lasts
    else:
        assert fails <= lasts <= fails + 2


def test_red_and_blue_swapped_is_found_where_the_training_has_colours() -> None:
    brown = np.float32([1.0, 0.8, 0.5])
    known = [Frame((noise(k) * brown).astype(np.uint8)) for k in range(20)]
    limits = trained([known], math.nan)
    swapped = np.ascontiguousarray((noise(30) * brown).astype(np.uint8)[..., ::-1])
    preprocess = Preprocessor(224, 224)
    (as_before,) = look(HealthMonitor(limits), [preprocess(known[0].rgb)[0]])
    (health,) = look(HealthMonitor(limits), [preprocess(swapped)[0]])
    assert 'colour' not in names(as_before)
    assert 'colour' in names(health)


def test_faults_that_need_the_training_are_not_judged_without_its_table() -> None:
    rgb = noise()
    (health,) = look(HealthMonitor(FIXED), [rgb])
    made = set(dict(health.values))
    assert made == {'black', 'saturated', 'missing', 'frozen', 'torn', 'format', 'encoding'}
    assert health.ok


# measures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize('shape', [(1, 1), (2, 3), (3, 400), (500, 700), (224, 224)])
def test_pictures_of_any_size_are_measured(shape: tuple[int, int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert np.isfinite(measure(rgb)).all()
    assert max(grey_of(rgb).shape) <= 256


def test_block_of_one_level_is_missing_only_at_the_lower_edge_and_in_grey() -> None:
    def of(start: int, end: int, level: int) -> tuple[float, float]:
        rgb = noise()
        rgb[start:end] = level
        values = dict(zip(MEASURES, measure(rgb), strict=True))
        return round(float(values['missing']), 3), round(float(values['blank']), 3)

    assert of(45, 60, 128) == (0.25, 0.25)
    assert of(0, 15, 128) == (0.0, 0.25)  # a sky
    assert of(45, 60, 0) == of(45, 60, 255) == (0.0, 0.25)
    assert of(0, 0, 0) == (0.0, 0.0)


def test_noise_is_measured_in_grey_levels_whatever_the_picture_shows() -> None:
    y, x = np.mgrid[0:200, 0:200]
    scene = 90.0 + 40.0 * np.sin(x / 9.0) + 50.0 * (y > 80)
    for sigma in (3.0, 8.0):
        grey = scene + np.random.default_rng(1).normal(0.0, sigma, scene.shape)
        rgb = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., np.newaxis], 3, axis=2)
        value = measure(rgb)[MEASURES.index('noise')]
        assert value == pytest.approx(sigma, rel=0.15)


def test_an_object_that_moves_in_a_scene_at_rest_is_no_torn_picture() -> None:
    still = grey_of(noise())
    moved = still.copy()
    moved[20:30] = 90
    changed, old, is_calm = repeated(moved, still)
    assert (changed, old, is_calm) == (pytest.approx(10 / 60, abs=0.01), 0.0, True)
    torn = still.copy()
    torn[:40] = grey_of(noise(1))[:40]
    assert repeated(torn, still)[1:] == (pytest.approx(20 / 60), False)
    # nor where it touches an edge, once rows were seen to repeat at both
    pictures = [noise(), noise()]
    pictures[1][20:30] = noise(5)[:10]
    pictures.append(pictures[1].copy())
    pictures[2][:10] = noise(6)[:10]
    assert all(health.is_usable for health in look(HealthMonitor(FIXED), pictures))


# in time ----------------------------------------------------------------------------------------


def test_fault_lasts_after_three_frames_and_ends_after_three() -> None:
    black = np.zeros((60, 90, 3), np.uint8)
    kinds = 'nnbbnbbbnnbnnnn'
    pictures = [black if kind == 'b' else noise(k) for k, kind in enumerate(kinds)]
    seen = look(HealthMonitor(FIXED.without(['torn'])), pictures)
    assert [health.is_usable for health in seen] == [
        k not in (2, 3, *range(5, 13)) for k in range(15)
    ]
    assert [health.is_blind for health in seen] == [7 <= k < 13 for k in range(15)]
    assert str(seen[7]) == 'black'
    assert str(seen[8]) == 'black', 'not over yet'
    assert str(seen[13]) == 'ok'


def test_fault_that_dwells_at_its_limit_ends_once_and_well_inside_of_it() -> None:
    limits = HealthLimits({'exposure': (100.0, 150.0)})
    monitor = HealthMonitor(limits)
    levels = [125] * 30 + [170] * 100 + [148] * 300 + [125] * 100  # smoothed over 5 s
    pictures = [np.full((60, 90, 3), level, np.uint8) + (k % 2) for k, level in enumerate(levels)]
    lasts = ['exposure' in health.lasting for health in look(monitor, pictures)]
    changes = [k for k in range(1, len(lasts)) if lasts[k] != lasts[k - 1]]
    assert [lasts[k] for k in changes] == [True, False]
    assert 30 <= changes[0] < 130
    assert changes[1] >= 430, 'at 148 it is not over'


def test_fault_of_the_first_frame_lasts_at_once() -> None:
    (health,) = look(HealthMonitor(FIXED), [np.zeros((60, 90, 3), np.uint8)])
    assert health.is_blind


def test_still_picture_is_frozen_after_its_time_but_a_slow_camera_is_not_after_two() -> None:
    assert [h.is_blind for h in look(HealthMonitor(FIXED), [noise()] * 30)] == [
        k > 20 for k in range(30)
    ]
    in_gap = HealthMonitor(FIXED)
    stamps = (0.0, 0.1, 0.2, 0.3, 0.4, 60.0, 60.1)  # in which nobody watched
    seen = [dict(in_gap.look(noise(), Frame(noise(), stamp)).values) for stamp in stamps]
    assert [values['frozen'] for values in seen] == pytest.approx([0, 0, 0, 0, 0, 1.4, 1.5])
    slow = look(HealthMonitor(FIXED), [noise()] * 8, hz=0.5)
    assert [h.is_blind for h in slow] == [False] * 5 + [True] * 3


def test_clock_in_a_still_picture_does_not_hide_it_but_sensor_noise_does() -> None:
    rng = np.random.default_rng(3)
    clock, live = [], []
    for _ in range(40):
        rgb = noise()
        rgb[:1, :9] = rng.integers(0, 256)
        clock.append(rgb)
        live.append(np.clip(noise() + rng.normal(0, 0.5, rgb.shape), 0, 255).astype(np.uint8))
    assert look(HealthMonitor(FIXED), clock)[-1].is_blind
    assert all(health.is_usable for health in look(HealthMonitor(FIXED), live))


def test_rate_is_judged_against_that_of_the_operating_point_and_not_by_a_pause() -> None:
    monitor = HealthMonitor(HealthLimits.from_table(None, frame_rate_hz=10.0))
    stamps = [*np.arange(0, 3, 0.1), *np.arange(63, 66, 0.1), *np.arange(66, 90, 0.4)]
    seen = [monitor.look(noise(k), Frame(noise(k), stamp)) for k, stamp in enumerate(stamps)]
    assert not any('rate' in names(health) for health in seen[:60])
    assert names(seen[-1]) == ['rate']
    assert seen[-1].is_usable


# limits -----------------------------------------------------------------------------------------


def table() -> dict[str, Any]:
    measures = np.stack([measure(noise(k)) for k in range(40)])
    return health_table(measures, np.tile([90, 60], (40, 1)), still=3.0)


def test_limits_come_from_the_table_of_the_training() -> None:
    limits = HealthLimits.from_table(table(), frame_rate_hz=8.0)
    assert (limits.frames, limits.sizes) == (40, ((90, 60),))
    assert limits.limits['frozen'] == (-math.inf, 6.0)
    assert limits.limits['rate'] == (4.0, math.inf)
    assert set(limits.limits) == set(CHECKS)
    assert all(
        health.ok for health in look(HealthMonitor(limits), [noise(k) for k in range(50, 80)])
    )


def test_a_bar_of_the_training_is_no_torn_picture_and_half_an_old_one_is() -> None:
    bar = noise(100)[:12]  # a fifth of the rows, the same for ever
    pictures = [np.concatenate([noise(k)[12:], bar]) for k in range(12)]
    pictures[8] = np.concatenate([noise(8)[12:30], pictures[7][18:]])  # the lower half is old
    trained_on = {**table(), 'bar': 0.2}
    limits = HealthLimits.from_table(trained_on)
    assert [names(one) for one in look(HealthMonitor(limits), pictures)] == [
        ['torn'] if k == 8 else [] for k in range(12)
    ]
    without = HealthLimits.from_table({k: v for k, v in trained_on.items() if k != 'bar'})
    assert without.limits['torn'] == (-math.inf, 0.1)
    assert look(HealthMonitor(without), pictures)[-1].is_blind
    assert 'torn' not in HealthLimits.from_table({**table(), 'bar': 0.95}).limits


def test_table_of_pictures_of_many_sizes_names_none() -> None:
    sizes = np.array([(60 + k, 40) for k in range(5)])
    assert health_table(np.zeros((5, 9), np.float32), sizes, still=0.0)['sizes'] == []


@pytest.mark.parametrize(
    'change',
    [
        {'noise': [1.0, 2.0]},
        {'black': [0.0, 0.0, 0.0, 0.0, math.nan]},
        {'sizes': [[1]]},
        {'still': 'long'},
        {'bar': 'high'},
        {'bar': math.nan},
        {'frames': None},
    ],
)
def test_damaged_table_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match='health table of the manifest is damaged'):
        HealthLimits.from_table({**table(), **change})


def test_a_check_that_no_picture_can_fail_is_not_made_and_said_to_be_none() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 32, 48, 3), dtype=np.uint8)
    images[:10], images[10:20], images[20:30, 16:] = 0, 255, 90
    rows = np.stack([measure(image) for image in images])
    limits = HealthLimits.from_table(health_table(rows, np.array([(48, 32)] * 40), still=0.0))
    assert {'black', 'saturated', 'blank', 'exposure'}.isdisjoint(limits.limits)
    assert limits.passes('blank') == 'not made: training frames fill its range'
    assert limits.passes('missing').startswith('at most 0.5')
    made = dict(HealthMonitor(limits).look(images[0], Frame(images[0])).values)
    assert 'missing' in made
    assert 'blank' not in made
    again = limits.with_limits({'saturated': 0.9})
    assert again.passes('saturated') == 'at most 0.9'
    assert HealthMonitor(again).look(images[10], Frame(images[10])).is_blind
    one_side = replace(limits, limits={'exposure': (-20.0, 200.0)})
    assert one_side.passes('exposure') == 'at most 200 grey levels'


def test_limits_are_replaced_and_checks_left_out_by_name() -> None:
    limits = FIXED.with_limits({'black': 30.0, 'saturated': math.nan, 'noise': 4.0})
    assert limits.limits['black'] == (30.0, math.inf)
    assert limits.limits['noise'] == (-math.inf, 4.0)
    assert limits.limits['saturated'] == FIXED.limits['saturated']
    assert set(FIXED.without(['frozen', 'torn']).limits) == set(FIXED.limits) - {'frozen', 'torn'}
    assert (FIXED.passes('black'), FIXED.passes('frozen')) == (
        'at least 8 grey levels',
        'at most 2 s',
    )
    with pytest.raises(ParameterError, match=r"expected one of .*, got 'exposure'"):
        FIXED.with_limits({'exposure': 1.0})
    with pytest.raises(ParameterError, match=r"expected some of .*, got 'frost'"):
        FIXED.without(['frost'])
    with pytest.raises(ParameterError, match='at least 1, got 0'):
        HealthMonitor(FIXED, frames=0)


# in the monitor ---------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny')


def stream(kinds: str) -> Iterator[Frame]:
    """Yield frames: normal, strange, black, white."""
    for k, kind in enumerate(kinds):
        rgb = noise(k)
        if kind == 's':
            rgb = np.random.default_rng(k).integers(0, 50, rgb.shape, np.uint8)
            rgb[..., 0] += 200
        elif kind in 'bw':
            rgb[:] = 255 * (kind == 'w')
        yield Frame(rgb, 50.0 + k / 10)


def run(bundle: Bundle, kinds: str, **options: Any) -> list[Observation]:
    monitor = Monitor.from_bundle(bundle, **options)
    return [monitor.observe(frame) for frame in stream(kinds)]


def test_blind_camera_is_a_fault_and_never_an_alert(bundle: Bundle) -> None:
    seen = run(bundle, 'nnnbbbbbbnnnn')
    states = [o.state for o in seen]
    assert states == [State.NORMAL] * 5 + [State.FAULT] * 6 + [State.NORMAL] * 2
    assert [k for k, o in enumerate(seen) if o.alert.changed] == [5, 11]
    assert seen[4].alert.reason == (
        'not judged: the picture is black: expected at least 8 grey levels, got 0'
    )
    assert seen[5].alert.reason.startswith('the picture is black')
    assert seen[9].alert.reason == 'the input was black until just now'
    assert seen[11].alert.reason == (
        'like the training data again, after: the input was black until just now'
    )
    assert all(math.isfinite(o.raw_score) for o in seen), 'they are scored all the same'
    assert any(o.raw_score > o.threshold for o in seen[3:9])


def test_the_same_frames_are_an_alert_where_nobody_looks_at_their_health(bundle: Bundle) -> None:
    seen = run(bundle, 'nnnbbbbbbnnnn', health=False)
    assert State.ALERT in [o.state for o in seen]
    assert {o.health for o in seen} == {None}


def test_one_broken_frame_neither_raises_nor_ends_nor_interrupts_an_alert(bundle: Bundle) -> None:
    states = [o.state for o in run(bundle, 'nsswsbsswwsnnnnbnn')]
    assert states == (
        [State.NORMAL] + [State.SUSPECT] * 3 + [State.ALERT] * 12 + [State.NORMAL] * 2
    )


def test_two_replays_agree_in_health_and_a_reset_forgets_it(bundle: Bundle) -> None:
    kinds = 'bbbnnnwwwwnnnsssnnn'
    monitor = Monitor.from_bundle(bundle)
    first = [monitor.observe(frame) for frame in stream(kinds)]
    assert first == run(bundle, kinds)
    assert first[0].state is State.FAULT, 'nothing spoke for the camera yet'
    monitor.reset()
    assert [monitor.observe(frame) for frame in stream(kinds)] == first


def test_cameras_share_no_health(bundle: Bundle) -> None:
    left = Monitor.from_bundle(bundle)
    logic = Monitor.from_bundle(bundle).alert
    right = left.another(logic)
    for frame in stream('bbb'):
        assert left.observe(frame).state is State.FAULT
    (normal,) = stream('n')
    assert right.observe(normal).state is State.NORMAL


def test_mild_faults_are_told_and_judged(bundle: Bundle) -> None:
    monitor = Monitor.from_bundle(bundle)
    frames = list(stream('nnnnnn'))
    seen = [
        monitor.observe(replace(f, encoding='rgb8' if k < 3 else 'bgr8'))
        for k, f in enumerate(frames)
    ]
    assert [str(o.health) for o in seen] == ['ok'] * 3 + ['encoding'] * 3
    assert {o.state for o in seen} == {State.NORMAL}


def test_the_reason_of_a_fault_names_what_blinds_alone(bundle: Bundle) -> None:
    monitor = Monitor.from_bundle(bundle)
    seen = [
        monitor.observe(replace(f, encoding='rgb8' if k < 3 else 'bgr8'))
        for k, f in enumerate(stream('nnnbbbnn'))
    ]
    assert seen[-1].health is not None
    assert seen[-1].health.lasting == ('black', 'encoding')
    assert seen[-1].alert.reason == 'the input was black until just now'
    assert [o.alert.since for o in seen[5:]] == [seen[5].stamp] * 3


def test_a_monitor_takes_its_limits_from_the_bundle_and_the_fixed_ones_without_a_table(
    bundle: Bundle,
) -> None:
    shipped = Bundle.load(Path(__file__).resolve().parents[2] / 'models/lunar_orbit')
    assert shipped.manifest.health is not None
    low, high = shipped.manifest.health['exposure'][1:4:2]  # 98 % of the frames
    more = (high - low) / 2.0
    limits = Monitor.from_bundle(shipped).health_limits.limits
    assert limits['exposure'] == pytest.approx((low - more, high + more))
    assert bundle.manifest.health is None
    limits = dict(Monitor.from_bundle(bundle).health_limits.limits)
    limits.pop('rate', None)
    assert limits == FIXED.limits
