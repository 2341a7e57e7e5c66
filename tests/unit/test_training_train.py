"""The whole way: frames to a bundle that the deployed engine reproduces."""

# flake8: noqa: E402  (the trainer cannot be imported where torch is missing)

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path
import re
import resource
import shutil
import signal
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

torch = pytest.importorskip('torch')

from ros_ood_monitor.bags import BagWriter
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.cli import train as verb
from ros_ood_monitor.cli.main import main
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.errors import BundleError, EngineError, TrainingError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.training.fitting.tap import fit_density, FlowSettings
from ros_ood_monitor.training.frames.pseudo_ood import KINDS
from ros_ood_monitor.training.settings.config_file import settings_from
from ros_ood_monitor.training.settings.train_settings import Resources, TrainSettings
from ros_ood_monitor.training.trainer import train, TrainResult
from tests.flow_tools import features
from tests.interrupts import heed_interrupts
from tests.training_tools import scene, write_scenes

pytestmark = pytest.mark.usefixtures('exported_once')

TAPS = ('blocks.0', 'blocks.1')
FRAMES = 120


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 120 pictures of three sizes, and one that is none."""
    folder = write_scenes(tmp_path_factory.mktemp('frames') / 'normal', FRAMES)
    (folder / 'frame_7b.png').write_bytes(b'\x89PNG\r\n\x1a\n but no more')
    return folder


def settings(data: Path, **changes: Any) -> TrainSettings:
    options = {
        'taps': TAPS,
        'map': 'none',
        'alpha': 0.05,
        'input_size': 64,
        'flow': FlowSettings(steps=60),
    }
    return TrainSettings((data,), **{**options, **changes})


@pytest.fixture(scope='module')
def result(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(settings(data), tmp_path_factory.mktemp('out') / 'bundle')


def test_corrupt_image_is_skipped_counted_and_named(result: TrainResult) -> None:
    assert [name for name, _ in result.skipped] == ['normal/frame_7b.png']
    card = result.bundle.manifest.raw['training']
    assert card['frames'] == {
        'used': 120,
        'fit': 84,
        'validation': 12,
        'calibration': 24,
        'skipped': 1,
        'near_duplicates': 0,
        'distinct': 120,
        'shared': 0,
        'held_out_twins': card['frames']['held_out_twins'],
        'backward_steps': 0,
    }
    assert card['skipped_frames'][0].startswith('normal/frame_7b.png: ')


def test_bundle_is_reproduced_by_the_deployed_engine(result: TrainResult) -> None:
    engine = open_engine(Bundle.load(result.bundle.path))
    verification = result.bundle.verify(engine)
    assert verification.ok
    assert verification.count == 3


def test_the_bundle_knows_the_frames_that_it_was_trained_on(
    result: TrainResult, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scenes(tmp_path / 'new', 4, first=400)
    arguments = ['--images', str(data), '--ood', str(tmp_path / 'new')]
    assert main(['evaluate', str(result.bundle.path), *arguments]) == 0
    said = capsys.readouterr().out
    assert 'normal: 120 of 120 frames are among those that the bundle was trained on' in said
    assert said.count('trained on') == 1


def test_the_bundle_knows_the_health_of_its_training_frames(
    result: TrainResult, capsys: pytest.CaptureFixture[str]
) -> None:
    table = result.bundle.manifest.health
    assert table is not None
    assert (table['frames'], table['still']) == (120, 0.0)
    assert sorted(table['sizes']) == [[40, 40], [60, 72], [64, 48]]
    monitor = Monitor.from_bundle(result.bundle)
    seen = [monitor.observe_image(scene(k), stamp=0.1 * k) for k in range(500, 520)]
    assert {str(o.health) for o in seen} == {'ok'}
    noisy = scene(520) + np.random.default_rng(0).normal(0, 40, (48, 64, 3))
    last = monitor.observe_image(np.clip(noisy, 0, 255).astype(np.uint8), stamp=52.0)
    monitor.close()
    assert last.health is not None
    assert 'noise' in [fault.name for fault in last.health.faults]
    assert last.health.is_usable
    assert main(['inspect', str(result.bundle.path)]) == 0
    assert 'health       limits of 120 frames (40x40, 60x72, 64x48): ' in capsys.readouterr().out
    report = (result.bundle.path / 'report' / 'index.html').read_text(encoding='utf-8')
    assert 'Input health' in report


def test_monitor_finds_a_strange_picture_stranger(result: TrainResult) -> None:
    monitor = Monitor.from_bundle(result.bundle)
    normal = [monitor.observe_image(scene(k)).raw_score for k in range(500, 520)]
    strange = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    assert np.median(normal) < monitor.threshold
    assert monitor.observe_image(strange).raw_score > max(*normal, monitor.threshold)
    monitor.close()


def test_calibration_holds_the_scores_of_the_monitor(result: TrainResult, data: Path) -> None:
    from ros_ood_monitor.training.frames.datasets import Dataset

    monitor = Monitor.from_bundle(result.bundle)
    items = [item for item in Dataset([data]).items(0) if '7b' not in item.name]
    rgb = [items[k].decode().rgb for k in result.found.split.calibration]
    scores = [monitor.observe_image(picture).raw_score for picture in rgb]
    assert scores == pytest.approx(result.found.deployed['fp32'].raw_score.tolist(), abs=1e-6)
    assert result.bundle.calibration().raw_score == pytest.approx(
        np.sort(result.found.deployed['fp32'].raw_score)
    )
    monitor.close()


def test_validation_scores_are_standardised_per_tap(result: TrainResult) -> None:
    taps = result.bundle.manifest.raw['training']['taps']
    assert set(taps) == set(TAPS)
    for row in result.found.fitted:
        assert taps[row.tap.name]['nll_mean'] == pytest.approx(row.record.nll, rel=1e-3)


def test_manifest_names_no_place_on_this_machine(result: TrainResult, tmp_path: Path) -> None:
    text = (result.bundle.path / 'manifest.yaml').read_text()
    assert '/tmp' not in text
    assert str(Path.home()) not in text
    assert 'not established' in result.bundle.manifest.raw['training']['false_alarm_rate']


def test_equal_inputs_give_an_equal_digest(
    result: TrainResult,
    data: Path,
    tmp_path: Path,
    exported_once: Path,
) -> None:
    shutil.rmtree(exported_once, ignore_errors=True)
    moved = tmp_path / 'elsewhere' / 'normal'
    moved.parent.mkdir()
    moved.symlink_to(data, target_is_directory=True)
    again = train(settings(moved), tmp_path / 'again')
    assert again.bundle.digest == result.bundle.digest


def test_a_training_with_a_cache_gives_the_same_and_keeps_features_and_fits(
    result: TrainResult, data: Path, tmp_path: Path
) -> None:
    resources = Resources(cache=tmp_path / 'cache', workers=1)
    for name in ('first', 'again'):
        done = train(settings(data), tmp_path / name, resources=resources)
        assert done.bundle.digest == result.bundle.digest
        kept = {file: file.stat().st_mtime_ns for file in (tmp_path / 'cache').rglob('*.*')}
        if name == 'first':
            first = kept
    assert {file.name for file in first} >= {'rows.bin', 'state.json'}
    assert sum(file.suffix == '.pt' for file in first) == len(TAPS)
    assert kept == first


def test_report_lies_beside_the_bundle_and_outside_of_its_digests(result: TrainResult) -> None:
    folder = result.bundle.path / 'report'
    assert result.report == ''
    facts = json.loads((folder / 'report.json').read_text())
    assert facts['digest'] == result.bundle.digest
    page = (folder / 'index.html').read_text()
    assert 'blocks.1' in page
    words = re.sub(r'base64,[^"]*', '', page)  # where any four letters may stand
    assert 'http' not in words.replace('http://www.w3.org', '')  # shown without a network
    assert not any('report' in name for name in result.bundle.manifest.digests)


def test_the_bundle_holds_the_settings_of_its_training(result: TrainResult, data: Path) -> None:
    again = settings_from(yaml.safe_load(result.bundle.read('training.yaml')))
    assert dataclasses.replace(again, data=(data,)) == settings(data)


def test_each_precision_has_its_own_calibration_and_is_reproduced(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / 'bundle'
    done = train(settings(data, precisions=('fp16', 'fp32')), out)
    assert done.bundle.manifest.precisions == ('fp16', 'fp32')
    (verdict,) = done.found.verdicts
    assert verdict.ok
    assert 0.0 < verdict.error_mean < 0.5
    for precision in ('fp16', 'fp32'):
        monitor = Monitor.from_bundle(done.bundle, precision=precision)
        assert monitor.verify().ok
        monitor.close()
    shown = json.loads((out / 'report' / 'report.json').read_text())
    reference, candidate = shown['precisions']
    assert list(reference['auroc_by_kind']) == list(candidate['auroc_by_kind']) == list(KINDS)
    assert candidate['auroc_by_kind'][verdict.kind] == verdict.auroc
    change = verdict.auroc - reference['auroc_by_kind'][verdict.kind]
    assert verdict.auroc_change == pytest.approx(change)
    assert shown['judged_on'].startswith('Errors and shares on 12 validation frames')
    assert 'on them and the 24 calibration frames, against 36 pictures' in shown['judged_on']
    assert (verdict.frames, verdict.auroc_frames, verdict.pictures) == (12, 36, 36)
    assert [row['precision'] for row in shown['calibrations']] == ['fp16', 'fp32']
    point = done.bundle.calibration('fp16').operating_point
    assert shown['calibrations'][0]['trigger'] == point.trigger
    assert any(line.startswith('fp16, fp32: the trigger hangs') for line in shown['warnings'])
    told = done.bundle.manifest.raw['training']['precisions'][0]
    assert (told['verdict'], told['warning']) == (verdict.word, verdict.warning)
    half, single = (done.bundle.calibration(name).raw_score for name in ('fp16', 'fp32'))
    assert not np.array_equal(half, single)
    assert np.abs(half - single).max() < single.std()


def test_an_output_that_cannot_be_written_is_refused_before_the_work(data: Path) -> None:
    with pytest.raises(BundleError, match='output cannot be written'):
        train(settings(data, taps=['no such tap']), '/proc/bundle')


def test_one_picture_over_and_over_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / 'still'
    folder.mkdir()
    for k in range(100):
        assert cv2.imwrite(str(folder / f'{k}.png'), scene(3))
    with pytest.raises(TrainingError, match='all 100 frames show the same picture'):
        train(settings(folder), tmp_path / 'bundle')


@pytest.mark.parametrize('count', [1, 49])
def test_a_handful_of_frames_is_refused_with_what_is_needed(tmp_path: Path, count: int) -> None:
    folder = write_scenes(tmp_path / 'few', count)
    with pytest.raises(TrainingError, match=f'expected at least 95 .* got {count}'):
        train(settings(folder), tmp_path / 'bundle')


def test_time_that_runs_backwards_is_counted(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for k in range(100):
            stamp = 50.0 + 0.1 * (k if k < 60 else k - 40)  # the camera's clock is set back
            packed = cv2.imencode('.png', scene(k))[1].ravel()
            message = bag.make(
                'sensor_msgs/msg/CompressedImage',
                header=bag.make_header(stamp),
                format='png',
                data=packed,
            )
            bag.write('/image', 'sensor_msgs/msg/CompressedImage', message, 50.0 + 0.1 * k)
    done = train(settings(tmp_path / 'bag', density='mahalanobis'), tmp_path / 'bundle')
    assert done.bundle.manifest.raw['training']['frames']['backward_steps'] == 1
    assert done.bundle.calibration().operating_point.frame_rate_hz == pytest.approx(10.0)


def test_trained_twice_over_the_same_place_needs_overwrite(
    result: TrainResult, data: Path
) -> None:
    with pytest.raises(BundleError, match='--overwrite'):
        train(settings(data), result.bundle.path)
    assert Bundle.load(result.bundle.path).digest == result.bundle.digest


def test_a_folder_that_is_no_bundle_is_never_replaced(data: Path, tmp_path: Path) -> None:
    (tmp_path / 'precious').write_text('thesis')
    with pytest.raises(BundleError, match='no bundle'):
        train(settings(data), tmp_path, overwrite=True)
    assert (tmp_path / 'precious').read_text() == 'thesis'


def test_too_few_frames_are_refused_at_once(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r'expected at least 495 .* got 121; .*--alpha 0\.04'):
        train(settings(data, alpha=0.01), tmp_path / 'bundle')


def test_too_few_readable_frames_are_refused_too(tmp_path: Path) -> None:
    data = write_scenes(tmp_path / 'data', 96)
    for index in (3, 4):
        (data / f'frame_{index}.png').write_bytes(b'x')
    kept = Resources(cache=tmp_path / 'cache', device='cpu')
    with pytest.raises(
        TrainingError,
        match=r'at least 95 .* got 94 \(left out: 2 that did not decode: data/frame_3.png '
        r'\(.*\), data/frame_4.png \(.*\)\);',
    ) as first:
        train(settings(data), tmp_path / 'bundle', resources=kept)
    with pytest.raises(TrainingError) as again:  # nothing is read
        train(settings(data), tmp_path / 'bundle', resources=kept)
    assert str(again.value) == str(first.value)
    assert not (tmp_path / 'bundle').exists()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'taps': ['blocks.7']}, r"blocks\.6, head, got 'blocks\.7'"),
        ({'density': 'kde'}, "'auto', 'evidence', 'flow', 'mahalanobis'"),
        ({'split': 'random'}, "'auto', 'sequence', 'block'"),
        ({'input_size': 16}, 'at least 32'),
        ({'threads': 0}, 'threads out of range: expected at least 1'),
        ({'precisions': ['bf16']}, r"'fp32', 'fp16', .* got 'bf16'"),
        ({'normalization': 'zca'}, 'normalisation is unknown'),
        ({'backbone': 'resnet'}, 'backbone is unknown'),
    ],
)
def test_wrong_settings_are_refused(
    data: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        train(settings(data, **change), tmp_path / 'bundle')


def test_an_unknown_tap_is_refused_before_any_data_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"got 'blocks\.7'"):
        train(settings(tmp_path / 'nowhere', taps=['blocks.7']), tmp_path / 'bundle')


def test_training_leaves_the_settings_of_torch_alone(result: TrainResult) -> None:
    assert not torch.are_deterministic_algorithms_enabled()


def test_flow_takes_the_earliest_step_within_one_standard_error() -> None:
    fit, held_out = (features(n, 8, seed=n).numpy() for n in (200, 40))
    _, record = fit_density('flow', fit, held_out, settings=FlowSettings(steps=200), seed=0)
    allowed = min(nll for _, nll in record.curve) + record.standard_error
    assert record.curve[0][0] == 0
    assert record.nll <= allowed
    assert all(nll > allowed for step, nll in record.curve if step < record.step)
    assert [step for step, _ in record.fit_curve] == [step for step, _ in record.curve]
    assert record.fit_curve[-1][1] < record.fit_curve[0][1]  # training does lower the fit part's
    assert record.fit_nll == dict(record.fit_curve)[record.step]


def test_training_improves_a_flow_on_curved_data() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(700, 4, generator=generator)
    x[:, 1] = x[:, 0] ** 2 + 0.1 * x[:, 1]  # what no Gaussian holds
    settings = FlowSettings(hidden=32, steps=600, learning_rate=3e-3)
    _, record = fit_density('flow', x[:500].numpy(), x[500:].numpy(), settings=settings, seed=0)
    assert record.step > 0
    assert record.nll < record.nll_at_start - 5 * record.standard_error


def call(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    verb.add_parser(parser.add_subparsers())
    args = parser.parse_args(['train', *arguments, '--no-cache'])
    return int(args.run(args))


def test_command_trains_and_prints_a_row_per_tap(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'bundle'
    options = ['--taps', 'blocks.0', '--alpha', '0.05', '--input-size', '64', '--steps', '40']
    options += ['--density', 'mahalanobis', '--name', 'fresh', '--data-licence', 'CC0-1.0']
    assert call(['--data', str(data), '--out', str(out), *options]) == 0
    said = capsys.readouterr()
    assert 'blocks.0     16  mahalanobis ' in said.out
    assert 'false alerts per hour: not established' in said.out
    assert 'skipped 1 of 121 frames' in said.err
    assert 'normal/frame_7b.png' in said.err
    assert 'features: 100%' in said.err
    assert said.err.startswith('loading PyTorch\n')
    assert re.search(r'mahalanobis blocks.0 \(1/1\): 100%.* 1/1 ', said.err)
    hanging = 'the trigger hangs on single frames: none of 24 held-out frames'
    assert hanging in said.err
    assert '; step: ' not in said.out  # there is no flow
    shown = json.loads((out / 'report' / 'report.json').read_text())
    assert any(line.startswith(hanging) for line in shown['warnings'])
    assert '1 frames did not decode' in shown['warnings'][0]
    manifest = Bundle.load(out).manifest
    assert len(manifest.raw['training']['taps']['blocks.0']['fit_curve']) == 1
    assert manifest.name == 'fresh'
    assert manifest.raw['licences']['data'] == 'CC0-1.0'


def test_command_builds_the_engine_of_what_it_trained(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed')
    monkeypatch.setenv('OOD_MONITOR_ENGINES', str(tmp_path / 'engines'))
    out = tmp_path / 'bundle'
    options = ['--taps', 'blocks.0', '--alpha', '0.05', '--input-size', '64', '--quiet']
    options += ['--density', 'mahalanobis', '--build-engine', 'tensorrt_rtx']
    assert call(['--data', str(data), '--out', str(out), *options]) == 0
    (folder,) = (tmp_path / 'engines').iterdir()
    assert f'engine: {folder}' in capsys.readouterr().out
    facts = json.loads((folder / 'facts.json').read_text())
    assert facts['about']['bundle_digest'] == Bundle.load(out).digest


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--build-engine', 'tensorrt'], 'tensorrt is not installed|look at nvidia-smi'),
        (['--build-engine', 'auto', '--precisions', 'cpu-int8'], 'none of the precisions'),
    ],
)
def test_an_engine_that_cannot_be_built_is_told_before_the_training(
    data: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed')
    base = ['--data', str(data), '--out', str(tmp_path / 'bundle'), '--alpha', '0.05', '--quiet']
    with pytest.raises(EngineError, match=message):
        call([*base, *options])
    assert not (tmp_path / 'bundle').exists()


def test_command_names_a_flow_at_step_0_a_gaussian_and_data_given_twice(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'bundle'
    options = ['--taps', 'blocks.0', '--alpha', '0.2', '--input-size', '64', '--steps', '0']
    twice = [str(data), str(data / '..' / data.name)]
    assert call(['--data', *twice, '--out', str(out), '--quiet', *options]) == 0
    said = capsys.readouterr()
    assert 'flow: step 0 = Gaussian' in said.out
    (warning,) = [line for line in said.err.splitlines() if 'more than once' in line]
    assert warning.startswith('ood_monitor: warning: data was found more than once and is used')
    assert 'loading PyTorch' not in said.err
    assert Bundle.load(out).manifest.raw['training']['frames']['used'] == 120


@pytest.mark.parametrize(
    ('preset', 'rule', 'steps'),
    [
        ('fde_paper', 'step: the last one', 2),
        ('realnvp', 'one standard error', 2),
        ('realnvp', 'one standard error', 0),
    ],
)
def test_command_trains_the_flows_of_the_papers(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    preset: str,
    rule: str,
    steps: int,
) -> None:
    out = tmp_path / 'bundle'
    options = ['--taps', 'blocks.0', '--alpha', '0.2', '--input-size', '64', '--quiet']
    code = call(
        ['--data', str(data), '--out', str(out), *options, '--flow', preset, '--steps', str(steps)]
    )
    assert code == 0
    said = capsys.readouterr()
    row = re.search(rf'blocks\.0     16  flow: step (\d) +{steps} +- ', said.out)
    assert row is not None
    assert rule in said.out
    assert ('untrained: the flow of blocks.0 was taken' in said.err) is (row[1] == '0')
    few = 'hardly trained: the flow of blocks.0 made 2 optimiser steps at a learning rate of '
    assert (few in said.err) is (row[1] != '0')
    assert 'Gaussian' not in said.out
    raw = Bundle.load(out).manifest.raw
    assert raw['training']['settings']['flow']['preset'] == preset
    assert main(['inspect', str(out)]) == 0
    assert 'Gaussian' not in capsys.readouterr().out


@pytest.mark.parametrize(
    ('code', 'said'),
    [
        (
            'raise ImportError("libcudart.so: cannot open")',
            r'imported \(libcud.*; run: ood_monitor d',
        ),
        ('import surely_absent', r"package 'surely_absent', which is not installed; run: pip ins"),
    ],
)
def test_command_tells_a_broken_package_from_an_absent_one(
    data: Path, tmp_path: Path, code: str, said: str
) -> None:
    (tmp_path / 'torch.py').write_text(code)
    done = subprocess.run(
        command(data, tmp_path / 'bundle'),
        env={**os.environ, 'PYTHONPATH': str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.search(f'^ood_monitor: error: training needs .*{said}', done.stderr, re.MULTILINE)


def command(data: Path, out: Path) -> list[str]:
    options = ['--taps', ','.join(TAPS), '--alpha', '0.05', '--input-size', '64', '--no-cache']
    base = [sys.executable, '-c', RUN, 'train', '--data', str(data), '--out', str(out)]
    return [*base, *options]


RUN = 'import sys; from ros_ood_monitor.cli.main import main; sys.exit(main())'


def environment(folder: Path) -> dict[str, str]:
    folder.mkdir()
    return {**os.environ, 'TMPDIR': str(folder)}


def test_interrupt_leaves_nothing_and_exits_130(data: Path, tmp_path: Path) -> None:
    out = tmp_path / 'here' / 'bundle'
    out.parent.mkdir()
    with subprocess.Popen(
        command(data, out),
        env=environment(tmp_path / 'temporary'),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        preexec_fn=heed_interrupts,
    ) as process:
        assert process.stderr is not None
        seen = b''
        while b'blocks.0' not in seen:  # the first flow is being fitted
            chunk = os.read(process.stderr.fileno(), 4096)
            assert chunk, seen.decode()
            seen += chunk
        process.send_signal(signal.SIGINT)
        seen += process.stderr.read()
        assert process.wait(timeout=60) == 130, seen.decode()
    assert b'interrupted; nothing was kept; without --no-cache the same command would' in seen
    assert b'Traceback' not in seen
    assert list(out.parent.iterdir()) == []
    assert list((tmp_path / 'temporary').glob('*ood_monitor*')) == []


def test_an_interrupt_says_that_the_same_command_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr('ros_ood_monitor.training.trainer.train', interrupted)
    options = ['--data', str(data), '--out', str(tmp_path / 'b'), '--alpha', '0.05', '--quiet']
    assert main(['train', *options, '--cache', str(tmp_path / 'cache')]) == 130
    said = capsys.readouterr().err
    assert said == 'ood_monitor: interrupted; the same command goes on where it was\n'


def test_disk_that_takes_no_more_is_told_and_leaves_nothing(data: Path, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (25_000, 25_000))

    out = tmp_path / 'here' / 'bundle'
    out.parent.mkdir()
    done = subprocess.run(
        [*command(data, out), '--density', 'mahalanobis'],
        env={**environment(tmp_path / 'temporary'), 'PYTHONDONTWRITEBYTECODE': '1'},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )
    assert done.returncode == 1
    assert 'File too large' in done.stderr
    assert 'Traceback' not in done.stderr
    assert list(out.parent.iterdir()) == []
    assert list((tmp_path / 'temporary').glob('*ood_monitor*')) == []
