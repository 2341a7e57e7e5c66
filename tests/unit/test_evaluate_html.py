"""The report in HTML: what it holds, and what it does in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import json
from pathlib import Path
import re
import sys
from typing import Any
from unittest.mock import ANY

import cv2
import numpy as np
import pyarrow.parquet
import pytest

from ros_ood_monitor.alerting import ConsecutiveLogic
from ros_ood_monitor.bags import BagWriter
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.cli.main import main
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.bags.compare import compare
from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation, evaluate_bags, Settings
from ros_ood_monitor.evaluation.bags.event_figures import Times
from ros_ood_monitor.evaluation.bags.failures import failures
from ros_ood_monitor.evaluation.bags.frame_file import write_frames
from ros_ood_monitor.evaluation.bags.given import FailedBag, LabelChoice
from ros_ood_monitor.evaluation.bags.html_page import check_html, verdict
from ros_ood_monitor.evaluation.bags.html_page.curves import decimated, operating_curves, timelines
from ros_ood_monitor.evaluation.bags.html_page.explorer import explorer_data
from ros_ood_monitor.evaluation.bags.html_page.page import render
from ros_ood_monitor.evaluation.bags.html_page.page_data import page_data
from ros_ood_monitor.evaluation.bags.html_page.pictures import choose_pictures, read_pictures
from ros_ood_monitor.evaluation.bags.html_page.summary import failed_bags, verdict_box
from ros_ood_monitor.evaluation.bags.judged import judge, JudgedBag
from ros_ood_monitor.evaluation.bags.labels import Label
from ros_ood_monitor.evaluation.bags.runs import Scoring
from ros_ood_monitor.evaluation.bags.scored import Facts, FAULT, ScoredBag, STATES
from ros_ood_monitor.evaluation.gate import GateOutcome, Limit, Shortfall
from ros_ood_monitor.html_parts import table
from ros_ood_monitor.metrics import auroc
from ros_ood_monitor.records import State
from tests.browser import browser, Page
from tests.tiny_bundle import make_tiny_bundle

EVIL = '<img src=x onerror=hacked()>'
KIND = '</script><script>window.hacked = 1</script>\'"&<b>'
START = 1000.0


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny', maps=True)


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Strange from 2 s to 3 s, which is labelled, and from 5 s to 6 s, which is not."""
    path = tmp_path_factory.mktemp('bags') / EVIL
    rng = np.random.default_rng(5)
    with BagWriter(path) as writer:
        for k in range(90):
            rgb = rng.uniform(100, 156, (60, 90, 3)).astype(np.uint8)
            if 20 <= k < 30 or 50 <= k < 60:
                rgb[20:40, 30:60] = (250, 10, 10)
            writer.write_image('/front/image_raw', rgb, START + 0.1 * k)
    labels = [{'start': 2.0, 'end': 3.0, 'kind': KIND, 'time': 'bag'}]
    (path / 'labels.yaml').write_text(json.dumps(labels))
    return path


@pytest.fixture(scope='module')
def page(bundle: Bundle, bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip('plotly')
    out = tmp_path_factory.mktemp('report') / 'report.html'
    gate = out.with_name('gate.yaml')
    gate.write_text('together.events.false_alerts: {max: 0}\n')
    files = ['--report', str(out), '--gate', str(gate)]
    code = main(
        ['evaluate', str(bundle.path), str(bag), '--no-cache', '--ignore-margin', '0.5', *files]
    )
    assert code == 1  # there is a false alert
    return out


@pytest.fixture(scope='module')
def result(bundle: Bundle, bag: Path) -> BagEvaluation:
    settings = Settings(resamples=20, ignore_margin=0.5)
    return evaluate_bags(Scoring(bundle.path), [bag], LabelChoice(), settings=settings)


def data_of(page: Path) -> dict[str, Any]:
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', page.read_text()
    )
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def own_markup(page: Path) -> str:
    """Return the page without the library, the script and the data."""
    return re.sub(r'<script.*?</script>', '', page.read_text(), flags=re.DOTALL)


