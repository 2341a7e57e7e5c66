"""The parts of the node that need no ROS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
import math
from pathlib import Path
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.decode import decode_compressed
from ros_ood_monitor.errors import DecodeError, ParameterError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import AlertState, Frame, Observation
from ros_ood_monitor.ros.camera.counts import StreamCounts
from ros_ood_monitor.ros.camera.rate_limit import RateLimit
from ros_ood_monitor.ros.camera.slot import LatestSlots
from ros_ood_monitor.ros.camera.stream import CameraStream
from ros_ood_monitor.ros.parameters.given import unknown_names, widen
from ros_ood_monitor.ros.parameters.rendered import to_markdown, to_yaml
from ros_ood_monitor.ros.parameters.settings import Settings
from ros_ood_monitor.ros.parameters.table import PARAMETERS
from ros_ood_monitor.ros.process.reason_throttle import ReasonThrottle
from ros_ood_monitor.ros.process.reporter import Reporter
from ros_ood_monitor.share import share_path

ROOT = Path(__file__).resolve().parents[2]


def _flatten(node: object, prefix: str = '') -> dict[str, object]:
    if not isinstance(node, dict):
        return {prefix: node}
    return {
        name: value
        for key, child in node.items()
        for name, value in _flatten(child, f'{prefix}.{key}'.strip('.')).items()
    }


def test_parameter_file_in_config_is_the_rendered_table() -> None:
    assert (ROOT / 'config' / 'monitor.param.yaml').read_text(encoding='utf-8') == to_yaml()


def test_rendered_file_holds_every_default_and_nothing_else() -> None:
    tree = yaml.safe_load(to_yaml())['/**']['ros__parameters']
    read = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in _flatten(tree).items()
    }
    assert repr(read) == repr({spec.name: spec.default for spec in PARAMETERS})


def test_rendered_lines_fit_and_every_parameter_is_commented() -> None:
    lines = to_yaml().splitlines()
    assert max(map(len, lines)) <= 99
    for spec in PARAMETERS:
        leaf = spec.name.rsplit('.', 1)[-1]
        at = next(k for k, line in enumerate(lines) if line.strip().startswith(f'{leaf}:'))
        assert lines[at - 1].lstrip().startswith('#')


def test_markdown_has_a_row_with_six_cells_for_every_parameter() -> None:
    rows = to_markdown().splitlines()[2:]
    assert [row.split('`')[1] for row in rows] == [spec.name for spec in PARAMETERS]
    assert {row.replace('\\|', '').count('|') for row in rows} == {7}


def test_settings_have_a_field_for_every_parameter() -> None:
    names = [spec.name.replace('.', '_') for spec in PARAMETERS]
    assert [field.name for field in fields(Settings)] == names


def test_settings_refuse_an_unknown_name() -> None:
    with pytest.raises(ParameterError, match="unknown setting 'alert_triger'"):
        Settings.defaults(alert_triger=1.0)


def test_a_bool_is_no_integer() -> None:
    with pytest.raises(ParameterError, match='wrong type: expected integer'):
        Settings.defaults(model_threads=True)


@pytest.mark.parametrize(
    ('given', 'meant'),
    [
        ('modle.bundle', 'model.bundle'),
        ('threads', 'model.threads'),
        ('wheel_radius', ''),
    ],
)
def test_unknown_name_comes_with_the_nearest_parameter(given: str, meant: str) -> None:
    found = unknown_names(['model.bundle', given])
    assert found == {given: meant}


def test_only_whole_numbers_given_for_doubles_are_widened() -> None:
    given = {'alert.trigger': 5, 'model.threads': 2, 'alert.release': True, 'alert.stale_after': 1}
    assert widen(given) == {'alert.trigger': 5.0, 'alert.stale_after': 1.0}


def test_one_string_is_taken_for_an_array_of_it_and_an_empty_sequence_for_no_names() -> None:
    given = {'input.topics': '/front/image', 'input.cameras': None, 'model.bundle': 'x'}
    assert widen(given) == {'input.topics': ('/front/image',), 'input.cameras': ('',)}


def _take(slots: LatestSlots[int], max_wait: float = math.inf) -> tuple[int, int, bool] | None:
    taken = slots.take(0.0, max_wait)
    return None if taken is None else (taken.slot, taken.item, taken.is_late)


def test_slot_keeps_the_newest_and_says_what_it_replaced() -> None:
    slots: LatestSlots[int] = LatestSlots()
    assert [slots.put(k) for k in range(3)] == [False, True, True]
    assert _take(slots) == (0, 2, False)
    assert _take(slots) is None
    assert slots.put(3) is False


def test_slots_take_turns_and_an_empty_one_costs_nothing() -> None:
    slots: LatestSlots[int] = LatestSlots(3)
    order = []
    for turn in range(9):
        for slot in (0, 2) if turn < 6 else (0, 1, 2):  # always full, but the one in between
            slots.put(turn, slot)
        taken = slots.take(0.0)
        assert taken is not None
        order.append(taken.slot)
    assert order == [0, 2, 0, 2, 0, 2, 1, 0, 2]


def test_several_slots_are_taken_at_once_in_their_turn_and_the_rest_comes_first_next_time() -> (
    None
):
    now = [0.0]
    slots: LatestSlots[int] = LatestSlots(4, clock=lambda: now[0])

    def taken(most: int) -> list[tuple[int, bool]]:
        return [(each.slot, each.is_late) for each in slots.take_together(most, 0.0, 1.0)]

    assert taken(3) == []
    slots.put(0, 1)
    assert taken(3) == [(1, False)], 'nobody is waited for'
    for slot in range(4):
        slots.put(0, slot)
    assert taken(3) == [(0, False), (2, False), (3, False)]
    for slot in range(4):
        slots.put(0, slot)
    assert taken(2) == [(1, False), (0, False)]
    now[0] = 2.0
    slots.put(0, 0)
    assert taken(1) == [(2, True), (3, True), (0, False)], 'late ones count as none'
    for slot in range(4):
        slots.put(0, slot)
    assert taken(4) == [(2, False), (3, False), (1, False), (0, False)], 'late: no turn was had'
    slots.put(0)
    slots.close()
    assert taken(4) == []


def test_item_that_waited_for_too_long_is_late_and_costs_its_slot_no_turn() -> None:
    now = [0.0]
    slots: LatestSlots[int] = LatestSlots(3, clock=lambda: now[0])
    scored: list[int] = []
    for _ in range(30):
        for slot in range(3):  # three cameras at one moment, and an engine that manages two
            slots.put(0, slot)
        for _ in range(3):
            taken = _take(slots, 1.0)
            assert taken is not None
            if not taken[2]:
                scored.append(taken[0])
                now[0] += 0.6
    assert [scored.count(slot) for slot in range(3)] == [20, 20, 20]


def test_closing_the_slots_wakes_the_taker_and_drops_what_is_in_them() -> None:
    slots: LatestSlots[int] = LatestSlots(2)
    taken: list[object] = []
    taker = threading.Thread(target=lambda: taken.append(slots.take(30.0)))
    taker.start()
    slots.close()
    taker.join(10.0)
    assert taken == [None]
    slots.put(1, 1)
    assert _take(slots) is None
    assert not slots.is_open


def test_a_reason_is_logged_once_a_period_and_a_new_one_at_once() -> None:
    throttle = ReasonThrottle(5.0)
    assert throttle.accepts('truncated: 17 bytes', 100.0)
    assert not throttle.accepts('truncated: 99 bytes', 101.0)
    assert throttle.accepts('unknown encoding', 101.0)
    assert throttle.accepts('truncated: 99 bytes', 105.0)
    assert not throttle.accepts('unknown encoding', 105.0)


def test_random_bytes_are_one_reason_and_reasons_without_end_few_lines() -> None:
    rng = np.random.default_rng(0)
    throttle = ReasonThrottle(5.0)
    lines = 0
    for k in range(300):  # 10 s at 30 Hz
        with pytest.raises(DecodeError) as refusal:
            decode_compressed(rng.bytes(4000), format='jpeg')
        lines += throttle.accepts(str(refusal.value), k / 30.0)
    assert lines == 2
    throttle = ReasonThrottle(5.0)
    words = [''.join(chr(97 + c) for c in rng.integers(0, 26, 12)) for _ in range(300)]
    assert sum(throttle.accepts(f'format {words[k]!r}', k / 30.0) for k in range(300)) == 20


def test_reasons_without_end_take_memory_with_an_end() -> None:
    throttle = ReasonThrottle(5.0)
    assert all(throttle.accepts('x' * k, float(k)) for k in range(500))
    assert len(throttle._logged) < 100


def test_reporter_goes_on_after_a_failure_and_ends_in_order() -> None:
    calls: list[int] = []
    errors: list[Exception] = []
    enough = threading.Event()

    def report() -> None:
        calls.append(1)
        if len(calls) == 1:
            msg = 'once'
            raise RuntimeError(msg)
        enough.set()

    reporter = Reporter(report, period=0.001, on_error=errors.append)
    assert enough.wait(60.0)
    assert reporter.stop()
    assert [str(error) for error in errors] == ['once']
    count = len(calls)
    assert not reporter._thread.is_alive()
    assert len(calls) == count


def test_rate_limit_keeps_the_mean_rate_for_jittering_frames() -> None:
    limit = RateLimit(10.0)
    jitter = [0.0, 0.001, -0.001]
    times = [100.0 + k / 30 + jitter[k % 3] for k in range(301)]
    accepted = sum(limit.accepts(time) for time in times)
    assert 97 <= accepted <= 101  # 10 s at 10 Hz


def test_rate_limit_lets_no_burst_through_after_a_pause() -> None:
    limit = RateLimit(1.0)
    assert limit.accepts(0.0)
    assert [limit.accepts(time) for time in (100.0, 100.1, 100.2)] == [True, False, False]


def test_rate_limit_goes_on_where_its_clock_stands_or_runs_back() -> None:
    limit = RateLimit(8.0)
    times = (5.0, 5.0, 5.0, 5.125, 1.0, 1.0, 1.125)
    assert [limit.accepts(time) for time in times] == [True, False, False, True, True, False, True]


def test_no_rate_limit_accepts_everything() -> None:
    limit = RateLimit(0.0)
    assert all(limit.accepts(0.0) for _ in range(5))


def test_counts_give_the_rate_since_the_last_look() -> None:
    counts = StreamCounts(now=10.0)
    for _ in range(30):
        counts.on_received()
        counts.on_scored(latency_ms=math.nan, processing_ms=4.0)
    first = counts.snapshot(11.0)
    second = counts.snapshot(12.0)
    assert (first.rate_hz, second.rate_hz) == (30.0, 0.0)
    assert first.processing_ms == (4.0, 4.0)
    assert all(math.isnan(value) for value in first.latency_ms)


def test_gaps_in_the_publishers_numbering_are_missed_frames() -> None:
    counts = StreamCounts(now=0.0)
    for number in (5, 6, 9, 10):  # 7 and 8 never came
        counts.on_number(number)
    for number in (1, 2, 4):  # the publisher was started anew; 3 never came
        counts.on_number(number)
    for number in (None, 7, 5000):  # not told; another publisher
        counts.on_number(number)
    assert counts.snapshot(1.0).missed == 3


def test_numbers_of_several_publishers_have_no_gaps() -> None:
    heard = [1]
    counts = StreamCounts(now=0.0, publishers=lambda: heard[0])
    for number in range(1, 61):
        counts.on_number(number)
    heard[0] = 2
    for k in range(60):  # the second one starts at 1
        counts.on_number(61 + k)
        counts.on_number(1 + k)
    assert counts.snapshot(1.0).missed == 0
    heard[0] = 1
    for number in (121, 122, 124):  # from 60, the other one's, to 121 is no gap either
        counts.on_number(number)
    assert counts.snapshot(1.0).missed == 1


def test_gap_is_counted_again_once_a_publisher_that_came_anew_is_alone() -> None:
    heard = [1]
    counts = StreamCounts(now=0.0, publishers=lambda: heard[0])
    for number in range(50, 60):
        counts.on_number(number)
    heard[0] = 2  # the driver came back, and its old self is still known
    counts.on_number(1)
    heard[0] = 1
    for number in range(2, 13):
        counts.on_number(number)
    counts.on_number(33)
    assert counts.snapshot(1.0).missed == 20


def test_received_frames_are_scored_dropped_skipped_late_or_bad() -> None:
    counts = StreamCounts(now=0.0)
    counts.on_received()
    counts.on_received(dropped=True)
    counts.on_received(skipped=True)
    counts.on_received()
    counts.on_scored(1.0, 1.0)
    counts.on_bad('truncated')
    counts.on_received()
    counts.on_late()
    seen = counts.snapshot(1.0)
    assert seen.late == 1
    assert seen.received == seen.scored + seen.dropped + seen.skipped + seen.late + seen.bad
    assert seen.last_bad == 'truncated'


def test_shipped_files_are_found_and_missing_ones_named_with_where_they_were_sought() -> None:
    assert share_path('config', 'monitor.param.yaml').is_file()
    with pytest.raises(FileNotFoundError, match="'models/no-such' not found: expected it in"):
        share_path('models', 'no-such')


def test_times_of_today_keep_what_a_float_holds() -> None:
    from ros_ood_monitor.ros.messages.converters import time_of

    for seconds in (1_800_000_020.1, 1_763_774_400.123456, 0.25, -1.0):
        time = time_of(seconds)
        assert time.sec + time.nanosec / 1e9 == max(seconds, 0.0)


class _Outputs:
    """Keeps what is told; ``meanwhile`` is what happens while an observation is published."""

    def __init__(self, meanwhile: Callable[[], Any] = lambda: None) -> None:
        self.told: list[AlertState] = []
        self._meanwhile = meanwhile

    def publish_observation(self, header: Any, observation: Observation) -> float:
        self._meanwhile()
        return 0.0

    def publish_alert(
        self, alert: AlertState, *, header: Any = None, silent_for: float = 0.0
    ) -> bool:
        self.told.append(alert)
        return True


def _stream(bundle: Path, outputs: _Outputs, now: list[float], rate_hz: float) -> CameraStream:
    return CameraStream(
        Monitor.from_bundle(Bundle.load(bundle)),
        decode=lambda message, arrived: Frame(message.rgb, stamp=message.stamp),
        outputs=outputs,
        counts=StreamCounts(0.0),
        limit=RateLimit(rate_hz),
        on_bad_frame=pytest.fail,
        clock=lambda: now[0],
    )


def _message(stamp: float) -> SimpleNamespace:
    rgb = np.random.default_rng(int(stamp)).integers(100, 156, (60, 80, 3)).astype(np.uint8)
    return SimpleNamespace(rgb=rgb, stamp=stamp, header=None)


def test_a_frame_that_came_before_the_one_in_work_was_decoded_still_waits(
    tiny_bundle: Path,
) -> None:
    """Else an engine that hangs on it were a camera that is silent."""
    now, outputs = [100.0], _Outputs()
    stream = _stream(tiny_bundle, outputs, now, 0.0)
    slots: LatestSlots[Any] = LatestSlots()

    def comes(stamp: float) -> None:
        assert stream.accepts({})
        slots.put(_message(stamp))

    def decoded() -> tuple[Any, Frame]:
        (taken,) = slots.take_together(1, 0.0)
        if taken.item.stamp == 1.0:
            comes(2.0)  # just now
        stream.take(taken.number)
        frame = stream.decode(taken.item, 0.0)
        assert frame is not None
        return taken.item, frame

    comes(1.0)
    message, frame = decoded()
    stream.publish(message, frame, stream.monitor.observe(frame))
    decoded()  # and the engine does not come back from it
    now[0] += 5.0
    assert stream.report_hang(1.0, 'no answer') == 'FAULT: 5.00 s without a score: no answer'
    assert [alert.state.value for alert in outputs.told] == ['FAULT']
    stream.monitor.close()


def test_a_frame_that_is_left_out_while_the_one_before_is_published_counts_in_the_silence(
    tiny_bundle: Path,
) -> None:
    now: list[float] = [100.0]
    outputs = _Outputs(meanwhile=lambda: stream.accepts({}))
    stream = _stream(tiny_bundle, outputs, now, 1.0)
    assert stream.accepts({})
    stream.take(1)
    message = _message(1.0)
    frame = stream.decode(message, 0.0)
    assert frame is not None
    stream.publish(message, frame, stream.monitor.observe(frame))
    now[0] += 5.0
    stream.look_at_clock()
    assert [alert.reason for alert in outputs.told] == [
        '5.00 s without a score; input.max_rate_hz left out 1 frame in it'
    ]
    stream.monitor.close()
