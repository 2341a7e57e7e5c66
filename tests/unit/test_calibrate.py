"""``ood_monitor calibrate`` on real bags and folders: what it writes, what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import json
from pathlib import Path
import re
import shutil

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import yaml

from ros_ood_monitor.alerting import EpisodeLog, make_logic
from ros_ood_monitor.bags import BagReader, BagWriter
from ros_ood_monitor.bundle import Bundle, SKETCH, write_bundle
from ros_ood_monitor.bundle.sketch import frame_digest, FrameSketch
from ros_ood_monitor.cli.main import main
from ros_ood_monitor.evaluation.held_out.recordings import (
    find_held_out,
    HeldOut,
    hours_by_metadata,
)
from ros_ood_monitor.evaluation.held_out.scores import score_held_out
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.rate_calibration import count_episodes
from ros_ood_monitor.rate_calibration.score_streams import ScoreStream, split_streams
from ros_ood_monitor.recorder.recordings import SUMMARY
from ros_ood_monitor.records import State
from ros_ood_monitor.replay import replay
from tests.bag_tools import STORE, STRING, write_bag
from tests.tiny_bundle import make_tiny_bundle

TOPIC = '/front/image_raw'
FRAMES = 400  # a bag, at 1 Hz: 399 s
ASK = ('--false-alerts-per-hour', '70', '--refractory', '3')


def picture(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    middle, reach = rng.uniform(120, 136), rng.uniform(16, 40)
    rgb = rng.uniform(middle - reach, middle + reach, (24, 36, 3))
    # the bundle knows 90x60: the same pictures, a little coarser
    return rgb.astype(np.uint8)


def record(path: Path, seed: int, *, frames: int = FRAMES, step: float = 1.0) -> Path:
    rng = np.random.default_rng(seed)
    with BagWriter(path) as writer:
        for k in range(frames):
            writer.write_image(TOPIC, picture(rng), 100.0 + step * k)
    return path


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny', precisions=['fp32'])


@pytest.fixture(scope='module')
def bags(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp('bags')
    return [record(folder / f'day_{k}', k) for k in range(5)]


@pytest.fixture(scope='module', autouse=True)
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep scores, those of one test for the next."""
    folder = tmp_path_factory.mktemp('cache')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(folder))
        yield folder / 'ood_monitor' / 'scores'


def calibrate(*arguments: object) -> int:
    return main(['calibrate', *map(str, arguments)])


