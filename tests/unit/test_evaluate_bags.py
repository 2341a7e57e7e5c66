"""Evaluation on real bags through the real monitor: scores, damage, processes, files, the verb."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
import errno
import json
import os
from pathlib import Path
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet
import pytest

from ros_ood_monitor.bags import BagReader, BagWriter
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.cli.main import main
from ros_ood_monitor.engines import Engine
from ros_ood_monitor.errors import BagError, EngineError, ParameterError
from ros_ood_monitor.evaluation.bags import report
from ros_ood_monitor.evaluation.bags.compare import compare, Difference
from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation, evaluate_bags, Settings
from ros_ood_monitor.evaluation.bags.facts import facts
from ros_ood_monitor.evaluation.bags.given import LabelChoice
from ros_ood_monitor.evaluation.bags.runs import score_bags, Scoring
from ros_ood_monitor.evaluation.bags.scored import ScoredBag, STATES
from ros_ood_monitor.evaluation.gate import check_gate, Limit, read_gate
from ros_ood_monitor.metrics import auroc, fpr95_id_positive, Interval
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.replay import replay
from ros_ood_monitor.shards import Local
from tests.bag_tools import IMAGE, STRING, write_bag, write_mcap
from tests.interrupts import heed_interrupts
from tests.tiny_bundle import make_tiny_bundle

ROOT = Path(__file__).resolve().parents[2]
NORMAL, STRANGE = 30, 12  # frames in a row: normal, strange, normal
START = 1000.0
LABEL = f'- {{start: {START + 3.0}, end: {START + 4.2}, kind: red}}\n'
QUICK = Settings(resamples=20, ignore_margin=0.5)


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny')


@pytest.fixture(scope='module')
def other(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'other', height=16, width=24)


def pictures(seed: int, *, strange: bool = True) -> Iterator[tuple[float, np.ndarray]]:
    rng = np.random.default_rng(seed)
    for k in range(2 * NORMAL + STRANGE):
        rgb = rng.uniform(100, 156, (60, 90, 3)).astype(np.uint8)
        if strange and NORMAL <= k < NORMAL + STRANGE:
            rgb = rng.integers(0, 20, (60, 90, 3), np.uint8)
            rgb[..., 0] += 230
        yield 0.1 * k, rgb


def record(
    path: Path,
    seed: int = 7,
    *,
    cameras: Sequence[str] = ('front',),
    labels: str = LABEL,
    **how: Any,
) -> Path:
    with BagWriter(path, **how) as writer:
        for after, rgb in pictures(seed):
            for k, camera in enumerate(cameras):
                writer.write_image(f'/{camera}/image_raw', rgb, START + after + 0.02 * k)
    (path / 'labels.yaml').write_text(labels)
    return path


@pytest.fixture(scope='module')
def bags(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One camera in MCAP, two cameras in zstd SQLite."""
    root = tmp_path_factory.mktemp('bags')
    return [
        record(root / 'one'),
        record(
            root / 'two', 8, cameras=('front', 'rear'), storage='sqlite3', compression='message'
        ),
    ]


def run(
    bundle: Bundle, bags: Sequence[Path], labels: LabelChoice | None = None, **how: Any
) -> BagEvaluation:
    how.setdefault('settings', QUICK)
    return evaluate_bags(Scoring(bundle.path), bags, labels or LabelChoice(), **how)


@pytest.fixture(scope='module')
def result(bundle: Bundle, bags: list[Path]) -> BagEvaluation:
    return run(bundle, bags)


def test_every_frame_is_what_replay_says_of_it(
    bundle: Bundle, bags: list[Path], result: BagEvaluation
) -> None:
    for bag, path in zip(result.bags, bags, strict=True):
        engine = Monitor.from_bundle(bundle).engine
        with BagReader(path) as reader:
            expected = [
                (o.stamp, o.camera, o.raw_score, o.state)
                for o in replay(lambda _: Monitor(bundle, engine), reader.frames())  # noqa: B023
            ]
        scored = bag.scored
        cameras = [scored.facts.cameras[k] for k in scored.camera]
        states = [STATES[k] for k in scored.state]
        found = zip(scored.stamp, cameras, scored.raw_score, states, strict=True)
        assert list(found) == expected


