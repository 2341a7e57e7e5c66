"""Calibration: conformal ranks, refusals, monotone scores, exact round trip."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from itertools import pairwise
import math

import numpy as np
import pytest

from ros_ood_monitor.calibration import (
    Calibration,
    conformal_threshold,
    frames_needed,
    MapCalibration,
    OperatingPoint,
)
from ros_ood_monitor.calibration.conformal import check_support
from ros_ood_monitor.errors import CalibrationError


@pytest.mark.parametrize(
    ('alpha', 'needed'),
    [(0.01, 99), (0.05, 19), (0.1, 9), (0.5, 1), (0.001, 999), (0.03, 33)],
)
def test_frames_needed_is_the_smallest_count_with_a_valid_rank(alpha: float, needed: int) -> None:
    assert frames_needed(alpha) == needed


def test_threshold_is_the_conformal_order_statistic() -> None:
    scores = np.arange(1.0, 200.0)  # 1..199
    # ceil(200 * 0.99) = 198th smallest
    assert conformal_threshold(scores, 0.01) == 198.0
    assert conformal_threshold(scores[::-1], 0.05) == 190.0


def test_share_over_the_threshold_holds_on_average_over_many_draws() -> None:
    rng = np.random.default_rng(5)
    share = []
    for _ in range(2000):
        held_out = rng.normal(size=100)
        share.append(float(np.mean(rng.normal(size=500) > conformal_threshold(held_out, 0.05))))
    # exact expectation: 1 - 96/101 = 0.0495
    assert 0.046 < float(np.mean(share)) < 0.0505


def test_too_few_frames_are_refused_with_the_count_that_is_needed() -> None:
    with pytest.raises(CalibrationError, match=r'expected at least 99, got 98.*at least 0\.011$'):
        Calibration.fit(np.zeros(98), alpha=0.01)


@pytest.mark.parametrize('alpha', [0.0, 1.0, -0.1, 2.0])
def test_alpha_outside_its_range_is_refused(alpha: float) -> None:
    with pytest.raises(CalibrationError, match='alpha must lie in'):
        frames_needed(alpha)


def test_an_alpha_that_a_refusal_names_is_supported() -> None:
    for n in range(1, 2000):
        with pytest.raises(CalibrationError) as refused:
            check_support(n, 1e-6)
        named = float(str(refused.value).rsplit(' ', 1)[1])
        check_support(n, named)
        assert named < 1.2 / (n + 1)


def test_scores_that_are_not_finite_are_refused() -> None:
    scores = np.zeros(200)
    scores[7] = math.nan
    with pytest.raises(CalibrationError, match='got 1 of 200'):
        Calibration.fit(scores)


def test_score_is_the_share_of_held_out_frames_that_look_more_normal() -> None:
    calibration = Calibration.fit(np.arange(100.0), alpha=0.01)
    assert calibration.score(-1.0) == 0.0
    assert calibration.score(0.0) == 0.0
    assert calibration.score(50.0) == 0.5
    assert calibration.score(1e9) == 1.0
    odd = np.array([np.nan, np.inf, -np.inf, 50.0])
    np.testing.assert_array_equal(calibration.score(odd), [np.nan, np.nan, np.nan, 0.5])


def test_score_never_falls_while_raw_score_rises() -> None:
    rng = np.random.default_rng(2)
    calibration = Calibration.fit(rng.normal(size=300))
    grid = np.sort(rng.normal(scale=3.0, size=1000))
    scores = [calibration.score(value) for value in grid]
    np.testing.assert_array_equal(calibration.score(grid), scores)
    assert all(a <= b for a, b in pairwise(scores))


def test_release_threshold_is_at_most_the_trigger_threshold() -> None:
    point = Calibration.fit(np.random.default_rng(3).normal(size=500), alpha=0.02).operating_point
    assert point.release < point.trigger
    assert point.rate_established is False


def test_bytes_round_trip_exactly_and_are_deterministic() -> None:
    calibration = Calibration.fit(np.random.default_rng(1).normal(size=150), frame_rate_hz=10.0)
    content = calibration.to_bytes()
    again = Calibration.from_bytes(content)
    assert np.array_equal(again.raw_score, calibration.raw_score)
    assert again.operating_point == calibration.operating_point
    assert again.to_bytes() == content


def test_map_calibration_bounds_the_highest_cell_of_a_share_of_frames() -> None:
    rng = np.random.default_rng(4)
    maps = rng.normal(size=(400, 5, 6)).astype(np.float32)
    fitted = Calibration.fit(rng.normal(size=400), alpha=0.05, patch_score=maps)
    assert fitted.map is not None
    assert fitted.map.normal == pytest.approx(0.0, abs=0.05)
    new = rng.normal(size=(4000, 30)).max(axis=1)
    assert np.mean(new > fitted.map.threshold) == pytest.approx(0.05, abs=0.03)
    assert Calibration.from_bytes(fitted.to_bytes()).map == fitted.map
    assert Calibration.from_bytes(Calibration.fit(np.arange(200.0)).to_bytes()).map is None


def test_map_of_a_scene_without_any_change_still_has_a_scale() -> None:
    still = MapCalibration.fit(np.zeros((200, 1, 1), np.float32))
    assert still.normal < still.threshold < 0.01


def test_map_calibration_refuses_contradictions() -> None:
    with pytest.raises(CalibrationError, match='over what is normal'):
        MapCalibration(normal=1.0, threshold=1.0, alpha=0.01)
    with pytest.raises(CalibrationError, match='must be finite'):
        MapCalibration(normal=0.0, threshold=math.inf, alpha=0.01)
    with pytest.raises(CalibrationError, match=r'finite \(n, gh, gw\)'):
        MapCalibration.fit(np.full((200, 2, 2), np.nan, np.float32))


def test_damaged_calibrations_are_refused() -> None:
    good = Calibration.fit(np.arange(200.0))
    for content in (good.to_bytes()[:100], b''):
        with pytest.raises(CalibrationError, match='not readable'):
            Calibration.from_bytes(content)
    unsorted = dataclasses.replace(good, raw_score=good.raw_score[::-1])
    with pytest.raises(CalibrationError, match='must ascend'):
        Calibration.from_bytes(unsorted.to_bytes())
    rng = np.random.default_rng(0)
    for _ in range(500):
        content = bytearray(good.to_bytes())
        for place in rng.integers(0, len(content), 3):
            content[place] = rng.integers(256)
        with contextlib.suppress(CalibrationError):  # anything else is none that is promised
            Calibration.from_bytes(bytes(content))


@pytest.mark.parametrize(
    'change',
    [
        {'trigger': 'much'},
        {'trigger_frames': 2.5},
        {'alpha': 'x'},
        {'rate_established': 'no'},
        {'logic': 3},
        {'release': [1.0, 2.0]},
        {'raw_score': ['a']},
        {'map_normal': 'low', 'map_threshold': 1.0, 'map_alpha': 0.1},
    ],
)
def test_values_of_another_kind_are_refused(change: dict[str, object]) -> None:
    with np.load(io.BytesIO(Calibration.fit(np.arange(200.0)).to_bytes())) as archive:
        arrays = {**archive, **{name: np.asarray(value) for name, value in change.items()}}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with pytest.raises(CalibrationError, match='not readable'):
        Calibration.from_bytes(buffer.getvalue())


def test_operating_point_refuses_contradictions() -> None:
    with pytest.raises(CalibrationError, match='at most the trigger'):
        OperatingPoint(trigger=1.0, release=2.0)
    with pytest.raises(CalibrationError, match='finite'):
        OperatingPoint(trigger=math.nan, release=0.0)
    with pytest.raises(CalibrationError, match='at least 1'):
        OperatingPoint(trigger=1.0, release=0.0, trigger_frames=0)
    with pytest.raises(CalibrationError, match='settings of the alert logic'):
        OperatingPoint(trigger=1.0, release=0.0, settings={'limit': math.inf})
    with pytest.raises(CalibrationError, match='refractory'):
        OperatingPoint(trigger=1.0, release=0.0, refractory=-1.0)


def test_the_logic_and_its_settings_survive_storing() -> None:
    point = OperatingPoint(
        3.0,
        2.0,
        frame_rate_hz=10.0,
        logic='ewma',
        settings={'limit': 2.5, 'time_constant': 0.5},
        refractory=10.0,
    )
    stored = Calibration(np.arange(3.0), point).to_bytes()
    assert Calibration.from_bytes(stored).operating_point == point
    assert Calibration(np.arange(3.0), point).to_bytes() == stored


def test_a_calibration_from_before_there_were_logics_is_consecutive() -> None:
    content = Calibration.fit(np.arange(200.0), frame_rate_hz=10.0).to_bytes()
    with np.load(io.BytesIO(content)) as archive:
        old = {n: archive[n] for n in archive if n not in ('logic', 'settings', 'refractory')}
    buffer = io.BytesIO()
    np.savez(buffer, **old)
    point = Calibration.from_bytes(buffer.getvalue()).operating_point
    assert (point.logic, point.settings, point.refractory) == ('consecutive', {}, 0.0)
    assert point == Calibration.from_bytes(content).operating_point


def test_the_limit_is_the_trigger_of_consecutive_and_a_setting_of_the_others() -> None:
    lower = OperatingPoint(3.0, 2.0).at_limit(1.5)
    assert (lower.trigger, lower.release, lower.limit) == (1.5, 1.5, 1.5)
    other = OperatingPoint(3.0, 2.0, logic='cusum', settings={'reference': 0.5}).at_limit(1.5)
    assert (other.trigger, other.settings) == (3.0, {'reference': 0.5, 'limit': 1.5})
    assert other.limit == 1.5
    assert math.isnan(OperatingPoint(3.0, 2.0, logic='cusum').limit)


@pytest.mark.parametrize('text', ['{', '[1]', '{"limit": "much"}', '{"limit": null}'])
def test_damaged_settings_are_refused(text: str) -> None:
    content = Calibration.fit(np.arange(200.0)).to_bytes()
    with np.load(io.BytesIO(content)) as archive:
        arrays = {**archive, 'settings': np.asarray(text)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with pytest.raises(CalibrationError, match='not readable'):
        Calibration.from_bytes(buffer.getvalue())


def test_p_values_flag_what_is_over_the_conformal_threshold() -> None:
    scores = np.random.default_rng(1).normal(size=199)
    calibration = Calibration.fit(scores, alpha=0.05)
    trigger = calibration.operating_point.trigger
    assert calibration.p_value(trigger + 1e-9, alpha=0.05) <= 0.05 < calibration.p_value(trigger)
    assert calibration.p_value(math.inf) == 1 / 200
    assert calibration.p_value(-math.inf) == 1.0
    with pytest.raises(CalibrationError, match='expected at least 999, got 199'):
        calibration.p_value(0.0, alpha=0.001)