def test_new_bundle_differs_in_its_operating_point_and_nothing_else(
    bundle: Bundle, bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, facts = tmp_path / 'new', tmp_path / 'facts.json'
    assert calibrate(bundle.path, *bags, *ASK, '--out', out, '--json', facts) == 0
    said = capsys.readouterr()
    told = said.out
    assert 'warning: fp32: stated on 3 sequences: ' in said.err
    new = Bundle.load(out)
    point = new.calibration().operating_point
    assert point.rate is not None
    assert point.rate_established
    assert f'fp32: scored 2000 frames of 5 recordings, {5 * 399 / 3600:.3g} h' in told
    assert str(point.rate) in told
    assert point.rate.hours == pytest.approx(3 * 399 / 3600, rel=0.1)
    before = bundle.calibration().operating_point.trigger
    assert f'limit {point.trigger:.4g}, before: {before:.4g}; chosen on ' in told
    assert re.search(r'    day_\d: \d+ alerts?, quiet from [\d.]+ on\n', told)
    assert point.frame_rate_hz == pytest.approx(1.0)
    changed = {n for n, d in bundle.manifest.digests.items() if new.manifest.digests[n] != d}
    assert changed == {'calibration.fp32.npz'}
    assert np.array_equal(new.calibration().raw_score, bundle.calibration().raw_score)
    assert new.digest != bundle.digest
    assert new.manifest.name == bundle.manifest.name
    card = new.manifest.raw['calibration']['fp32']
    assert card['rate'] == point.rate.card()
    assert card['recordings'] == [f'day_{k}' for k in range(5)]
    assert json.loads(facts.read_text())['precisions']['fp32']['statement'] == str(point.rate)
    # what runs it takes the point, and the engine still proves itself
    monitor = Monitor.from_bundle(new)
    assert monitor.verify().ok
    assert monitor.threshold == point.trigger
    # the same command gives the same bundle
    assert calibrate(bundle.path, *bags, *ASK, '--out', tmp_path / 'again', '--quiet') == 0
    assert Bundle.load(tmp_path / 'again').digest == new.digest
    capsys.readouterr()
    assert main(['inspect', str(out)]) == 0
    assert f'false alerts per hour: established: {point.rate}' in capsys.readouterr().out
    assert main(['inspect', str(out), '--json']) == 0
    shown = json.loads(capsys.readouterr().out)['operating_points']['fp32']
    assert shown['rate'] == point.rate.card()
    assert shown['alpha'] is None


def test_scores_are_kept_from_calibrate_to_calibrate_and_from_evaluate(
    bundle: Bundle, bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / 'scores'
    ask = ('--false-alerts-per-hour', '120', '--refractory', '3', '--cache', cache)
    assert (
        main(['evaluate', str(bundle.path), '--all-id', str(bags[0]), '--cache', str(cache)]) == 0
    )
    (known,) = cache.glob('*.npz')
    capsys.readouterr()
    for out, told in (('new', '; 1 of them in an earlier run\n'), ('again', '; 4 of them in')):
        assert calibrate(bundle.path, *bags[:4], *ask, '--out', tmp_path / out) == 0
        assert f'scored 1600 frames of 4 recordings, 0.443 h{told}' in capsys.readouterr().out
    assert Bundle.load(tmp_path / 'new').digest == Bundle.load(tmp_path / 'again').digest
    assert len(list(cache.glob('*.npz'))) == 4
    assert known.is_file()
    assert calibrate(bundle.path, *bags[:4], *ask, '--no-cache', '--out', tmp_path / 'third') == 0
    assert '0.443 h\n' in capsys.readouterr().out


def test_a_camera_that_was_blind_starts_the_alert_logic_anew_as_on_the_node(
    bundle: Bundle, tmp_path: Path
) -> None:
    rng = np.random.default_rng(4)
    with BagWriter(tmp_path / 'bag') as writer:
        for k in range(120):
            rgb = picture(rng)
            if k in range(30, 50) or k in range(70, 90):
                rgb[..., 2] = 0  # yellow
            if k in (40, *range(78, 82), *range(110, 120)):
                rgb[...] = 0  # for a moment, blind, blind to the end
            writer.write_image(TOPIC, rgb, 100.0 + 0.2 * k)
    monitor = Monitor.from_bundle(bundle)
    point = bundle.calibration().operating_point
    point = replace(point, trigger_frames=6, release_frames=6)
    node = monitor.another(make_logic(point, bundle.calibration().raw_score))
    log, faults, alert_s = EpisodeLog(), 0, 0.0
    with BagReader(tmp_path / 'bag') as bag:
        for seen in replay(node, bag.frames()):
            log.add(seen)
            faults += seen.alert.changed and seen.alert.state is State.FAULT
            alert_s += 0.2 * (seen.is_judged and seen.alert.state is State.ALERT)
    (stream,) = score_held_out(find_held_out([tmp_path / 'bag']), bundle, monitor.engine).streams
    monitor.close()
    assert faults == 2
    assert stream.after_fault.sum() == 1  # of that at the end no frame comes
    found = count_episodes(bundle.calibration().raw_score)(stream, point)
    assert found.episodes == len(log.episodes)
    # FAULT ends an alert, which would go on over frames that are only left out
    joined = replace(stream, after_fault=np.zeros(len(stream.stamp), np.bool_))
    whole = count_episodes(bundle.calibration().raw_score)(joined, point)
    assert (found.episodes, whole.episodes) == (2, 1)
    assert found.seconds == pytest.approx(alert_s, abs=0.41)


def test_reports_of_a_bundle_with_a_rate_show_it(
    bundle: Bundle, bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'new'
    assert calibrate(bundle.path, *bags, *ASK, '--out', out) == 0
    point = Bundle.load(out).calibration().operating_point
    rng = np.random.default_rng(2)
    for name in ('known', 'odd'):
        (tmp_path / name).mkdir()
        for k in range(3):
            cv2.imwrite(str(tmp_path / name / f'{k}.png'), picture(rng))
    capsys.readouterr()
    facts = tmp_path / 'facts.json'
    folders = ['--images', str(tmp_path / 'known'), '--ood', str(tmp_path / 'odd')]
    assert main(['evaluate', str(out), *folders, '--json', str(facts)]) == 0
    line = f'false alerts per hour, by the bundle: {point.rate}'
    assert line in capsys.readouterr().out
    told = json.loads(facts.read_text())['operating_point']
    assert told['alpha'] is None
    assert told['rate_established']
    assert told['rate']['per_hour'] == 70.0


def test_bags_of_one_name_are_as_many_sequences_and_files_of_one_bag_are_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    days = [record(tmp_path / f'day_{k}' / 'bag', k, frames=3) for k in range(3)]
    found = find_held_out(days)
    assert [one.name for one in found] == ['day_0/bag', 'day_1/bag', 'day_2/bag']
    # the second file of the first bag, as a recorder splits one
    (first,) = days[0].glob('*.mcap')
    (other,) = days[1].glob('*.mcap')
    second = shutil.copy(other, first.with_name('bag_1.mcap'))
    metadata = days[0] / 'metadata.yaml'
    facts = yaml.safe_load(metadata.read_text())
    facts['rosbag2_bagfile_information']['relative_file_paths'].append('bag_1.mcap')
    metadata.write_text(yaml.safe_dump(facts))
    files = find_held_out([second, first, days[2]])
    assert [one.name for one in files] == ['day_0/bag', 'day_0/bag', 'day_2/bag']
    streams, frames = hours_by_metadata(files)
    assert [stream.sequence for stream in streams] == ['day_0/bag', 'day_2/bag']
    assert frames == 9
    # the bag and a file of it
    assert [one.path for one in find_held_out([first, days[0]])] == [days[0]]
    assert 'part of a bag that is given, too' in caplog.text


def test_files_of_one_bag_are_one_stream_in_order_of_time(bundle: Bundle, tmp_path: Path) -> None:
    parts = [
        record(tmp_path / 'part', k, frames=4).rename(tmp_path / f'part_{k}') for k in range(2)
    ]
    monitor = Monitor.from_bundle(bundle)
    later = HeldOut('bag', parts[0]), HeldOut('bag', record(tmp_path / 'more', 5, frames=9))
    streams = score_held_out(later, bundle, monitor.engine).streams
    monitor.close()
    assert [(one.sequence, len(one.stamp)) for one in streams] == [('bag', 13)]


def test_raw_and_compressed_of_a_camera_are_one_camera(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    days = [tmp_path / f'day_{k}' for k in range(4)]
    for day in days:
        with BagWriter(day) as writer:
            for k in range(300):
                rgb = picture(rng)
                writer.write_image(TOPIC, rgb, 100.0 + k)
                if k % 3:
                    writer.write_jpeg(f'{TOPIC}/compressed', rgb, 100.0 + k)
    ask = ('--false-alerts-per-hour', '150', '--refractory', '2', '--out', tmp_path / 'new')
    assert calibrate(bundle.path, *days, *ask) == 0
    said = capsys.readouterr()
    assert f'scored 1200 frames of 4 recordings, {4 * 299 / 3600:.3g} h' in said.out
    assert f'{TOPIC}/compressed is the same camera as {TOPIC} and left out' in said.err


def test_a_refractory_time_over_a_tenth_between_alerts_is_refused_before_any_work(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ('--false-alerts-per-hour', '1', '--refractory', '1e9', '--out', tmp_path / 'new')
    assert calibrate(bundle.path, tmp_path / 'nothing', *ask) == 1
    assert 'refractory time must be between 0 and 360 s' in capsys.readouterr().err


def test_too_few_hours_exit_with_1_and_the_hours_needed(
    bundle: Bundle, bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ('--false-alerts-per-hour', '0.5', '--out', tmp_path / 'new')
    twice = ('--precision', 'fp32', '--precision', 'fp32')  # scored once
    assert calibrate(bundle.path, *bags, *ask, *twice) == 1
    said = capsys.readouterr()
    assert 'at least 5.99 quiet hours, got' in said.err
    assert '2000 frames of 5 sequences to score, 0.554 h at most' in said.out
    assert 'scored' not in said.out  # known before
    assert not (tmp_path / 'new').exists()


def widened(bundle: Bundle, path: Path) -> Bundle:
    """Return a bundle to which the bags' pictures are not odd: of its held-out scores one is."""
    return with_scores(bundle, path, np.append(bundle.calibration().raw_score[:-1], 90.0))


def with_scores(bundle: Bundle, path: Path, scores: npt.NDArray[np.float64]) -> Bundle:
    """Return a bundle with other held-out scores."""
    known = bundle.calibration()
    return write_bundle(
        path,
        manifest={k: v for k, v in bundle.manifest.raw.items() if k not in ('format', 'digests')},
        files={
            **{name: bundle.read(name) for name in bundle.manifest.digests},
            'calibration.fp32.npz': replace(known, raw_score=scores).to_bytes(),
        },
    )


def test_extrapolation_is_marked_wherever_the_rate_is_shown(
    bundle: Bundle, bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ('--false-alerts-per-hour', '5', '--extrapolate', '--refractory', '3')
    out = tmp_path / 'new'
    # these pictures are odd to the bundle, and a tail of them is beyond what it would hear
    assert calibrate(bundle.path, *bags, *ask, '--out', out) == 1
    assert 'limit is beyond hearing: consecutive at ' in capsys.readouterr().err
    wide = widened(bundle, tmp_path / 'wide')
    assert calibrate(wide.path, *bags, *ask, '--out', out) == 0
    assert 'EXTRAPOLATED, not measured' in capsys.readouterr().out
    new = Bundle.load(out)
    assert not new.calibration().operating_point.rate_established
    assert 'EXTRAPOLATED' in new.manifest.raw['training']['false_alarm_rate']
    assert main(['inspect', str(out)]) == 0
    assert 'false alerts per hour: not established: EXTRAPOLATED' in capsys.readouterr().out


def test_few_recordings_write_no_rate_of_a_logic_that_does_not_forget(
    bundle: Bundle, bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'new'
    assert calibrate(bundle.path, *bags, *ASK, '--logic', 'cusum', '--out', out) == 1
    said = capsys.readouterr()
    assert (
        'too few sequences for the alert logic cusum: stating its rate takes at least 10'
        in said.err
    )
    assert 'scored' not in said.out  # it is refused before
    assert not out.exists()


def test_a_cache_that_cannot_be_written_is_refused_before_scoring(
    bundle: Bundle, bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'file').write_text('')
    cache = tmp_path / 'file' / 'cache'
    assert calibrate(bundle.path, *bags, *ASK, '--cache', cache, '--out', tmp_path / 'new') == 1
    said = capsys.readouterr()
    assert 'scores could not be kept' in said.err
    assert 'scored' not in said.out


def test_a_logic_that_the_held_out_scores_do_not_carry_is_refused_before_scoring(
    bundle: Bundle, bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alike = with_scores(bundle, tmp_path / 'alike', np.full(200, 7.0))
    asked = ('--logic', 'cusum', '--out', tmp_path / 'new')
    assert calibrate(alike.path, *bags, *ASK, *asked) == 1
    said = capsys.readouterr()
    assert 'cusum needs held-out scores that differ' in said.err
    assert not said.out


def test_hours_that_do_not_confirm_the_rate_write_nothing(
    bundle: Bundle, bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stamp = np.arange(float(FRAMES))
    days = [ScoreStream(bag.name, '', stamp, np.zeros(FRAMES)) for bag in bags]
    odd = split_streams(days, share=0.5, seed=0)[1][0].sequence
    rng = np.random.default_rng(1)
    with BagWriter(tmp_path / odd) as writer:
        for k in range(FRAMES):
            rgb = picture(rng)
            if k % 20 < 4:
                rgb[..., 2] = 0  # yellow
            writer.write_image(TOPIC, rgb, 100.0 + k)
    given = [tmp_path / odd if bag.name == odd else bag for bag in bags]
    assert calibrate(bundle.path, *given, *ASK, '--out', tmp_path / 'new') == 1
    assert 'do not support 70 false alerts per hour' in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()


def test_frames_of_the_training_are_refused(
    bundle: Bundle, bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digests: list[bytes] = []
    monitor = Monitor.from_bundle(bundle)
    seen = Monitor(bundle, monitor.engine, on_input=lambda x: digests.append(frame_digest(x)))
    rng = np.random.default_rng(0)
    for k in range(FRAMES):
        seen.observe_image(picture(rng), stamp=float(k))
    monitor.close()
    sketch = FrameSketch.of(np.array([np.frombuffer(d, np.uint8) for d in digests]))
    files = {name: bundle.read(name) for name in bundle.manifest.digests}
    knowing = write_bundle(
        tmp_path / 'knowing',
        manifest={k: v for k, v in bundle.manifest.raw.items() if k not in ('format', 'digests')},
        files={**files, SKETCH: sketch.to_bytes()},
    )
    assert calibrate(knowing.path, *bags, *ASK, '--out', tmp_path / 'new') == 1
    error = capsys.readouterr().err
    assert '400 of 400 frames are among those that the bundle was trained on' in error
    assert 'recordings that training did not see' in error
    assert 'day_0' in error


def test_a_recording_given_twice_is_counted_once(
    bundle: Bundle, bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / 'copy_of_day_0'
    shutil.copytree(bags[0], copy)
    out = tmp_path / 'new'
    assert calibrate(bundle.path, *bags, bags[1], copy, *ASK, '--out', out) == 0
    said = capsys.readouterr()
    assert 'scored 2000 frames' in said.out
    assert 'given more than once and used once' in said.err
    assert 'the same frames as in' in said.err


def test_one_long_bag_is_cut_and_the_statement_says_so(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = record(tmp_path / 'long', 8, frames=1600)
    assert calibrate(bundle.path, bag, *ASK, '--out', tmp_path / 'new') == 0
    assert '1 sequence whose other parts chose the setting' in capsys.readouterr().out


def test_pictures_that_the_node_does_not_judge_are_no_false_alerts(
    bundle: Bundle, bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    with BagWriter(tmp_path / 'dark') as writer:
        for k in range(FRAMES):
            rgb = np.zeros((24, 36, 3), np.uint8) if k % 100 < 20 else picture(rng)
            writer.write_image(TOPIC, rgb, 100.0 + k)
    ask = ('--false-alerts-per-hour', '150', '--refractory', '2', '--out', tmp_path / 'new')
    assert calibrate(bundle.path, tmp_path / 'dark', *bags, *ask) == 0
    said = capsys.readouterr()
    # the black ones, and those after them until a picture counts as usable again
    (dark,) = re.findall(r'(\d+) of 400 frames are no usable pictures and not judged', said.err)
    assert 80 <= int(dark) < 100
    assert f'fp32: scored {2400 - int(dark)} frames of 6 recordings' in said.out


@pytest.mark.parametrize(
    ('kind', 'told'),
    [
        ('labelled', 'recording shows anomalies'),
        ('alert', 'recording was made because of an alert'),
        ('rates', 'frame rates differ'),
        ('single', 'no time to watch'),
        ('absent', 'recording not found'),
        ('empty', 'bag has no image topic'),
        ('topic', 'no such image topic'),
        ('folder', 'image files have no time; say their frame rate with --rate HZ'),
    ],
)
def test_what_cannot_be_calibrated_on_is_refused_and_nothing_written(
    bundle: Bundle,
    bags: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    told: str,
) -> None:
    more: list[object] = []
    paths = list(bags[:2])
    if kind == 'labelled':
        paths.append(record(tmp_path / 'odd' / 'bag', 1, frames=3))
        labels = tmp_path / 'odd' / 'labels.yaml'
        labels.write_text('- {start: 101.0, end: 102.0, kind: debris}\n')
    elif kind == 'alert':
        paths.append(record(tmp_path / 'front_1', 1, frames=3))
        (paths[-1] / SUMMARY).write_text('{}')
    elif kind == 'rates':
        paths.append(record(tmp_path / 'fast', 1, frames=20, step=0.2))
    elif kind == 'single':
        paths = [record(tmp_path / 'one', 1, frames=1)]
    elif kind == 'absent':
        paths.append(tmp_path / 'nothing')
    elif kind == 'empty':
        message = STORE.types[STRING](data='hello')
        write_bag(
            tmp_path / 'none',
            [('/chatter', STRING, 1.0, bytes(STORE.serialize_cdr(message, STRING)))],
        )
        paths.append(tmp_path / 'none')
    elif kind == 'topic':
        more = ['--topic', '/back']
    elif kind == 'folder':
        (tmp_path / 'images').mkdir()
        cv2.imwrite(str(tmp_path / 'images' / 'a.png'), np.zeros((4, 4, 3), np.uint8))
        paths = [tmp_path / 'images']
    out = tmp_path / 'new'
    assert calibrate(bundle.path, *paths, *ASK, '--out', out, *more) == 1
    assert told in capsys.readouterr().err
    assert not out.exists()


def test_folders_of_images_are_sequences_at_the_rate_that_is_given(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(3)
    for day in range(4):
        folder = tmp_path / 'days' / f'{day}'
        folder.mkdir(parents=True)
        for k in range(600):
            cv2.imwrite(str(folder / f'{k}.png'), picture(rng))
    ask = ('--false-alerts-per-hour', '250', '--rate', '2', '--every', '2', '--refractory', '1')
    assert calibrate(bundle.path, tmp_path / 'days', *ask, '--out', tmp_path / 'new') == 0
    assert 'scored 1200 frames of 4 recordings' in capsys.readouterr().out
    point = Bundle.load(tmp_path / 'new').calibration().operating_point
    assert point.frame_rate_hz == pytest.approx(1.0)
    assert point.rate is not None
    assert point.rate.split == 'sequence'


def test_each_precision_gets_an_operating_point_of_its_own(
    bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('torch')
    both = make_tiny_bundle(tmp_path / 'both', precisions=['fp32', 'cpu-int8'])
    out = tmp_path / 'new'
    assert calibrate(both.path, *bags, *ASK, '--out', out) == 0
    new = Bundle.load(out)
    fp32, int8 = (new.calibration(name).operating_point for name in ('fp32', 'cpu-int8'))
    assert fp32.rate_established
    assert int8.rate_established
    assert fp32.trigger != int8.trigger
    # or one alone; the other one keeps what it has
    assert calibrate(both.path, *bags, *ASK, '--out', out, '--overwrite',
                     '--precision', 'cpu-int8') == 0  # fmt: skip
    again = Bundle.load(out)
    assert again.calibration('cpu-int8').operating_point.trigger == int8.trigger
    assert again.calibration('fp32').to_bytes() == both.calibration('fp32').to_bytes()
    known = again.manifest.raw['training']['false_alarm_rate']
    assert known == f'fp32: not established; cpu-int8: {int8.rate}'
    assert set(again.manifest.raw['calibration']) == {'cpu-int8'}
    capsys.readouterr()


def test_an_output_that_exists_is_refused_before_anything_is_read(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'new').mkdir()
    assert calibrate(bundle.path, tmp_path / 'nothing', *ASK, '--out', tmp_path / 'new') == 1
    assert 'output exists already' in capsys.readouterr().err
