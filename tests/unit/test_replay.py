"""Replay: the monitor's answers to a bag, as rows, episodes, a picture and lines for people."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import csv
from dataclasses import replace
import math
from pathlib import Path
import re
import subprocess
import sys
import time

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow.parquet
import pytest

from ros_ood_monitor.alerting import EpisodeLog
from ros_ood_monitor.bags import BagReader, BagWriter
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.cli import replay as verb
from ros_ood_monitor.errors import BagError, OodMonitorError, ParameterError
from ros_ood_monitor.evaluation.timeline import Timeline
from ros_ood_monitor.maps.overlay import annotated
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import AlertState, Frame, Observation, State
from ros_ood_monitor.replay import COLUMNS, replay, write_table
from tests.tiny_bundle import make_tiny_bundle

SHARED = Path(__file__).resolve().parents[2] / '../shared/data/bags/soccer_goal'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
NORMAL, STRANGE = 30, 12  # frames in a row; normal, strange, normal


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny')


def picture(rng: np.random.Generator, *, strange: bool) -> npt.NDArray[np.uint8]:
    if strange:
        red = rng.integers(0, 20, (60, 90, 3), np.uint8)
        red[..., 0] += 230
        return red
    # the middle of what the tiny bundle was fitted to: no frame comes near its threshold
    return rng.uniform(128 - 28, 128 + 28, (60, 90, 3)).astype(np.uint8)


def frames(camera: str = '', start: float = 100.0) -> Iterator[Frame]:
    rng = np.random.default_rng(7)
    for i in range(2 * NORMAL + STRANGE):
        strange = NORMAL <= i < NORMAL + STRANGE
        yield Frame(picture(rng, strange=strange), start + 0.1 * i, camera)


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('bags') / 'flight'
    with BagWriter(path) as writer:
        for frame in frames():
            writer.write_image('/front/image_raw', frame.rgb, frame.stamp)
    return path


@pytest.fixture(scope='module')
def observations(bundle: Bundle, bag: Path) -> list[Observation]:
    with BagReader(bag) as reader:
        return list(replay(Monitor.from_bundle(bundle), reader.frames()))


def test_a_bag_gives_what_its_frames_give_directly(
    bundle: Bundle, observations: list[Observation]
) -> None:
    monitor = Monitor.from_bundle(bundle)
    assert observations == [monitor.observe(frame) for frame in frames('front')]


def test_the_strange_stretch_and_only_it_is_an_alert(observations: list[Observation]) -> None:
    log = EpisodeLog()
    for observation in observations:
        log.add(observation)
    (episode,) = log.episodes
    assert episode.camera == 'front'
    assert episode.start == pytest.approx(103.2)  # the third frame over the trigger
    assert episode.end == pytest.approx(104.6)  # the fifth frame under the release clears it
    assert episode.duration == pytest.approx(1.4)
    assert episode.is_over
    assert episode.peak == max(o.raw_score for o in observations)


def made(camera: str, rows: list[tuple[float, State, bool]]) -> list[Observation]:
    return [
        Observation(t, camera, 5.0 + t, 1.0, 2.0, AlertState(state, changed, peak=5.0 + t))
        for t, state, changed in rows
    ]


def test_an_alert_that_the_end_of_the_bag_cuts_is_not_over() -> None:
    log = EpisodeLog()
    for observation in made('a', [(0, State.NORMAL, False), (1, State.ALERT, True)]):
        log.add(observation)
    assert [(e.start, e.end, e.is_over) for e in log.episodes] == [(1, 1, False)]


def test_a_new_alert_right_after_an_interruption_is_another_episode() -> None:
    log = EpisodeLog()
    rows = [(1, State.ALERT, True), (2, State.ALERT, False), (60, State.ALERT, True)]
    for observation in made('a', [*rows, (61, State.NORMAL, True)]):
        log.add(observation)
    assert [(e.start, e.end, e.peak) for e in log.episodes] == [(1, 60, 7.0), (60, 61, 65.0)]


def test_an_alert_lasts_to_the_first_frame_back_in_normal_whatever_lies_between() -> None:
    log = EpisodeLog()
    rows = [(1, State.ALERT, True), (60, State.SUSPECT, True), (61, State.NORMAL, True)]
    for observation in made('a', rows):
        log.add(observation)
    assert [(e.start, e.end, e.peak, e.is_over) for e in log.episodes] == [(1, 61, 6.0, True)]


def test_cameras_have_alerts_of_their_own(bundle: Bundle) -> None:
    shared = Monitor.from_bundle(bundle)
    made_for: list[str] = []

    def make(camera: str) -> Monitor:
        made_for.append(camera)
        return Monitor(bundle, shared.engine)

    both = [f for pair in zip(frames('a'), frames('b', 100.05), strict=True) for f in pair]
    answers = list(replay(make, both))
    assert made_for == ['a', 'b']
    for camera, start in (('a', 100.0), ('b', 100.05)):
        alone = list(replay(Monitor.from_bundle(bundle), frames(camera, start)))
        assert [o for o in answers if o.camera == camera] == alone


def test_one_monitor_refuses_a_second_camera(bundle: Bundle) -> None:
    mixed = [next(frames('a')), next(frames('b'))]
    with pytest.raises(ParameterError, match=r"one camera, got frames of 'a' and 'b'"):
        list(replay(Monitor.from_bundle(bundle), mixed))


# --- table ---------------------------------------------------------------------------------------


def read_csv(path: Path) -> list[dict[str, object]]:
    kinds = {'float64': float, 'string': str, 'bool': {'true': True, 'false': False}.__getitem__}
    with path.open(newline='', encoding='utf-8') as file:
        return [
            {name: kinds[COLUMNS[name]](text) for name, text in row.items()}
            for row in csv.DictReader(file)
        ]


def same(a: object, b: object) -> bool:
    both_nan = isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
    return both_nan or (a == b and type(a) is type(b))


def test_csv_and_parquet_hold_the_same_values_to_the_last_digit(
    tmp_path: Path, observations: list[Observation]
) -> None:
    assert write_table(observations, tmp_path / 'a.csv') == len(observations)
    assert write_table(iter(observations), tmp_path / 'a.parquet') == len(observations)
    from_csv = read_csv(tmp_path / 'a.csv')
    from_parquet = pyarrow.parquet.read_table(tmp_path / 'a.parquet').to_pylist()
    assert len(from_csv) == len(from_parquet) == len(observations)
    for a, b, observation in zip(from_csv, from_parquet, observations, strict=True):
        assert list(a) == list(b) == list(COLUMNS)
        assert all(same(a[name], b[name]) for name in COLUMNS), (a, b)
        assert b['raw_score'] == observation.raw_score
        assert b['stamp'] == observation.stamp
        assert b['state'] == observation.state.value
        assert b['changed'] == observation.alert.changed
        assert b['reason'] == observation.alert.reason


def test_a_table_may_have_more_rows_than_are_held_at_once(
    tmp_path: Path, observations: list[Observation]
) -> None:
    many = observations * 150  # 10 800
    assert write_table(many, tmp_path / 'a.parquet') == len(many)
    stored = pyarrow.parquet.read_table(tmp_path / 'a.parquet')
    assert stored['raw_score'].to_pylist() == [o.raw_score for o in many]


def test_text_with_commas_and_quotes_survives_csv(tmp_path: Path) -> None:
    reason = 'a "quoted" word, a comma,\nand a line'
    one = Observation(1.0, 'a,b', 1.0, 0.5, 2.0, AlertState(State.FAULT, reason=reason))
    write_table([one], tmp_path / 'a.csv')
    (row,) = read_csv(tmp_path / 'a.csv')
    assert (row['camera'], row['reason']) == ('a,b', reason)


@pytest.mark.parametrize('name', ['a.xlsx', 'a', 'csv'])
def test_an_unknown_table_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParameterError, match=r'expected .parquet or .csv'):
        write_table([], tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('suffix', ['.csv', '.parquet'])
def test_an_error_in_the_stream_leaves_the_old_table(
    tmp_path: Path, observations: list[Observation], suffix: str
) -> None:
    path = tmp_path / f'a{suffix}'
    path.write_text('old')

    def breaking() -> Iterator[Observation]:
        yield from observations
        msg = 'the bag breaks off'
        raise BagError(msg)

    with pytest.raises(BagError, match=r'^the bag breaks off$'):
        write_table(breaking(), path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == 'old'


FULL_DISK = """
import resource, sys
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.records import AlertState, Observation, State
from ros_ood_monitor.replay import write_table
import pyarrow.parquet
from ros_ood_monitor.evaluation.timeline import Timeline
import matplotlib.backends.backend_agg
rows = [Observation(i / 7, 'c', i / 3, 0.5, 2.0, AlertState(State.NORMAL)) for i in range(9000)]
line = Timeline()
list(line.follow(rows))
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
for name in sys.argv[1:]:
    try:
        line.save(name) if name.endswith('.png') else write_table(rows, name)
    except ParameterError as error:
        print(error)