def test_a_page_says_what_happened_and_how_it_was_made(page: Path) -> None:
    html = own_markup(page)
    facts = json.loads(page.with_suffix('.json').read_text())
    assert 'found the only event' in html
    assert 'raised 1 false alert' in html
    assert 'ood_monitor evaluate' in html
    assert '<div class="verdict poor" id="verdict"><p><b>Gate FAILED: 1 of 1 limits</b>' in html
    assert 'together.events.false_alerts: 1, needed at most 0' in html
    assert facts['gate'] == {'limits': 1, 'kept': False, 'short': ANY, 'error': ''}
    assert facts['made']['command'].startswith('ood_monitor evaluate')
    for anchor in ('time', 'alerts', 'explorer', 'scores', 'worst', 'figures', 'health'):
        assert f'<section id="{anchor}">' in html
    assert facts['together']['events']['false_alerts'] == 1
    assert page.with_suffix('.parquet').is_file()
    assert page.stat().st_size < 6e6


def test_a_page_loads_nothing_and_takes_names_for_text(page: Path) -> None:
    html = own_markup(page)
    assert "default-src 'none'" in html
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]', html)
    assert EVIL not in html
    assert '<b>"' not in html.replace('&', '')
    assert '&lt;img src=x onerror=hacked()&gt;' in html
    # nothing in the data ends its script
    assert data_of(page)['timelines'][0]['labels'][0][2] == KIND


def test_pictures_are_those_of_the_alerts_with_heat_maps(
    page: Path, result: BagEvaluation
) -> None:
    pictures = choose_pictures(result)
    assert read_pictures(result, pictures) == []
    false_alert, alert = (
        next(one for one in pictures if why in one.why) for why in ('false alert', 'alert')
    )
    assert 5.0 <= false_alert.stamp - START <= 6.0
    assert 2.0 <= alert.stamp - START <= 3.0
    for picture in (false_alert, alert):
        rgb = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert rgb.shape == (60, 90, 3)
        assert rgb[25:35, 35:55, 0].mean() > 200
        assert picture.heat != picture.jpeg
        assert picture.map_peak is not None
        texts = [one['text'] for one in data_of(page)['pictures']]
        assert any(f'the threshold; map {picture.map_peak:.2f} of 1; ' in text for text in texts)
    assert len({(one.bag.name, one.row) for one in pictures}) == len(pictures)
    assert len(data_of(page)['pictures']) == len(pictures)


def test_a_bag_that_is_gone_costs_its_pictures_only(
    bundle: Bundle, result: BagEvaluation, tmp_path: Path
) -> None:
    gone = replace(result, bags=(replace(result.bags[0], path=tmp_path / 'gone'),))
    (problem,) = read_pictures(gone, choose_pictures(gone))
    assert 'could not be read again' in problem


def test_decimation_keeps_every_peak_and_dip() -> None:
    score = np.random.default_rng(1).normal(size=100_000)
    score[54_321], score[12_345] = 99.0, -99.0
    chosen = decimated(score, 500)
    assert chosen.size <= 1002
    assert {0, 12_345, 54_321, 99_999} <= set(chosen.tolist())
    assert (np.diff(chosen) > 0).all()


def test_decimation_keeps_a_peak_beside_frames_without_an_answer() -> None:
    score = np.zeros(10_000)
    score[5_000], score[5_010], score[5_001], score[5_011] = 9.0, -9.0, np.nan, np.inf
    assert {5_000, 5_010} <= set(decimated(score, 100).tolist())


def test_a_table_without_rows_has_its_head_only() -> None:
    assert table(('a', 'b'), []).count('<th>') == 2


def with_bag(result: BagEvaluation, scored: ScoredBag, *labels: Label) -> BagEvaluation:
    bag = judge('one', Path('one'), scored, labels, margin=0.0, refractory=0.0)
    return replace(result, bags=(bag,))


def states(text: str) -> dict[str, np.ndarray]:
    """Return the states of frames, a letter each, and where they changed."""
    state = np.array([{'.': 0, 'A': STATES.index(State.ALERT), 'F': FAULT}[one] for one in text])
    return {'state': state.astype(np.uint8), 'changed': np.diff(state, prepend=0) != 0}


def test_an_alert_in_which_the_clock_is_set_back_is_shown(result: BagEvaluation) -> None:
    stamp = START + np.tile(np.arange(20.0), 2)
    score = np.zeros(40)
    score[18], score[38] = 5.0, 9.0  # the same stamp twice
    looped = simulated(score, stamp=stamp, **states('.' * 17 + 'AAA' + '.' * 20))
    some = with_bag(result, looped)
    (shown,) = [one for one in choose_pictures(some) if 'false alert' in one.why]
    assert shown.row == 18
    assert timelines(some)[0]['alerts'] == [[17.0, 19.0, True]]