def test_figures_are_those_of_the_labelled_frames(result: BagEvaluation) -> None:
    score = np.concatenate([bag.scored.raw_score for bag in result.bags])
    label = np.concatenate([bag.label for bag in result.bags])
    frames = result.rows.together.frames
    assert (frames.id_frames, frames.ood_frames) == (3 * (60 - 10), 3 * STRANGE)
    assert frames.ignored_frames == 3 * 10
    assert frames.metrics['auroc'] == auroc(score[label == 0], score[label == 1])
    assert frames.metrics['fpr95_id_positive'] == fpr95_id_positive(
        score[label == 0], score[label == 1]
    )


def test_events_alerts_and_hours_of_each_camera(result: BagEvaluation) -> None:
    events = result.rows.together.events
    assert (events.events, events.found, events.alerts, events.false_alerts) == (3, 3, 3, 0)
    # the third strange frame raises the alert, the fifth normal one clears it; the second
    # camera's stamps lie 20 ms later
    assert events.time_to_alert.median == pytest.approx(0.2)
    assert events.time_to_alert.longest == pytest.approx(0.22)
    assert events.time_to_clear.median == pytest.approx(0.4)
    # 72 frames less 12 strange ones less 5 on either side: 24 and 24 steps of 0.1 s
    assert events.hours == pytest.approx(3 * 4.8 / 3600)
    assert [row.name for row in result.rows.cameras] == ['front', 'rear']
    assert [row.events.events for row in result.rows.cameras] == [2, 1]
    assert [(row.name, row.events.events) for row in result.rows.kinds] == [('red', 3)]
    assert all('frames in a row' in alert.episode.reason for alert in result.bags[0].alerts)


def test_processes_give_what_one_process_gives(
    bundle: Bundle, bags: list[Path], result: BagEvaluation
) -> None:
    told: list[int] = []

    class Count:
        def __init__(self, total: int, _: str) -> None:
            self.total = total

        def __enter__(self) -> Any:
            return told.append

        def __exit__(self, *_: object) -> None:
            assert sum(told) == self.total

    parallel = run(bundle, bags, executor=Local(2), progress=Count)
    assert untimed(parallel) == untimed(result)


def untimed(result: BagEvaluation) -> dict[str, Any]:
    found = facts(result)
    for bag in found['bags']:
        del bag['scored_in']
    return found


def test_scores_are_kept_and_found_again_until_anything_changes(
    bundle: Bundle, other: Bundle, bags: list[Path], tmp_path: Path, result: BagEvaluation
) -> None:
    copy = tmp_path / 'one'
    shutil.copytree(bags[0], copy)
    store = tmp_path / 'store'
    first = run(bundle, [copy, bags[1]], store=store)
    again = run(bundle, [copy, bags[1]], store=store)
    assert (first.kept, again.kept) == (0, 2)
    assert untimed(again) == untimed(first) == untimed(result)
    assert run(other, [copy], store=store).kept == 0
    # labels and margins are no part of scores
    (copy / 'labels.yaml').write_text('[]')
    relabelled = run(bundle, [copy], store=store)
    assert (relabelled.kept, relabelled.rows.together.frames.ood_frames) == (1, 0)
    for damage in (b'', b'PK rubbish'):
        for file in store.iterdir():
            file.write_bytes(damage)
        assert run(bundle, [copy], store=store).kept == 0
    (file,) = copy.glob('*.mcap')
    os.utime(file, ns=(0, 0))
    assert run(bundle, [copy], store=store).kept == 0


# --- bags that are bad, each in its way ----------------------------------------------------------


