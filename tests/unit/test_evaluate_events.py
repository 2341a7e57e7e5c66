"""Events and alerts by their definitions, on made-up streams where every answer is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
import math
from pathlib import Path

import numpy as np
import pytest

from ros_ood_monitor.errors import BagError
from ros_ood_monitor.evaluation.bags.event_figures import event_figures, Times
from ros_ood_monitor.evaluation.bags.judged import judge, JudgedBag
from ros_ood_monitor.evaluation.bags.labels import ALL_OOD, Label
from ros_ood_monitor.evaluation.bags.rows import choose_bootstrap, Rows
from ros_ood_monitor.evaluation.bags.scored import Facts, ScoredBag, STATES
from ros_ood_monitor.evaluation.bags.table import Bootstrap, Table
from ros_ood_monitor.rates import upper_rate
from ros_ood_monitor.records import State

HERE = Path('bag')
BOOTSTRAP = Bootstrap(1, 1.0, 0, 50)
LETTERS = {
    '.': State.NORMAL,
    's': State.SUSPECT,
    'A': State.ALERT,
    'N': State.ALERT,
    'F': State.FAULT,
}


def scored(
    *cameras: str,
    stamps: Sequence[float] | None = None,
    delay: float = 0.5,
    score: Iterable[float] | None = None,
) -> ScoredBag:
    """
    Make a bag with a frame a second, from 100 s on, of each camera.

    A letter a frame: ``.`` NORMAL, ``s`` SUSPECT, ``A`` ALERT, ``N`` a new ALERT, ``F`` FAULT.
    """
    frames = [(k, c, letter) for c, text in enumerate(cameras) for k, letter in enumerate(text)]
    frames.sort()
    times = np.array([100.0 + k if stamps is None else stamps[k] for k, _, _ in frames])
    before = dict.fromkeys(range(len(cameras)), '.')
    changed = []
    for _, c, letter in frames:
        changed.append(letter == 'N' or LETTERS[letter] is not LETTERS[before[c]])
        before[c] = letter
    state = np.array([STATES.index(LETTERS[letter]) for *_, letter in frames], np.uint8)
    made = state == STATES.index(State.ALERT)
    raw_score = made.astype(float) if score is None else np.array(list(score), float)
    names = tuple(f'cam{c}' for c in range(len(cameras)))
    facts = Facts(
        tuple(f'/{name}/image_raw' for name in names),
        names,
        0.5,
        2.0,
        100.0,
        {},
        {},
        0,
        (),
        0,
        1.0,
    )
    return ScoredBag(
        facts,
        stamp=times,
        log_time=100.0 + np.array([k for k, _, _ in frames]) + delay,
        raw_score=raw_score,
        peak=np.where(state > 0, raw_score, np.nan),
        latency_ms=np.ones(len(frames), np.float32),
        camera=np.array([c for _, c, _ in frames], np.uint16),
        state=state,
        changed=np.array(changed),
        judged=np.ones(len(frames), np.bool_),
    )


def judged(
    bag: ScoredBag, *labels: Label, margin: float = 0.0, refractory: float = 0.0
) -> JudgedBag:
    return judge('bag', HERE, bag, labels, margin=margin, refractory=refractory)


def test_an_event_is_found_at_its_first_frame_in_alert_and_cleared_at_the_first_one_out() -> None:
    bag = judged(scored('..........ssAAAAAA....'), Label(110.0, 116.0, 'fog'))
    (event,) = bag.events
    assert (event.found, event.was_on, event.frames) == (True, False, 6)
    assert (event.time_to_alert, event.time_to_clear) == (2.0, 2.0)
    assert event.in_alert == pytest.approx(4 / 6)
    (alert,) = bag.alerts
    assert not alert.is_false
    assert bag.label.tolist() == [0] * 10 + [1] * 6 + [0] * 6


def test_an_event_without_a_frame_in_alert_is_missed_and_an_alert_elsewhere_false() -> None:
    bag = judged(scored('..AA......ssss........'), Label(110.0, 114.0))
    (event,) = bag.events
    assert not event.found
    assert math.isnan(event.time_to_alert)
    assert math.isnan(event.time_to_clear)
    assert [alert.is_false for alert in bag.alerts] == [True]
    assert np.flatnonzero(bag.false_start).tolist() == [2]


def test_one_alert_over_two_events_finds_the_first_and_clears_the_last() -> None:
    bag = judged(scored('.....AAAAAAAAAA...'), Label(104.0, 108.0, 'a'), Label(111.0, 114.0, 'b'))
    first, second = bag.events
    assert (first.time_to_alert, first.was_on) == (1.0, False)
    assert (second.found, second.was_on) == (False, True)
    assert math.isnan(second.time_to_alert)
    assert math.isnan(first.time_to_clear)
    assert first.outlasts
    assert second.time_to_clear == 1.0
    assert [alert.is_false for alert in bag.alerts] == [False]


def test_an_alert_over_labels_without_normal_time_between_them_finds_them_all() -> None:
    labels = Label(104.0, 108.0, 'a'), Label(107.0, 110.0, 'b'), Label(112.0, 114.0, 'c')
    bag = judged(scored('.....AAAAAAAAAA...'), *labels, margin=1.0)
    a, b, c = bag.events
    assert (a.found, b.found, c.found) == (True, True, True)
    assert a.time_to_alert == 1.0
    # the alert began before they could raise one
    assert math.isnan(b.time_to_alert)
    assert math.isnan(c.time_to_alert)
    early = judged(scored('...AAAAAA.....'), Label(104.0, 108.0), margin=1.0)
    assert (early.events[0].found, early.events[0].time_to_alert) == (True, 0.0)
    again = judged(scored('..AAAAANAA....'), Label(105.0, 110.0))
    assert (again.events[0].found, again.events[0].time_to_alert) == (True, 2.0)


def test_an_alert_that_was_on_before_is_false_and_finds_nothing() -> None:
    bag = judged(scored('....AAAAAAAAAA....'), Label(110.0, 113.0))
    (event,) = bag.events
    assert not event.found
    assert event.was_on
    assert [alert.is_false for alert in bag.alerts] == [True]
    figures = event_figures(bag.events, [bag], bootstrap=BOOTSTRAP)
    assert (figures.found, figures.was_on, figures.time_to_alert.count) == (0, 1, 0)
    assert (figures.found_share, figures.missed_in_fault) == (0.0, 0)
    assert figures.normal_time_in_alert == pytest.approx(7 / 15)


@pytest.mark.parametrize(('margin', 'false', 'found'), [(0.0, 2, False), (2.0, 0, True)])
def test_a_margin_forgives_labels_that_begin_late_or_end_early(
    margin: float, false: int, found: bool
) -> None:
    early = judged(scored('........AA......'), Label(110.0, 112.0), margin=margin)
    late = judged(scored('.............A..'), Label(110.0, 112.0), margin=margin)
    assert sum(alert.is_false for bag in (early, late) for alert in bag.alerts) == false
    assert late.events[0].found is found
    assert (early.label == -1).sum() == 2 * margin
    if found:
        assert late.events[0].time_to_alert == 3.0


def test_alerts_within_the_refractory_time_are_one() -> None:
    bag = scored('...AA..AA.......AA..')
    assert [len(judged(bag, refractory=r).alerts) for r in (0.0, 2.0, 10.0)] == [3, 2, 1]
    # the label's alert goes on after it: no false one
    label = Label(103.0, 105.0)
    assert [
        sum(a.is_false for a in judged(bag, label, refractory=r).alerts) for r in (0.0, 2.0)
    ] == [
        2,
        1,
    ]


def test_an_interruption_inside_of_an_event_ends_its_alert() -> None:
    # the stream stops for 10 s inside of the event, and the alert is raised anew
    stamps = [*range(100, 108), *range(118, 126)]
    bag = judged(scored('...AAAAA..sNAAA.', stamps=stamps), Label(103.0, 124.0))
    (event,) = bag.events
    assert (event.found, event.time_to_alert) == (True, 0.0)
    assert len(bag.alerts) == 2
    assert any('gaps longer than 2 s: 1, the longest 11.000 s' in one for one in bag.problems)
    # two seconds before the event, one after it
    assert bag.hours['cam0'] == pytest.approx(3 / 3600)


@pytest.mark.parametrize(('stream', 'clear'), [('...AAANA..', 0.0), ('...AAAFFAA', 2.0)])
def test_a_new_alert_right_behind_an_event_clears_the_old_one(stream: str, clear: float) -> None:
    bag = judged(scored(stream), Label(103.0, 106.0))
    assert bag.events[0].time_to_clear == clear
    assert [alert.is_false for alert in bag.alerts] == [False, True]


def test_fault_finds_nothing_clears_nothing_and_is_no_time_watched() -> None:
    bag = judged(scored('..FFFF....AAFF..'), Label(102.0, 106.0, 'dark'), Label(110.0, 112.0))
    dark, seen = bag.events
    assert (dark.found, dark.in_fault) == (False, 1.0)
    assert (seen.found, seen.time_to_clear) == (True, 2.0)
    figures = event_figures(bag.events, [bag], bootstrap=BOOTSTRAP)
    assert (figures.found, figures.missed_in_fault, figures.alerts) == (1, 1, 1)
    # one step before the first event, three between the two, one at the end
    assert bag.hours['cam0'] == pytest.approx(5 / 3600)


def test_an_event_without_frames_is_neither_found_nor_missed() -> None:
    stamps = [*range(100, 105), *range(120, 125)]
    bag = judged(scored('.....AA...', stamps=stamps), Label(108.0, 112.0), Label(120.0, 122.0))
    figures = event_figures(bag.events, [bag], bootstrap=BOOTSTRAP)
    assert (figures.events, figures.found, figures.without_frames) == (1, 1, 1)
    assert 'events without a frame: 1 of 2' in bag.problems


def test_a_label_of_no_camera_is_of_each_and_one_of_a_topic_of_that_one() -> None:
    bag = scored('..AA..', '......')
    both = judged(bag, Label(102.0, 104.0))
    assert [(e.camera, e.found) for e in both.events] == [('cam0', True), ('cam1', False)]
    for camera in ('cam1', '/cam1/image_raw', '/cam1/image_raw/compressed'):
        one = judged(bag, Label(102.0, 104.0, camera=camera))
        assert [(e.camera, e.found) for e in one.events] == [('cam1', False)]
        assert [a.is_false for a in one.alerts] == [True]
    with pytest.raises(BagError, match=r"expected one of cam0, cam1, /cam0.*got 'rear'"):
        judged(bag, Label(102.0, 104.0, camera='rear'))


def test_times_count_from_the_first_frame_or_from_the_log_where_they_say_so() -> None:
    bag = scored('..AA..')
    for label in (
        Label(2.0, 4.0, time='bag'),
        Label(102.0, 104.0),
        Label(102.5, 104.5, time='log'),
    ):
        found = judged(bag, label)
        assert found.label.tolist() == [0, 0, 1, 1, 0, 0]
        assert found.events[0].start == 102.0
        assert (found.events[0].time_to_alert, found.events[0].time_to_clear) == (0.0, 0.0)


def test_a_whole_bag_is_one_event_to_its_last_frame() -> None:
    (event,) = judged(scored('..AAAA'), *ALL_OOD).events
    assert (event.frames, event.start, event.end, event.time_to_alert) == (6, 100.0, 105.0, 2.0)
    assert event.outlasts
    assert event.kind == 'ood'


def test_labels_on_another_clock_are_refused_with_both_times() -> None:
    with pytest.raises(BagError, match=r"5\.000 to 9\.000 s on, frames of 100\.000.*'time: bag'"):
        judged(scored('....'), Label(5.0, 9.0))


def test_a_clock_that_was_set_back_is_refused_where_labels_count_on_it() -> None:
    stamps = [100, 101, 102, 50, 51, 52]
    bag = scored('...AA.', stamps=stamps)
    with pytest.raises(BagError, match=r"'cam0' step back \(times: 1, by up to 52\.000 s\)"):
        judged(bag, Label(50.0, 52.0))
    whole = judged(bag, Label(103.5, 105.5, time='log'))
    assert whole.label.tolist() == [0, 0, 0, 1, 1, 0]
    assert 'cam0: stamps step back (times: 1, by up to 52.000 s)' in whole.problems
    # two frames in the wrong order are told, and no clock that was set
    swapped = judged(scored('......', stamps=[100, 101, 103, 102.5, 104, 105]), Label(103, 105))
    assert 'cam0: stamps step back (times: 1, by up to 0.500 s)' in swapped.problems


def test_alerts_and_events_are_told_apart_where_the_same_stamps_come_twice() -> None:
    stamps = [*range(100, 110), *range(100, 110)]
    bag = judged(scored('..AA........AAA.....', stamps=stamps), Label(102.5, 104.5, time='log'))
    assert [(a.first, a.last, a.is_false) for a in bag.alerts] == [(2, 3, False), (12, 14, True)]
    assert [a.episode.start for a in bag.alerts] == [102.0, 102.0]
    assert np.flatnonzero(bag.false_start).tolist() == [12]
    # the clock is set back under an alert, and under a label
    across = judged(
        scored('........AAsNA.......', stamps=stamps), Label(108.5, 112.5, time='log'), margin=1.0
    )
    assert [(a.first, a.last, a.episode.duration) for a in across.alerts] == [
        (11, 12, 2.0),
        (8, 9, 1.0),
    ]
    (event,) = across.events
    assert (event.start, event.end, event.frames) == (108.0, 109.0, 4)
    assert event.rows == (8, 11, 12)


def test_rows_of_events_and_alerts_are_those_of_the_bag_not_of_the_camera() -> None:
    bag = judged(scored('......', '..AA..'), Label(102.0, 104.0, camera='cam1'), margin=1.0)
    assert bag.events[0].rows == (5, 7, 9)
    assert [(a.first, a.last) for a in bag.alerts] == [(5, 7)]


def test_a_label_of_a_camera_without_a_frame_is_an_event_without_one() -> None:
    made = scored('..AA..')
    silent = replace(made.facts, cameras=('cam0', 'cam1'), topics=('/cam0', '/cam1'))
    labels = Label(102.0, 104.0), Label(2.0, 4.0, 'fog', camera='cam1', time='bag')
    bag = judged(replace(made, facts=silent), *labels)
    assert [(e.camera, e.kind, e.start, e.frames) for e in bag.events] == [
        ('cam0', 'ood', 102.0, 2),
        ('cam1', 'fog', 102.0, 0),
    ]
    assert 'events without a frame: 1 of 2' in bag.problems
    figures = event_figures(bag.events, [bag], bootstrap=BOOTSTRAP)
    assert (figures.events, figures.found, figures.without_frames) == (1, 1, 1)
    # that camera's label does not make the other one's frames doubtful
    assert judged(replace(made, facts=silent), labels[1]).label.tolist() == [0] * 6


def test_a_false_alert_has_a_rate_and_a_bound_by_the_hours_watched() -> None:
    calm = '.' * 1801
    bag = judged(scored(calm[:100] + 'AA' + calm[102:], calm))
    assert bag.hours == {'cam0': 0.5, 'cam1': 0.5}
    figures = event_figures(bag.events, [bag], bootstrap=BOOTSTRAP)
    assert (figures.hours, figures.false_alerts, figures.false_alerts_per_hour) == (1.0, 1, 1.0)
    assert figures.false_alerts_per_hour_upper95 == upper_rate(1, 1.0)
    only = event_figures(bag.events, [bag], bootstrap=BOOTSTRAP, camera='cam1')
    assert (only.hours, only.false_alerts, only.alerts) == (0.5, 0, 0)
    assert only.found_share is None


def test_times_have_an_interval_from_two_events_on() -> None:
    assert Times.of([], seed=0, resamples=10) == Times(0)
    assert Times.of([2.0], seed=0, resamples=10) == Times(1, 2.0, 2.0, 2.0, None)
    times = Times.of([1.0, 2.0, 6.0], seed=0, resamples=200)
    assert (times.median, times.mean, times.longest) == (2.0, 3.0, 6.0)
    assert times.median_95 == (1.0, 6.0)


def test_rows_split_frames_by_kind_camera_and_bag() -> None:
    rng = np.random.default_rng(0)
    bags = []
    for name in ('one', 'two'):
        made = scored('.' * 40 + 'AAAA' + '.' * 20, '.' * 64, score=rng.normal(size=128))
        labels = [Label(140, 144, 'fog', 'cam0')]
        if name == 'two':
            labels.append(Label(150, 160, 'dust', 'cam1'))
        bags.append(judge(name, HERE, made, labels, margin=0.0, refractory=0.0))
    table = Table.of(bags)
    rows = Rows.of(bags, table, choose_bootstrap(bags, table, seed=0, resamples=20))
    known = rows.together.frames.id_frames
    assert (known, rows.together.frames.ood_frames) == (256 - 18, 18)
    kinds = {row.name: row for row in rows.kinds}
    assert {name: row.frames.ood_frames for name, row in kinds.items()} == {'dust': 10, 'fog': 8}
    assert {row.frames.id_frames for row in rows.kinds} == {known}
    assert {name: row.events.found for name, row in kinds.items()} == {'dust': 0, 'fog': 2}
    assert kinds['fog'].events.false_alerts is None
    assert [row.events.false_alerts for row in rows.cameras] == [0, 0]
    assert [row.frames.ood_frames for row in rows.cameras] == [8, 10]
    assert [row.frames.ood_frames for row in rows.bags] == [4, 14]
    assert sum(row.frames.id_frames for row in rows.bags) == known


def test_frames_that_were_not_judged_are_in_no_figure_of_frames() -> None:
    # dark frames with the highest scores: two before the event, one in it, one within its margin
    score = np.array([0, 0, 9, 9, 1, 0, 1, 9, 9, 3, 2, 2, 0, 0.5, 0, 1])
    made = scored('.' * 16, score=score)
    made = replace(made, judged=score < 9)
    bag = judged(made, Label(108.0, 112.0, 'fog'), margin=1.0)
    table = Table.of([bag])
    figures = Rows.of([bag], table, choose_bootstrap([bag], table, seed=0, resamples=20))
    frames = figures.together.frames
    assert (frames.id_frames, frames.ood_frames, frames.ignored_frames) == (8, 3, 2)
    assert (frames.not_judged_frames, frames.not_judged_ood_frames) == (3, 1)
    assert frames.metrics['auroc'] == frames.metrics['aupr'] == 1.0
    assert frames.id_over_threshold == 3 / 8
    # every draw agrees: that is no interval
    assert set(frames.intervals.values()) == {None}
    assert figures.kinds[0].frames.not_judged_frames == 3


def test_a_scored_bag_comes_back_from_its_bytes_and_damage_is_seen() -> None:
    bag = scored('.sAA.')
    content = bag.to_bytes()
    again = ScoredBag.from_bytes(content)
    assert again is not None
    assert again.facts == bag.facts
    assert np.array_equal(again.peak, bag.peak, equal_nan=True)
    assert again.changed.dtype == np.bool_
    for damaged in (b'', b'PK', content[:-30], content[: len(content) // 2]):
        assert ScoredBag.from_bytes(damaged) is None