def test_a_missed_event_is_shown_by_a_frame_inside_of_it(result: BagEvaluation) -> None:
    score = np.zeros(60)
    score[30] = 9.0  # where the label ends, which is outside
    stamp = START + np.arange(60.0)
    labels = Label(START + 20, START + 30), Label(START + 100, START + 110)
    some = with_bag(result, simulated(score, stamp=stamp), *labels)
    (missed,) = [one for one in choose_pictures(some) if 'missed event' in one.why]
    assert some.bags[0].label[missed.row] == 1
    # an event behind the recording has no band
    assert timelines(some)[0]['labels'] == [[20.0, 30.0, 'ood']]


def test_frames_without_an_answer_are_shown_as_such(result: BagEvaluation, tmp_path: Path) -> None:
    score = np.where(np.arange(40) < 20, 0.0, np.nan)
    scored = simulated(score, judged=score == 0, **states('.' * 20 + 'F' * 20))
    some = with_bag(result, scored, Label(START + 2.0, START + 4.0))
    (missed,) = [one for one in choose_pictures(some) if 'missed event' in one.why]
    curves = timelines(some)
    data = json.loads(json.dumps(page_data(some, curves, [missed]), allow_nan=False))
    assert data['pictures'][0]['raw_score'] is None
    assert data['pictures'][0]['text'] == 'one, 2.00 s: no answer; missed event'
    assert curves[0]['y'][-1] is None
    write_frames(tmp_path / 'f.parquet', [some])
    frames = pyarrow.parquet.read_table(tmp_path / 'f.parquet').to_pydict()
    np.testing.assert_array_equal(np.isnan(frames['score']), np.isnan(score))


def test_few_points_draw_the_same_roc(result: BagEvaluation) -> None:
    rng = np.random.default_rng(2)
    bag = result.bags[0]
    n = 20_000
    label = rng.integers(0, 2, n).astype(np.int8)
    scored = simulated(rng.normal(label, 1.0))
    many = replace(bag, scored=scored, label=label, kinds={'x': label == 1}, events=(), alerts=())
    (curve,) = operating_curves(replace(result, bags=(many,)))
    assert len(curve['fpr']) <= 302
    area = np.trapezoid(curve['tpr'], curve['fpr'])
    exact = auroc(scored.raw_score[label == 0], scored.raw_score[label == 1])
    assert area == pytest.approx(exact, abs=1e-4)
    (line,) = timelines(replace(result, bags=(many,)))
    assert len(line['x']) <= 2002


def test_a_page_that_cannot_be_written_is_refused_before_anything_is_scored(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(['evaluate', 'no_bundle', '--images', 'x', '--report', 'x.html']) == 1
    assert 'is Markdown; name it .md: x.html' in capsys.readouterr().err
    (tmp_path / 'folder.html').mkdir()
    with pytest.raises(ParameterError, match='it is a folder'):
        check_html(tmp_path / 'folder.html')
    monkeypatch.setitem(sys.modules, 'plotly.offline', None)
    with pytest.raises(ParameterError, match=r'run: pip install plotly, or choose \.md: '):
        check_html(tmp_path / 'report.html')


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        ({'found': 0}, 'tiny missed the only event'),
        ({'events': 12, 'found': 12}, 'found all 12 events'),
        ({'events': 12, 'found': 0}, 'found none of 12 events (missed 12)'),
        (
            {'events': 2, 'time_to_alert': Times(1, 0.2)},
            'found 1 of 2 events (missed 1), the found one 0.20 s after it began',
        ),
        (
            {'events': 9, 'found': 5, 'was_on': 3, 'time_to_alert': Times(5, 0.2)},
            'found 5 of 9 events (missed 1, 3 began under an alert that was on already), '
            'the found ones typically 0.20 s after they began',
        ),
        ({'found': 0, 'was_on': 1}, 'the only event, which began under an alert that was on'),
        ({'normal_time_in_alert': 0.97}, '; was in ALERT in 97% of normal time.'),
        ({'hours': 0.1}, 'raised 1 false alert in 6.0 min of in-distribution time; was'),
        ({'hours': 0.1}, '6.0 min of in-distribution time are too short for a rate.'),
        (
            {'hours': 1500.0, 'false_alerts': 2000, 'false_alerts_per_hour_upper95': 1234.5},
            'raised 2,000 false alerts in 1,500.0 h',
        ),
        (
            {'hours': 1500.0, 'false_alerts_per_hour_upper95': 1234.5},
            'at most 1,234 false alerts an hour',
        ),
        ({'hours': 2.0, 'false_alerts_per_hour': 0.00217}, '(0.00217 an hour)'),
        ({'events': 0}, 'nothing is known of what it finds'),
        ({'false_alerts': 0}, 'no false alert in'),
        ({'hours': 0.0, 'false_alerts_per_hour_upper95': None}, 'nothing is known of false'),
        ({'missed_in_fault': 2}, '2 of the missed events fell into FAULT'),
    ],
)
def test_the_verdict_says_what_was_seen_and_what_was_not(
    result: BagEvaluation, change: dict[str, Any], expected: str
) -> None:
    row = result.rows.together
    row = replace(row, events=replace(row.events, **change))
    lines = verdict(replace(result, rows=replace(result.rows, together=row)))
    assert expected in ' '.join(lines)