def bad_bags(root: Path, good: Path) -> dict[str, tuple[Path, str]]:
    """Return bags and a part of what is said of each."""
    made: dict[str, tuple[Path, str]] = {}

    def add(name: str, words: str) -> Path:
        made[name] = (root / name, words)
        return root / name

    for name, keep in (('cut', 60), ('corrupt', 200)):
        path = add(name, 'no message in it is whole' if name == 'cut' else 'it is damaged')
        storage = 'mcap' if name == 'cut' else 'sqlite3'
        record(path, storage=storage)
        (file,) = [f for f in path.iterdir() if f.suffix in ('.mcap', '.db3')]
        file.write_bytes(file.read_bytes()[:keep])
    schema = [('/front/image_raw', IMAGE, 1.0 + k, b'\0\1\0\0 no image') for k in range(3)]
    write_bag(add('schema', 'all 3 are damaged'), schema)
    write_bag(
        add('no_images', 'no image topic'), [('/chatter', STRING, 1.0, b'\0\1\0\0\3\0\0\0hi\0')]
    )
    write_bag(add('empty', 'no image topic'), [])
    add('foreign', 'got /camera (foxglove.CompressedImage (protobuf))').mkdir()
    write_mcap(
        root / 'foreign/a.mcap', [('/camera', 1.0, b'\x08\1')], kind='foxglove.CompressedImage',
        encoding='protobuf', profile='',
    )  # fmt: skip
    with BagWriter(add('clock', 'step back (times: 1')) as writer:
        for k, (after, rgb) in enumerate(pictures(7)):
            stamp = START + after - (3.0 if k > 50 else 0.0)
            message = image(writer, rgb, stamp)
            writer.write('/front/image_raw', IMAGE, message, START + after)
    shutil.copytree(good, add('labels', 'no label covers a frame'))
    for path, _ in made.values():
        (path / 'labels.yaml').write_text(LABEL)
    (root / 'labels/labels.yaml').write_text('- {start: 1, end: 2}')
    add('gone', 'bag does not exist')
    return made


def image(writer: BagWriter, rgb: np.ndarray, stamp: float) -> Any:
    height, width, _ = rgb.shape
    return writer.make(
        IMAGE, header=writer.make_header(stamp), height=height, width=width, encoding='rgb8',
        is_bigendian=0, step=3 * width, data=np.ascontiguousarray(rgb).reshape(-1),
    )  # fmt: skip


def test_bad_bags_are_told_each_and_the_rest_is_kept(
    bundle: Bundle, bags: list[Path], tmp_path: Path
) -> None:
    bad = bad_bags(tmp_path, bags[0])
    gone = LabelChoice(all_id=(bad['gone'][0],))
    given = [path for name, (path, _) in bad.items() if name != 'gone']
    found = run(bundle, [bags[0], *given], gone)
    assert [bag.name for bag in found.bags] == ['one']
    said = {bag.name: bag.error for bag in found.failed}
    assert said.keys() == bad.keys()
    for name, (path, words) in bad.items():
        assert words in said[name]
        assert str(path) in said[name]
    assert found.rows.together.events.found == 1
    with pytest.raises(
        BagError, match='not one of 1 bags can be evaluated; the first: bag has no'
    ):
        run(bundle, [bad['empty'][0]])


def test_what_can_be_read_of_a_damaged_bag_is_evaluated_and_its_damage_told(
    bundle: Bundle, tmp_path: Path
) -> None:
    half = record(tmp_path / 'half', cameras=('front', 'left', 'rear'))
    (file,) = half.glob('*.mcap')
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 3 // 4])
    found = run(bundle, [half])
    (bag,) = found.bags
    assert 72 < len(bag.scored) < 3 * 72
    assert 'truncated' in bag.problems[0]
    assert 'half: damaged file' in report.to_text(found)