"""


def test_a_full_disk_leaves_neither_table_nor_picture(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ('a.csv', 'a.parquet', 'a.png')]
    done = subprocess.run(
        [sys.executable, '-c', FULL_DISK, *paths], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stdout + done.stderr
    for line, path in zip(lines, paths, strict=True):
        assert line.startswith('cannot write file: ')
        assert line.endswith(f'nothing is left of it: {path}')
    assert list(tmp_path.iterdir()) == []


# --- picture -------------------------------------------------------------------------------------

ORANGE, BLUE, RED = (0xE6, 0x9F, 0x00), (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)


def pixels_of(rgb: npt.NDArray[np.uint8], colour: tuple[int, int, int], alpha: float = 1.0) -> int:
    mixed = 255 * (1 - alpha) + alpha * np.array(colour)
    return int((np.abs(rgb.astype(int) - mixed).max(axis=-1) <= 3).sum())


def draw(path: Path, observations: list[Observation]) -> npt.NDArray[np.uint8]:
    log, timeline = EpisodeLog(), Timeline(unit='z', title='flight')
    for observation in timeline.follow(observations):
        log.add(observation)
    timeline.save(path, log.episodes)
    image = cv2.imread(str(path))
    assert image is not None
    return image[..., ::-1]


def test_the_picture_shows_score_threshold_and_the_alert_shaded(
    tmp_path: Path, observations: list[Observation]
) -> None:
    rgb = draw(tmp_path / 'a.png', observations)
    assert rgb.shape[1] >= 1000
    assert pixels_of(rgb, BLUE) > 200
    assert pixels_of(rgb, RED) > 200
    # 1.3 of 7.1 s shaded: a fifth of the plot's area
    assert 0.08 < pixels_of(rgb, ORANGE, 0.35) / rgb[..., 0].size < 0.25
    quiet = draw(tmp_path / 'b.png', observations[: NORMAL - 1])
    assert pixels_of(quiet, ORANGE, 0.35) == 0


def test_every_camera_has_a_row_of_its_own(
    tmp_path: Path, observations: list[Observation]
) -> None:
    other = [
        Observation(o.stamp, 'rear', -o.raw_score, o.score, o.threshold, AlertState(State.NORMAL))
        for o in observations
    ]
    one = draw(tmp_path / 'a.png', observations)
    two = draw(tmp_path / 'b.png', [*observations, *other])
    assert two.shape[0] > 1.5 * one.shape[0]


def test_frames_without_an_answer_leave_a_gap_in_the_picture(
    tmp_path: Path, observations: list[Observation]
) -> None:
    odd = [
        replace(o, raw_score=(math.nan, math.inf, -math.inf)[k % 3]) if k < 6 else o
        for k, o in enumerate(observations)
    ]
    rgb = draw(tmp_path / 'a.png', odd)
    assert pixels_of(rgb, BLUE) > 200
    assert pixels_of(rgb, ORANGE, 0.35) > 200
    assert pixels_of(draw(tmp_path / 'b.png', odd[:6]), RED) > 200


def test_a_single_frame_can_be_drawn(tmp_path: Path, observations: list[Observation]) -> None:
    assert draw(tmp_path / 'a.png', observations[:1]).size


def test_nothing_to_draw_and_an_unknown_picture_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match='nothing to draw'):
        Timeline().save(tmp_path / 'a.png')
    with pytest.raises(ParameterError, match=r'expected .png or .svg or .pdf'):
        Timeline().save(tmp_path / 'a.bmp')


# --- command -------------------------------------------------------------------------------------


def command(*argv: object) -> int:
    parser = argparse.ArgumentParser()
    verb.add_parser(parser.add_subparsers())
    args = parser.parse_args(['replay', *map(str, argv)])
    return int(args.run(args))


def test_the_command_prints_facts_alerts_and_a_summary_and_writes_both_files(
    tmp_path: Path,
    bundle: Bundle,
    bag: Path,
    observations: list[Observation],
    capsys: pytest.CaptureFixture[str],
) -> None:
    table, plot = tmp_path / 'o.csv', tmp_path / 'o.png'
    assert command(bundle.path, bag, '--out', table, '--plot', plot) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[1] == 'duration  7.100 s'
    assert lines[2] == 'scored    /front/image_raw  sensor_msgs/msg/Image  72 messages'
    assert lines[3].startswith('    3.200 s  ALERT   raw_score')
    assert lines[4].startswith('    4.600 s  NORMAL  raw_score')
    assert lines[5].startswith('72 frames in ')
    assert lines[6] == '1 alert'
    assert lines[7].startswith('  3.200 s to 4.600 s (1.400 s), peak ')
    assert lines[8:] == [f'wrote {table}', f'wrote {plot}']
    assert err == ''
    stored = read_csv(table)
    assert [row['raw_score'] for row in stored] == [o.raw_score for o in observations]
    assert [row['state'] for row in stored] == [o.state.value for o in observations]
    assert plot.stat().st_size > 1000


def test_quiet_prints_nothing_and_every_takes_fewer_frames(
    tmp_path: Path, bundle: Bundle, bag: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / 'o.csv'
    assert command(bundle.path, bag, '--out', table, '--every', 10, '--quiet') == 0
    assert capsys.readouterr() == ('', '')
    assert [row['stamp'] for row in read_csv(table)] == pytest.approx(list(range(100, 108)))


def test_drop_scores_what_a_robot_that_is_busy_so_long_would_have_and_says_what_it_left_out(
    bundle: Bundle, bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = tmp_path / 'some.csv'
    assert command(bundle.path, bag, '--out', some, '--drop', 165) == 0
    out, _ = capsys.readouterr()
    # 10 Hz: it is free at 0.165, 0.33, 0.495, 0.66, 0.825 s, and finds the newest frame by then
    rows = read_csv(some)
    assert [round(10 * (row['stamp'] - rows[0]['stamp'])) for row in rows[:7]] == [
        0, 1, 3, 4, 6, 8, 9,
    ]  # fmt: skip
    left_out = 72 - len(rows)
    assert f'{len(rows)} frames in ' in out
    assert f'{left_out} of 72 frames left out for newer ones: /front/image_raw {left_out}\n' in out


def test_rate_takes_the_time_that_it_says(
    bundle: Bundle, bag: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.perf_counter()
    assert command(bundle.path, bag, '--rate', 20) == 0
    assert time.perf_counter() - began >= 7.1 / 20
    assert 'up with 20 times real time' in capsys.readouterr().out


def test_cameras_are_told_apart_and_a_topic_can_be_chosen(
    tmp_path: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / 'two'
    with BagWriter(path) as writer:
        for frame in frames():
            writer.write_image('/left/image_raw', frame.rgb, frame.stamp)
            writer.write_image('/right/image_raw', frame.rgb, frame.stamp + 0.05)
    assert command(bundle.path, path) == 0
    both = capsys.readouterr().out
    assert '2 alerts' in both
    assert '  left  3.200 s to 4.600 s' in both
    assert '  right  3.250 s to 4.650 s' in both
    assert command(bundle.path, path, '--topic', '/right/image_raw') == 0
    one = capsys.readouterr().out
    assert '1 alert\n  3.250 s to 4.650 s' in one  # from the bag's first image all the same
    assert 'not used  /left/image_raw' in one


def test_overlays_show_the_frames_in_alert_and_no_others(
    tmp_path: Path, bag: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mapped = make_tiny_bundle(tmp_path / 'mapped', maps=True)
    folder = tmp_path / 'made' / 'when needed'
    table = tmp_path / 'o.csv'
    assert command(mapped.path, bag, '--overlays', folder, '--out', table) == 0
    assert capsys.readouterr().out.endswith(f'wrote 14 overlays to {folder}\n')
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f'{103.2 + k / 10:.6f}.jpg' for k in range(14)]
    monitor, places = Monitor.from_bundle(mapped), []
    with BagReader(bag) as reader:
        for frame, seen in zip(frames(), replay(monitor, reader.frames()), strict=True):
            places.append((seen.heatmap_peak, seen.regions_text))
            file = folder / f'{seen.stamp:.6f}.jpg'
            if not file.exists():
                assert seen.state is not State.ALERT
                continue
            drawn = cv2.imread(str(file))[..., ::-1].astype(int)
            assert np.abs(drawn - annotated(frame.rgb, seen)).mean() < 12.0  # JPEG
    stored = [(row['heatmap_peak'], row['regions']) for row in read_csv(table)]
    assert stored == places
    assert [bool(regions) for _, regions in places].count(True) == STRANGE


def test_overlays_of_several_cameras_have_their_names(tmp_path: Path, bundle: Bundle) -> None:
    path = tmp_path / 'two'
    with BagWriter(path) as writer:
        for frame in list(frames())[NORMAL:][:4]:  # strange from the first one on
            writer.write_image('/left/image_raw', frame.rgb, frame.stamp)
            writer.write_image('/right/image_raw', frame.rgb, frame.stamp)
    assert command(bundle.path, path, '--overlays', tmp_path / 'o', '--quiet') == 0
    assert sorted(file.name for file in (tmp_path / 'o').iterdir()) == [
        'left_103.200000.jpg', 'left_103.300000.jpg',
        'right_103.200000.jpg', 'right_103.300000.jpg',
    ]  # fmt: skip


def test_overlays_of_frames_with_one_stamp_are_files_of_their_own(
    tmp_path: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / 'twice'
    with BagWriter(path) as writer:
        for frame in list(frames())[NORMAL:][:3]:
            writer.write_image('/front/image_raw', frame.rgb, frame.stamp)
            writer.write_image('/front/image_raw', frame.rgb, frame.stamp)
    assert command(bundle.path, path, '--overlays', tmp_path / 'o') == 0
    assert 'wrote 4 overlays' in capsys.readouterr().out
    assert sorted(file.name for file in (tmp_path / 'o').iterdir()) == [
        '103.100000.jpg', '103.100000_2.jpg', '103.200000.jpg', '103.200000_4.jpg',
    ]  # fmt: skip


def test_a_folder_of_overlays_that_cannot_be_is_refused_before_a_frame_is_scored(
    tmp_path: Path, bundle: Bundle, bag: Path
) -> None:
    (tmp_path / 'file').write_text('')
    for name, why in (
        ('file', 'got a file; name a folder'),
        ('file/o', 'got Not a directory; name another one'),
        ('', 'got one that holds 1 file; empty it, or name another one'),
    ):
        folder = tmp_path / name
        told = re.escape(f'overlays: expected a new or an empty folder, {why}: {folder}')
        with pytest.raises(ParameterError, match=told):
            command(bundle.path, bag, '--overlays', folder)
    assert [file.name for file in tmp_path.iterdir()] == ['file']


def test_skipped_frames_and_gaps_stand_in_the_summary(
    tmp_path: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / 'worn'
    with BagWriter(path) as writer:
        for i, frame in enumerate(frames()):
            late = 60.0 if i >= 35 else 0.0  # a minute is missing in the middle of the alert
            if i in (3, 9):
                writer.write_jpeg('/image/compressed', b'\xff\xd8\xff', frame.stamp + late)
            else:
                writer.write_jpeg('/image/compressed', frame.rgb, frame.stamp + late, quality=100)
    assert command(bundle.path, path) == 0
    out, err = capsys.readouterr()
    assert '70 frames in ' in out
    assert ', 2 skipped' in out
    assert 'skipped /image/compressed at log time 100.300000 s: jpeg truncated' in out
    assert '1 gap longer than 2 s; the alert logic starts anew after each' in out
    assert '2 alerts\n  3.200 s to 63.700 s' in out
    assert err.count('warning: frame skipped: /image/compressed') == 2


def test_checks_that_only_warn_are_told_without_frames_that_are_not_judged(
    tmp_path: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    with BagWriter(tmp_path / 'mixed') as writer:
        for i, frame in enumerate(list(frames())[:NORMAL]):
            message = writer.make(
                COMPRESSED,
                header=writer.make_header(frame.stamp),
                format='png' if i % 10 < 9 else 'bgr8; png compressed bgr8',
                data=cv2.imencode('.png', frame.rgb[..., ::-1])[1].ravel(),
            )
            writer.write('/image/compressed', COMPRESSED, message, frame.stamp)
    assert command(bundle.path, tmp_path / 'mixed') == 0
    assert '\nframes that fail a check: encoding 3\n0 alerts\n' in capsys.readouterr().out


@pytest.mark.skipif(not SHARED.is_dir(), reason='the recorded bag is not beside the checkout')
def test_a_recorded_bag_with_missing_files_replays_and_names_them(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(bundle.path, SHARED) == 0
    out, err = capsys.readouterr()
    assert 'missing   12 files' in out
    assert '2 frames in ' in out
    assert err.count('warning: ') == 1
    assert all(f'soccer_goal_{i}.mcap' in err for i in range(12))


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        (['--out', 'a.txt'], 'expected .parquet or .csv'),
        (['--plot', 'a.gif'], 'expected .png'),
        (['--topic', '/nothing'], "no such image topic.*got '/nothing'"),
        (['--engine', 'abacus'], "got 'abacus'"),
    ],
)
def test_a_wrong_option_is_refused_before_a_frame_is_scored(
    bundle: Bundle, bag: Path, options: list[str], match: str
) -> None:
    with pytest.raises(OodMonitorError, match=match):
        command(bundle.path, bag, *options)


def test_missing_folders_of_a_table_are_made(bundle: Bundle, bag: Path, tmp_path: Path) -> None:
    table = tmp_path / 'new' / 'deep' / 'scores.csv'
    assert command(bundle.path, bag, '--out', table, '--every', 30, '--quiet') == 0
    assert table.is_file()


def test_warnings_go_back_to_the_log_after_the_command(bundle: Bundle, bag: Path) -> None:
    import logging

    logger = logging.getLogger('ros_ood_monitor')
    before = (list(logger.handlers), logger.propagate)
    with pytest.raises(OodMonitorError):
        command(bundle.path, bag.parent / 'nothing')
    assert (list(logger.handlers), logger.propagate) == before


def test_the_verb_loads_neither_numpy_nor_matplotlib_before_it_runs() -> None:
    code = (
        'import argparse, sys; import ros_ood_monitor.cli.replay as verb;'
        'verb.add_parser(argparse.ArgumentParser().add_subparsers());'
        "print({'numpy', 'matplotlib', 'rosbags', 'pyarrow', 'tqdm'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'set()'