FINE: dict[str, Any] = {
    'events': 10,
    'found': 10,
    'false_alerts': 0,
    'false_alerts_per_hour_upper95': 5.0,
    'normal_time_in_alert': 0.0,
}


def outcome_of(result: BagEvaluation, gate: GateOutcome | None, **change: Any) -> str:
    row = result.rows.together
    row = replace(row, events=replace(row.events, **change))
    changed = replace(result, rows=replace(result.rows, together=row))
    return verdict_box(changed, [], gate)


def test_the_colour_of_the_verdict_is_of_the_gate_too_and_grey_where_nothing_was_to_be_found(
    result: BagEvaluation,
) -> None:
    short = Shortfall('a.b', 0.5, Limit(least=0.9))
    kept, failed = GateOutcome(3), GateOutcome(3, (short,))
    assert '"verdict good"' in outcome_of(result, None, **FINE)
    assert outcome_of(result, kept, **FINE).endswith('Gate: all 3 limits kept</b></p></div>')
    refused = outcome_of(result, failed, **FINE)
    assert refused.startswith('<div class="verdict poor" id="verdict"><p><b>Gate FAILED: 1 of 3 l')
    assert '"verdict poor"' in outcome_of(result, GateOutcome(3, error='unknown'), **FINE)
    assert '"verdict poor"' in outcome_of(result, None, **{**FINE, 'normal_time_in_alert': 0.02})
    for little in (
        {'events': 0, 'found': 0},
        {'events': 9, 'found': 9},
        {'false_alerts_per_hour_upper95': 5.1},
        {'false_alerts_per_hour_upper95': None},
    ):
        assert '"verdict unsure"' in outcome_of(result, None, **{**FINE, **little}), little


def test_bags_that_failed_stand_in_a_section_by_their_reason(result: BagEvaluation) -> None:
    bad = [FailedBag(name, Path(f'/x/{name}'), f'no\n good: /x/{name}') for name in ('a', 'b')]
    some = replace(result, failed=tuple(bad))
    assert [str(one) for one in failures(some)] == ['failed: a, b: no good']
    assert '"verdict unsure"' in outcome_of(some, None, **FINE)
    html = failed_bags(some, [])
    assert html.count('<tr>') == 2
    assert 'a, b' in html
    beside = compare(result, some)
    (one,) = failures(result, [beside])
    assert one.bundle == f'tiny {result.bundle.digest[:12]}'
    assert failed_bags(result, []) == ''


# --- the explorer beside the monitor's own logic -------------------------------------------------


def simulated(score: np.ndarray, **arrays: np.ndarray) -> ScoredBag:
    n = score.size
    facts = Facts(('/cam/image_raw',), ('cam',), 3.0, 2.0, START, {}, {}, 0, (), 0, 1.0)
    given = {
        'stamp': START + 0.1 * np.arange(n),
        'log_time': START + 0.1 * np.arange(n),
        'raw_score': score,
        'peak': np.full(n, np.nan),
        'latency_ms': np.ones(n, np.float32),
        'camera': np.zeros(n, np.uint16),
        'state': np.zeros(n, np.uint8),
        'changed': np.zeros(n, np.bool_),
        'judged': np.ones(n, np.bool_),
    }
    return ScoredBag(facts, **{**given, **arrays})