def test_a_camera_that_goes_dark_is_a_fault_and_told(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / 'dark'
    with BagWriter(path) as writer:
        for after, rgb in pictures(7, strange=False):
            dark = 3.0 <= after < 4.2
            writer.write_image('/front/image_raw', rgb * np.uint8(not dark), START + after)
    (path / 'labels.yaml').write_text(LABEL)
    found = run(bundle, [path])
    (bag,) = found.bags
    assert bag.scored.facts.health['black'] == STRANGE
    assert 'dark: frames that fail checks of input health: black 12' in report.to_text(found)
    events = found.rows.together.events
    assert (events.found, events.missed_in_fault, events.alerts) == (0, 1, 0)
    frames = found.rows.together.frames
    assert (frames.ood_frames, frames.not_judged_ood_frames) == (0, STRANGE)


def test_seconds_of_a_bag_count_from_its_first_image_whatever_is_scored_of_it(
    bundle: Bundle, tmp_path: Path
) -> None:
    path = tmp_path / 'bag'
    with BagWriter(path) as writer:
        message = image(writer, np.zeros((60, 90, 3), np.uint8), START - 2.0)
        message.encoding = 'nothing known'
        writer.write('/front/image_raw', IMAGE, message, START - 2.0)
        for after, rgb in pictures(7):
            writer.write_image('/front/image_raw', rgb, START + after)
            if after > 1.0:
                writer.write_image('/rear/image_raw', rgb, START + after)
    (path / 'labels.yaml').write_text('- {start: 5, end: 6.2, time: bag}')
    for topics in (None, ('/front/image_raw',), ('/rear/image_raw',)):
        scoring = Scoring(bundle.path, topics=topics)
        found = evaluate_bags(scoring, [path], LabelChoice(), settings=QUICK)
        assert {event.start for event in found.bags[0].events} == {START + 3.0}
        assert facts(found)['bags'][0]['origin'] == START - 2.0


DEADLY = 20  # frames until the process dies


class Deadly(Scoring):
    """Scoring whose process dies in the middle of one bag, as one that is out of memory does."""

    def run(self, bag: Path, *args: Any, on_frame: Any, **kwargs: Any) -> ScoredBag | BagError:
        frames = 0

        def count() -> None:
            nonlocal frames
            frames += 1
            on_frame()
            if bag.name == 'deadly' and frames == DEADLY:
                os.kill(os.getpid(), signal.SIGKILL)

        return super().run(bag, *args, on_frame=count, **kwargs)


class Closed(Scoring):
    """Scoring whose engine does not open in a worker."""

    def open(self) -> Any:
        msg = 'GPU 0 is busy; end other programs'
        raise EngineError(msg)


def test_an_engine_that_does_not_open_in_a_process_ends_the_run_as_itself(
    bundle: Bundle, bags: list[Path]
) -> None:
    opened: tuple[Bundle, Engine] = Scoring(bundle.path).open()
    with pytest.raises(EngineError, match=r'^GPU 0 is busy; end other programs$'):
        dict(score_bags(bags, Closed(bundle.path), opened, executor=Local(2)))


def test_a_process_that_dies_costs_the_bag_that_killed_it_and_no_other(
    bundle: Bundle, bags: list[Path], tmp_path: Path
) -> None:
    deadly = tmp_path / 'deadly'
    shutil.copytree(bags[0], deadly)
    scoring = Deadly(bundle.path)
    opened: tuple[Bundle, Engine] = scoring.open()
    told: list[int] = []
    mixed = [bags[0], deadly, bags[1]]
    done = dict(score_bags(mixed, scoring, opened, executor=Local(2), on_frames=told.append))
    first, second = done[bags[0]], done[bags[1]]
    assert isinstance(first, ScoredBag)
    assert isinstance(second, ScoredBag)
    assert 'the process that scored it died' in str(done[deadly])
    assert sum(told) == len(first) + len(second) + DEADLY  # those that are done again but once


# --- two bundles ---------------------------------------------------------------------------------


def test_a_bundle_does_not_differ_from_itself(result: BagEvaluation) -> None:
    found = compare(result, result)
    assert {one.value for one in found.metrics.values()} == {0.0}
    assert {one.interval for one in found.metrics.values()} == {(0.0, 0.0)}
    assert (found.only_first, found.only_second, found.time_to_alert.value) == (0, 0, 0.0)
    assert found.false_alerts_per_hour.value == 0.0
    assert not found.false_alerts_per_hour.is_clear


def test_a_rate_of_false_alerts_is_by_the_time_that_its_own_bundle_watched(
    result: BagEvaluation,
) -> None:
    sides = []
    for scale in (1.0, 0.5):  # the other was in FAULT for half of the time
        bags = []
        for bag in result.bags:
            false_start = np.zeros(len(bag.scored), np.bool_)
            false_start[0] = True
            hours = {camera: scale * time for camera, time in bag.hours.items()}
            bags.append(replace(bag, hours=hours, false_start=false_start))
        sides.append(replace(result, bags=tuple(bags)))
    hours = sum(time for bag in result.bags for time in bag.hours.values())
    found = compare(*sides).false_alerts_per_hour
    assert (found.first, found.second) == pytest.approx((2 / hours, 4 / hours))
    assert found.value == pytest.approx(-2 / hours)


def test_what_is_cut_from_the_tables_is_told(result: BagEvaluation) -> None:
    rows = result.rows
    many = {
        name: tuple(replace(getattr(rows, name)[0], name=f'{name}{k}') for k in range(31))
        for name in ('kinds', 'cameras')
    }
    first = replace(result.bags[0], problems=tuple(f'p{k}' for k in range(7)))
    made = replace(result, rows=replace(rows, **many), bags=(first, *result.bags[1:]))
    assert len(report.tables(made)[0]) == 1 + 1 + 30 + 30 + 2
    told = report.notes(made)
    assert 'kinds after the first 30 are in --json' in told
    assert 'cameras after the first 30 are in --json' in told
    assert told[-2:] == ['one: p4', 'one: 2 more problems are in --json']
    assert not any('--json' in line for line in report.notes(result))


def test_another_bundle_differs_by_its_own_figures_on_common_bags(
    other: Bundle, bags: list[Path], result: BagEvaluation
) -> None:
    found = compare(result, run(other, bags))
    for name, difference in found.metrics.items():
        first, second = (
            one.rows.together.frames.metrics[name] for one in (found.first, found.second)
        )
        assert difference.value == pytest.approx(first - second)
        assert (difference.first, difference.second) == (first, second)
    fewer = compare(result, run(other, bags[:1]))
    assert fewer.bags == ('one',)
    with pytest.raises(ParameterError, match='same frames'):
        compare(
            result,
            evaluate_bags(Scoring(other.path, every=2), bags, LabelChoice(), settings=QUICK),
        )


def test_bundles_stand_side_by_side_with_a_word_for_the_first(
    other: Bundle, bags: list[Path], result: BagEvaluation
) -> None:
    found = compare(result, run(other, bags))
    clear = {
        'auroc': Difference(0.1, Interval(0.05, 0.2), 0.9, 0.8),
        'fpr95_id_positive': Difference(0.3, Interval(0.1, 0.4), 0.4, 0.1),
        'aupr': Difference(0.1, Interval(-0.1, 0.2), 0.9, 0.8),
    }
    made = replace(found, metrics=found.metrics | clear, events=4, both=2, only_first=1)
    rows = {name: cells for name, *cells in report.difference_rows(made)}
    names = [f'tiny@{one.digest[:12]}' for one in (result.bundle, other)]
    assert rows[''][:2] == names
    assert rows['auroc'] == ['0.9000', '0.8000', '+0.1000', '+0.0500 to +0.2000', 'better']
    assert (rows['fpr95_id_positive'][-1], rows['aupr'][-1]) == ('worse', 'within chance')
    assert rows['events found'][:2] == ['3 of 4', '2 of 4']
    said = report.side_by_side_words(made)
    assert said.startswith(
        f'Against tiny ({other.digest[:12]}) it is clearly better in auroc and '
    )
    assert 'clearly worse in fpr95_id_positive' in said
    assert said.endswith('it found 3 of 4 events, the other 2.')
    # rows that a gate names have different names
    against = facts(result, [made, compare(result, result)])['against']
    assert [row['name'] for row in against] == [names[1], names[0]]
    assert facts(result, [made])['against'][0]['name'] == 'tiny'


# --- the verb ------------------------------------------------------------------------------------


def test_the_verb_writes_json_markdown_and_every_frame(
    bundle: Bundle,
    other: Bundle,
    bags: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [tmp_path / name for name in ('e.json', 'e.md', 'e.parquet')]
    command = [
        'evaluate', str(bundle.path), *map(str, bags), '--against', str(other.path), '--no-cache',
        '--json', str(files[0]), '--report', str(files[1]), '--parquet', str(files[2]),
    ]  # fmt: skip
    assert main(command) == 0
    said = capsys.readouterr().out
    assert 'kind red' not in said  # the only kind is all there is
    assert 'bag two' in said
    assert 'first less second' in said
    read = json.loads(files[0].read_text())
    assert read['schema'] == 1
    assert read['together']['events']['found'] == 3
    assert [bag['name'] for bag in read['bags']] == ['one', 'two']
    assert len(read['against'][0]['differences']['auroc']['value_95']) == 2
    assert str(bags[0]) in read.pop('made')['command']
    assert str(bags[0]) not in json.dumps(read)
    assert files[1].read_text().startswith('# Evaluation of tiny\n')
    table = pyarrow.parquet.read_table(files[2]).to_pydict()
    assert len(table['stamp']) == 2 * 3 * 72
    rows = [k for k, bag in enumerate(table['bag']) if bag == 'two' and table['label'][k] == 1]
    assert len(rows) == 2 * 2 * STRANGE
    assert {table['kind'][k] for k in rows} == {'red'}
    assert {table['camera'][k] for k in rows} == {'front', 'rear'}
    assert table['label'].count(None) == 2 * 3 * 20  # the margin is 1 s by default
    assert set(table['judged']) == {True}
    assert set(table['bundle']) == {f'tiny@{one.digest[:12]}' for one in (bundle, other)}


def test_a_gate_that_is_kept_ends_with_0_and_one_that_is_not_with_1_and_its_names(
    bundle: Bundle, bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = tmp_path / 'gate.yaml'
    command = ['evaluate', str(bundle.path), str(bags[0]), '--cache', str(tmp_path / 'c')]
    command += ['--gate', str(gate)]
    gate.write_text('together.events.found_share: {min: 1}\nkinds.red.frames.auroc: {min: 0.9}\n')
    assert main(command) == 0
    assert 'gate: all 2 limits kept' in capsys.readouterr().out
    gate.write_text('bags.one.events.false_alerts_per_hour_upper95: {max: 0.5}\n')
    assert main(command) == 1
    said = capsys.readouterr().err
    assert re.search(r'gate: bags\.one\.\S+upper95: 2838\.06, needed at most 0\.5; missed', said)
    gate.write_text('bags.three.events.found_share: {min: 1}')
    out = tmp_path / 'e.json'
    assert main([*command, '--json', str(out)]) == 1
    said = capsys.readouterr()
    assert "unknown figure: 'bags.three.events.found_share'" in said.err
    # what was computed is not lost
    assert 'unknown figure' in json.loads(out.read_text())['gate']['error']


def test_a_bad_bag_ends_with_1_unless_that_is_fine(
    bundle: Bundle, bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ['evaluate', str(bundle.path), str(bags[0]), '--no-cache']
    command += ['--all-id', str(tmp_path / 'gone')]
    assert main(command) == 1
    said = capsys.readouterr()
    assert 'failed: gone: bag does not exist' in said.out
    assert '1 bag could not be evaluated' in said.err
    assert main([*command, '--keep-going']) == 0


def test_a_bag_whose_path_is_mistyped_is_one_that_failed(
    bundle: Bundle, bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ['evaluate', str(bundle.path), str(bags[0]), str(tmp_path / 'gone'), '--no-cache']
    assert main([*command, '--keep-going']) == 0
    assert 'failed: gone: bag does not exist' in capsys.readouterr().out


def test_what_cannot_work_is_told_before_anything_is_scored(
    bundle: Bundle,
    bags: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(Scoring, 'run')
    command = ['evaluate', str(bundle.path), str(bags[0])]
    assert main([*command, '--against', str(tmp_path / 'typo')]) == 1
    assert 'typo' in capsys.readouterr().err
    (tmp_path / 'file').touch()
    assert main([*command, '--cache', str(tmp_path / 'file')]) == 1
    assert 'choose a folder with room by --cache, or --no-cache' in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main([*command, '--labels', 'x.yaml', '--label-topic', '/mark'])
    assert stop.value.code == 2
    assert '--label-topic: not allowed with argument --labels' in capsys.readouterr().err
    assert main([*command, '--report', 'x.pdf']) == 1
    assert "expected .html or .md or .markdown or .txt, got '.pdf'" in capsys.readouterr().err


def test_a_cache_that_fills_up_is_told_once_and_the_evaluation_goes_on(
    bundle: Bundle, bags: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('ros_ood_monitor.evaluation.bags.store.new_file', full)
    found = run(bundle, bags, store=tmp_path / 'store')
    assert len(found.bags) == 2
    assert caplog.text.count('scores are not kept any more (No space left on device)') == 1


@pytest.mark.parametrize(
    ('options', 'code', 'words'),
    [
        (['bag', '--images', 'x'], 2, 'BAG is of bags'),
        (['--images', 'x', '--jobs', '2'], 2, '--jobs is of bags'),
        (['--images', 'x', '--ignore-margin', '0'], 2, '--ignore-margin is of bags'),
        (['bag', '--ood', 'x'], 2, '--ood is of folders of images'),
        ([], 1, 'at least one bag'),
        (['bag', '--parquet', 'x.csv'], 1, "expected .parquet, got '.csv'"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(
    bundle: Bundle, options: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['evaluate', str(bundle.path), *options]) == code
    assert words in capsys.readouterr().err


def test_quiet_writes_the_files_and_says_nothing(
    bundle: Bundle, bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / 'figures.json'
    command = ['evaluate', str(bundle.path), *map(str, bags), '--no-cache', '--quiet']
    assert main([*command, '--json', str(figures)]) == 0
    assert capsys.readouterr().out == ''
    assert figures.stat().st_size > 0


def test_ctrl_c_keeps_finished_bags_and_the_same_command_goes_on(
    bundle: Bundle, bags: list[Path], tmp_path: Path
) -> None:
    long = tmp_path / 'long'
    with BagWriter(long) as writer:
        for k in range(150):  # some seconds of scoring: the interrupt comes before its end
            for after, rgb in pictures(k, strange=False):
                writer.write_image('/front/image_raw', rgb, START + 7.2 * k + after)
    store = tmp_path / 'store'
    command = [
        sys.executable, '-m', 'ros_ood_monitor', 'evaluate', str(bundle.path), str(bags[0]),
        '--all-id', str(long), '--cache', str(store), '--jobs', '2',
    ]  # fmt: skip
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=heed_interrupts,
    )
    deadline = time.monotonic() + 60
    while not list(store.glob('[!.]*.npz')):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert 'the scores of finished bags are kept; the same command goes on' in said
    assert 'Traceback' not in said
    found = run(bundle, bags[:1], LabelChoice(all_id=(long,)), store=store)
    assert found.kept == 1
    assert len(found.bags[1].scored) == 150 * 72


def test_every_name_in_the_json_is_documented(
    bundle: Bundle, bags: list[Path], result: BagEvaluation
) -> None:
    text = (ROOT / 'docs/evaluation.md').read_text(encoding='utf-8')
    section = text[text.index('## Bags') : text.index('## Folders of images')]
    named = set(re.findall(r'`(\w+)`', section))
    found = facts(result, [compare(result, result)])
    row = found['together']
    keys = {*found, *row['frames'], *row['events'], *row['events']['time_to_alert']}
    keys |= set(found['bags'][0]) - {'name'} | {'made', 'gate', 'version', 'time', 'command'}
    unnamed = {key for key in keys if key not in named and key.removesuffix('_95') not in named}
    assert unnamed == set()


def test_a_gate_holds_for_folders_of_images_too(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for name, low, high in (('good', 100, 156), ('bad', 200, 250)):
        (tmp_path / name).mkdir()
        for k in range(3):
            rgb = rng.integers(low, high, (60, 90, 3), np.uint8)
            assert cv2.imwrite(str(tmp_path / name / f'{k}.png'), rgb)
    gate = tmp_path / 'gate.yaml'
    command = ['evaluate', str(bundle.path), '--images', str(tmp_path / 'good')]
    command += ['--ood', str(tmp_path / 'bad'), '--gate', str(gate)]
    gate.write_text('image.auroc: {min: 1}')
    assert main(command) == 0
    gate.write_text('image.fpr95_id_positive: {min: 0.1}')
    assert main(command) == 1
    assert 'image.fpr95_id_positive: 0, needed at least 0.1' in capsys.readouterr().err


def test_the_shipped_bundle_keeps_the_gate_of_the_shipped_bag_and_no_impossible_one() -> None:
    folder = ROOT / 'tests/bags/lunar_orbit'
    # every second frame is enough, and alerts take twice as long
    scoring = Scoring(ROOT / 'models/lunar_orbit', every=2)
    found = facts(evaluate_bags(scoring, [folder / 'bag'], LabelChoice(), settings=QUICK))
    assert check_gate(found, read_gate(folder / 'gate.yaml')) == []
    # a minute of one bag cannot bound a rate
    name = 'together.events.false_alerts_per_hour_upper95'
    (short,) = check_gate(found, {name: Limit(most=2.0)})
    assert short.name == name
    assert short.measured is not None
    assert short.measured > 200.0