def stream(seed: int, n: int = 4000) -> ScoredBag:
    """Scores that wander, with gaps, steps back, frames that are not judged, and faults."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=n)
    score = np.zeros(n)
    for k in range(1, n):
        score[k] = 0.9 * score[k - 1] + noise[k]
    stamp = START + 0.1 * np.arange(n)
    stamp[rng.integers(0, n, 10)] += 0.15
    stamp[n // 3 :] += 7.0
    stamp[2 * n // 3 :] += 2.5
    is_fault = np.zeros(n, np.bool_)
    for start in rng.integers(0, n, 12):
        is_fault[start : start + int(rng.integers(1, 9))] = True
    judged = ~is_fault & (rng.random(n) > 0.03)
    state = np.where(is_fault, FAULT, 0).astype(np.uint8)
    score[is_fault & (rng.random(n) < 0.5)] = np.nan  # the engine had no answer
    return simulated(score, stamp=stamp, judged=judged, state=state)


def looped(seed: int) -> ScoredBag:
    """Scores whose stamps come twice, as those of a bag that was played in a loop."""
    made = stream(seed, 1000)
    return replace(made, stamp=START + 0.1 * (np.arange(1000) % 500))


def rerun(scored: ScoredBag, threshold: float, point: Any) -> ScoredBag:
    """Run the monitor's alert logic over the scores at another threshold."""
    at = point.at_limit(threshold)
    logic = ConsecutiveLogic(
        trigger=at.trigger, release=at.release, trigger_frames=at.trigger_frames,
        release_frames=at.release_frames, stale_after=scored.facts.stale_after, **at.settings,
    )  # fmt: skip
    state, changed = scored.state.copy(), np.zeros(len(scored), np.bool_)
    for k in range(len(scored)):
        if scored.state[k] == FAULT:
            alert = logic.fault('blind')
        elif scored.judged[k]:
            alert = logic.update(float(scored.raw_score[k]), float(scored.stamp[k]))
        else:
            alert = replace(logic.state, changed=False)
        state[k], changed[k] = STATES.index(alert.state), alert.changed
    return replace(scored, state=state, changed=changed)


LABELS = [Label(START + a, START + a + 15.0, 'x') for a in (20.0, 77.7, 150.0, 250.0, 380.0)]
REFRACTORY = 0.5


def judged_at(scored: ScoredBag, threshold: float, point: Any, name: str) -> JudgedBag:
    again = rerun(scored, threshold, point)
    is_looped = bool((np.diff(scored.stamp) < -1.0).any())
    labels = [replace(one, time='log') for one in LABELS[:2]] if is_looped else LABELS
    return judge(name, Path(name), again, labels, margin=1.0, refractory=REFRACTORY)


@pytest.fixture(scope='module')
def explored(result: BagEvaluation) -> tuple[BagEvaluation, list[ScoredBag], Any]:
    point = replace(
        result.calibration.operating_point, trigger=3.0, release=1.0, trigger_frames=3,
        release_frames=5, settings={'trigger_seconds': 0.25, 'release_seconds': 0.35},
    )  # fmt: skip
    bags = [stream(1), stream(2), looped(3)]
    judged = tuple(judged_at(bag, 3.0, point, f'bag{k}') for k, bag in enumerate(bags))
    calibration = replace(result.calibration, operating_point=point)
    settings = replace(result.settings, refractory=REFRACTORY, ignore_margin=1.0)
    made = replace(result, bags=judged, calibration=calibration, settings=settings)
    return made, bags, point


def test_too_many_frames_are_thinned_where_no_alert_can_come_from(
    explored: tuple[BagEvaluation, list[ScoredBag], Any],
) -> None:
    evaluation, _, _ = explored
    whole, thin = explorer_data(evaluation), explorer_data(evaluation, most_frames=2500)
    assert whole is not None
    assert thin is not None
    assert whole['floor'] is None
    assert sum(one['frames'] for one in whole['streams']) == 9000
    assert sum(one['frames'] for one in thin['streams']) <= 2500
    assert thin['bags'] == 3
    assert thin['floor'] <= 3.0
    few = explorer_data(evaluation, most_frames=900)
    assert few is not None
    assert (few['bags'], few['of_bags']) == (1, 3)
    assert explorer_data(evaluation, most_frames=10) is None


@pytest.fixture(scope='module')
def tab(page: Path) -> Iterator[Page]:
    with browser() as tab:
        tab.open(page.as_uri(), 1000, 900)
        yield tab


def test_plots_keep_their_height_when_the_window_changes(tab: Page) -> None:
    heights = '[...document.querySelectorAll(".plot")].map((node) => node._fullLayout.height)'
    before = tab.run(heights)
    assert len(set(before)) > 2
    widths = 'document.getElementById("histogram")._fullLayout.width'
    for width in (700, 1000):
        was = tab.run(widths)
        tab.size(width, 900)
        tab.wait(f'{widths} !== {was}')
        assert tab.run(heights) == before


def test_a_browser_shows_the_page_without_an_error(tab: Page, page: Path) -> None:
    assert tab.problems == []
    assert tab.run('window.hacked') is None
    assert tab.run('document.querySelectorAll(".plot .main-svg").length') >= 10
    assert tab.run('document.body.scrollWidth <= innerWidth')
    picture = cv2.imdecode(np.frombuffer(tab.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (900, 1000, 3)
    assert picture.std() > 20


def test_a_thumbnail_opens_its_picture_and_keys_turn_pages(tab: Page) -> None:
    tab.click('.thumb')
    tab.wait('document.getElementById("viewer").open')
    source = 'document.getElementById("view-image").src'
    with_heat = tab.run(source)
    tab.press('h')
    tab.wait(f'{source} !== {json.dumps(with_heat)}')
    tab.press('h')
    tab.wait(f'{source} === {json.dumps(with_heat)}')
    text = tab.run('document.getElementById("view-text").textContent')
    assert EVIL in text
    tab.press('ArrowRight')
    tab.wait(f'document.getElementById("view-text").textContent !== {json.dumps(text)}')
    tab.press('Escape')
    tab.wait('!document.getElementById("viewer").open')


def test_a_mark_on_the_curve_opens_its_picture(tab: Page) -> None:
    x, y = tab.run(
        '(() => { const node = document.getElementById("time-0");'
        'node.scrollIntoView({block: "center"}); const box = node.getBoundingClientRect();'
        'const {xaxis, yaxis} = node._fullLayout, mark = node.data[1];'
        'return [box.x + xaxis._offset + xaxis.d2p(mark.x[0]),'
        ' box.y + yaxis._offset + yaxis.d2p(mark.y[0])]; })()'
    )
    tab.mouse('mouseMoved', x - 1, y)
    tab.mouse('mouseMoved', x, y)
    tab.wait('document.querySelector("#time-0 .hoverlayer .hovertext")')
    tab.mouse('mousePressed', x, y, held=True)
    tab.mouse('mouseReleased', x, y)
    tab.wait('document.getElementById("viewer").open')
    tab.click('#view-close')
    tab.wait('!document.getElementById("viewer").open')


def test_slider_and_line_move_the_threshold(tab: Page, page: Path) -> None:
    facts = json.loads(page.with_suffix('.json').read_text())
    threshold = facts['operating_point']['threshold']
    assert tab.run('oodReport.threshold') == threshold
    of_set = tab.run('document.getElementById("set-false").textContent')
    assert of_set == str(facts['together']['events']['false_alerts'])
    rate = tab.run('document.getElementById("set-rate").textContent')
    assert rate == 'too short for a rate'
    tab.run('document.getElementById("threshold-slider").focus()')
    tab.press('ArrowRight')
    tab.wait(f'oodReport.threshold > {threshold}')
    tab.click('#threshold-back')
    tab.wait(f'oodReport.threshold === {threshold}')
    x, y = tab.run(
        '(() => { const node = document.getElementById("trade-off");'
        'node.scrollIntoView({block: "center"}); const box = node.getBoundingClientRect();'
        'const axis = node._fullLayout.xaxis;'
        'return [box.x + axis._offset + axis.d2p(oodReport.threshold), box.y + 60]; })()'
    )
    tab.mouse('mouseMoved', x, y)
    tab.mouse('mousePressed', x, y, held=True)
    for k in range(1, 5):
        tab.mouse('mouseMoved', x + 10 * k, y + k, held=True)
    tab.mouse('mouseReleased', x + 40, y + 4)
    tab.wait(f'oodReport.threshold > {threshold}')
    moved = tab.run('oodReport.threshold')
    shapes = '["time-0", "histogram", "trade-off"].map((id) => document.getElementById(id))'
    tab.wait(
        f'{shapes}.every((node) => [node.layout.shapes[0].x0, node.layout.shapes[0].y0]'
        f'.includes({moved}))'
    )
    tab.click('#threshold-back')
    tab.wait(f'oodReport.threshold === {threshold}')


def test_dark_and_print(tab: Page) -> None:
    paper = 'getComputedStyle(document.body).backgroundColor'
    assert tab.run(paper) == 'rgb(255, 255, 255)'
    tab.dark()
    tab.wait(f'{paper} === "rgb(20, 24, 29)"')
    ink = 'document.getElementById("histogram").layout.font.color'
    tab.wait(f'{ink} === "#e4e8ee"')
    pdf = tab.pdf()
    assert pdf.startswith(b'%PDF')
    assert len(re.findall(rb'/Type\s*/Page\b', pdf)) >= 2
    tab.dark(is_dark=False)
    tab.wait(f'{ink} === "#1c2430"')
    assert tab.problems == []


def test_the_page_runs_the_alert_rule_as_the_monitor_does(
    explored: tuple[BagEvaluation, list[ScoredBag], Any], tmp_path: Path
) -> None:
    evaluation, bags, point = explored
    thin = explorer_data(evaluation, most_frames=2500)
    assert thin is not None
    write = {'pictures': [], 'problems': [], 'command': '', 'card': [], 'gate': None, 'beside': {}}
    plotly = 'const Plotly = {newPlot(n, d, l) { n.layout = l; n.on = () => {}; }, relayout() {}};'
    html = render(evaluation, [], plotly=plotly, **write)
    (tmp_path / 'whole.html').write_text(html)
    whole = data_of(tmp_path / 'whole.html')
    thinned = html.replace(
        json.dumps(whole['explorer'], separators=(',', ':')),
        json.dumps(thin, separators=(',', ':')),
    )
    assert thinned != html
    (tmp_path / 'thin.html').write_text(thinned)
    thresholds = [-2.0, 0.3, 1.0, thin['floor'], 2.9, 3.0, 3.6, 4.4, 5.5]
    found = {}
    for name in ('whole', 'thin'):
        with browser() as tab:
            tab.open((tmp_path / f'{name}.html').as_uri(), 800, 600)
            found[name] = tab.run(f'{json.dumps(thresholds)}.map(oodReport.judge)')
            if name == 'whole':  # frames without an answer take no place from the slider
                slider = 'document.getElementById("threshold-slider")'
                highest = max(float(np.nanmax(bag.raw_score)) for bag in bags)
                tab.run(f'oodReport.move({highest})')
                assert tab.run(f'[+{slider}.value, +{slider}.max]') == [400, 400]
    alerts = set()
    for k, threshold in enumerate(thresholds):
        judged = [judged_at(bag, threshold, point, f'bag{i}') for i, bag in enumerate(bags)]
        events = [event for bag in judged for event in bag.events]
        delays = [e.time_to_alert for e in events if not np.isnan(e.time_to_alert)]
        expected = {
            'alerts': sum(len(bag.alerts) for bag in judged),
            'falseAlerts': sum(alert.is_false for bag in judged for alert in bag.alerts),
            'found': sum(event.found for event in events),
            'events': len(events),
            'delay': float(np.median(delays)) if delays else None,
        }
        alerts.add(expected['alerts'])
        for name in ('whole', 'thin'):
            if name == 'thin' and threshold < thin['floor']:
                continue
            seen = {key: found[name][k][key] for key in expected}
            assert seen == pytest.approx(expected), (name, threshold)
    assert len(alerts) > 5
    upper = found['whole'][-1]
    assert upper['upper'] * thin['hours'] == pytest.approx(
        poisson_bound(upper['falseAlerts']), rel=1e-6
    )


def poisson_bound(count: int) -> float:
    from ros_ood_monitor.rates import upper_rate

    return upper_rate(count, 1.0)
