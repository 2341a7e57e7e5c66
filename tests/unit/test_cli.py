"""The command: every verb is there, refusals are one line, exit codes are as documented."""

from __future__ import annotations

from collections.abc import Iterator
import copy
from dataclasses import asdict, replace
import datetime as dt
import json
import math
from pathlib import Path
import re
import subprocess
import sys
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
import pytest

from ros_ood_monitor.bundle import Bundle, write_bundle
from ros_ood_monitor.bundle.goldens import Goldens
from ros_ood_monitor.calibration import (
    Calibration,
    map_warning,
    OperatingPoint,
    trigger_support,
    trigger_warning,
)
from ros_ood_monitor.cli import doctor, inspect
from ros_ood_monitor.cli.main import main, make_parser, VERBS
from ros_ood_monitor.engines import open_engine
from tests.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny')


def test_help_lists_every_verb_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(['--help'])
    assert stop.value.code == 0
    listed = capsys.readouterr().out
    for verb in VERBS:
        # Python 3.10 puts the text of a long name onto the next line
        assert re.search(rf'^ +{verb}\s+\S+(?: \S+){{2,}}', listed, re.MULTILINE), verb


@pytest.mark.parametrize('function', ['add_parser', 'run'])
def test_ctrl_c_is_exit_code_130_from_the_first_moment_on(
    function: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, function, interrupted)
    assert main(['doctor']) == 130
    assert capsys.readouterr().err == 'ood_monitor: interrupted\n'


@pytest.mark.parametrize('verb', VERBS)
def test_every_verb_and_option_has_a_help_text(verb: str) -> None:
    parser = make_parser()
    choices = next(a.choices for a in parser._actions if a.choices and verb in a.choices)
    stack = [choices[verb]]
    while stack:
        for action in stack.pop()._actions:
            assert action.help, f'{verb} {action.option_strings or action.dest}'
            if isinstance(action.choices, dict):
                stack.extend(action.choices.values())


def test_inspect_prints_the_card(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['inspect', str(bundle.path)]) == 0
    card = capsys.readouterr().out
    assert bundle.digest in card
    assert 'false alerts per hour: not established' in card
    assert len(card.splitlines()) < 20


def test_inspect_says_what_the_numbers_of_a_heatmap_are(
    tmp_path: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    mapped = make_tiny_bundle(tmp_path / 'mapped', maps=True)
    of_map = mapped.calibration().map
    assert of_map is not None
    assert main(['inspect', str(mapped.path)]) == 0
    said = f'0 is a patch_score of {of_map.normal:.4g}, 1 of {of_map.threshold:.4g}; set for 1.00%'
    assert said in capsys.readouterr().out
    assert main(['inspect', '--json', str(mapped.path)]) == 0
    points = json.loads(capsys.readouterr().out)['operating_points']
    assert points['fp32']['map'] == asdict(of_map)
    assert main(['inspect', str(bundle.path)]) == 0
    assert 'heat-map' not in capsys.readouterr().out


def test_inspect_names_the_alert_logic_with_its_settings() -> None:
    point = OperatingPoint(3.0, 2.0, logic='cusum', settings={'limit': 7.5, 'reference': 0.5})
    assert inspect._alert(point).startswith(
        'alert: cusum; threshold of single frames TRIGGER, limit 7.5, reference 0.5; set for 1.00%'
    )
    lasting = replace(point, logic='consecutive', settings={'trigger_seconds': 0.4})
    assert 'under RELEASE in 5, trigger_seconds 0.4; set for' in inspect._alert(lasting)


def test_inspect_calls_a_flow_at_step_0_a_gaussian(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['inspect', 'lunar_orbit']) == 0
    card = capsys.readouterr().out
    assert card.count('flow: step 0 = Gaussian') == 4
    assert '1920 frames of 120 sequences: 1344 fit, 192 validation, 384 calibration' in card
    assert '384 held-out frames, 2 of them over the trigger (10 would be with 1099)' in card
    assert 'WARNING' not in card
    assert 'data Apache-2.0 (rendered by this project)' in card
    assert len(card.splitlines()) < 20


@pytest.mark.parametrize(
    ('count', 'alpha', 'above', 'warned'),
    [
        (99, 0.01, 0, 'none of 99'),
        (200, 0.01, 1, '1 of 200'),
        (384, 0.01, 2, ''),
        (99, 0.2, 19, ''),
    ],
)
def test_a_trigger_that_hangs_on_single_frames_is_warned_about(
    count: int, alpha: float, above: int, warned: str
) -> None:
    calibration = Calibration.fit(np.arange(float(count)), alpha=alpha)
    assert trigger_support(calibration)[0] == above
    assert warned in trigger_warning(calibration)
    assert bool(trigger_warning(calibration)) == bool(warned)
    assert map_warning(calibration) == ''  # there is none
    cells = np.random.default_rng(count).normal(size=(count, 2, 2)).astype(np.float32)
    mapped = Calibration.fit(np.arange(float(count)), alpha=alpha, patch_score=cells)
    assert mapped.map is not None
    assert (cells.max(axis=(1, 2)) > mapped.map.threshold).sum() == above
    assert warned in map_warning(mapped)
    assert bool(map_warning(mapped)) == bool(warned)


def test_inspect_warns_of_a_map_that_hangs_on_single_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_tiny_bundle(tmp_path / 'tiny', maps=True, precisions=('fp32', 'fp16'))
    assert main(['inspect', str(made.path)]) == 0
    told = "the map's threshold hangs on single frames: 1 of 200 held-out frames had a cell over"
    assert capsys.readouterr().out.count(told) == 1


@pytest.mark.parametrize('alpha', [0.01, 0.03, 0.05, 0.2])
def test_the_advised_number_of_held_out_frames_is_the_least_that_puts_ten_over_the_trigger(
    alpha: float,
) -> None:
    _, needed = trigger_support(Calibration.fit(np.arange(500.0), alpha=alpha))
    above = [
        trigger_support(Calibration.fit(np.arange(float(n)), alpha=alpha))[0]
        for n in (needed - 1, needed)
    ]
    assert above == [9, 10]


def test_inspect_gives_the_manifest_as_json(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['inspect', '--json', str(bundle.path)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said['digest'] == bundle.digest
    assert said['operating_points']['fp32']['trigger_frames'] == 3
    assert said['operating_points']['fp32']['held_out'] == 200
    assert said['training'] == bundle.manifest.raw['training']


TOLD: dict[str, Any] = {
    'backbone': {'name': 'b', 'weights': 'w'},
    'licences': {'code': 'MIT'},
    'map': {'grid': [3, 4], 'density': 'knn', 'taps': []},
    'training': {
        'taps': {'stage': {'nll_std': 2.0, 'step': 0, 'facts': {'components': 3}}},
        'choice': {
            'density': 'knn', 'taps': ['stage'], 'gain': 0.2, 'standard_error': 0.1,
            'auroc_from_tap_on': {'knn': {'other': 0.8}},
        },
        'wild': {'over_boundary': {'woods': {'calibration': [1, 2], 'wild': [3, 4]}}},
        'map': {'facts': {'coreset': 5}},
        'precisions': [{'precision': 'fp32', 'warning': 'not established'}],
        'frames': {'used': 7, 'skipped': 1},
        'sequences': ['a', 'and 2 more'],
    },
}  # fmt: skip


def _places(node: Any, *above: Any) -> Iterator[tuple[Any, ...]]:
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield (*above, key)
        if isinstance(value, (dict, list)):
            yield from _places(value, *above, key)


@pytest.mark.parametrize('other', [None, [], ['a'], {}, 'text', 3, math.nan])
def test_inspect_tells_a_bundle_whatever_its_card_holds(bundle: Bundle, other: Any) -> None:
    tap = replace(bundle.manifest.taps[0], name='stage')
    for *above, last in _places(TOLD):
        told = copy.deepcopy(TOLD)
        node: Any = told
        for key in above:
            node = node[key]
        node[last] = other
        raw = {**bundle.manifest.raw, **told}
        changed = Bundle(bundle.path, replace(bundle.manifest, raw=raw, taps=(tap,)))
        assert bundle.manifest.name in inspect.card(changed)[0], (*above, last)
    whole = Bundle(bundle.path, replace(bundle.manifest, raw={**bundle.manifest.raw, **TOLD}))
    told_whole = '\n'.join(inspect.card(whole))
    assert 'knn from stage on, better than the default by 0.200 +- 0.100' in told_whole
    assert '1 of 2 calibration frames, 3 of 4 held-out wild frames' in told_whole
    assert '7 frames of 3 sequences' in told_whole


def test_inspect_writes_json_that_any_reader_takes(
    tmp_path: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = {**bundle.manifest.raw, 'training': {'auroc': math.nan, 'made': dt.date(2026, 1, 2)}}
    files = {name: bundle.read(name) for name in bundle.manifest.digests}
    other = write_bundle(tmp_path / 'other', manifest=raw, files=files)
    assert main(['inspect', '--json', str(other.path)]) == 0
    said = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert said['training'] == {'auroc': None, 'made': '2026-01-02'}


def test_verify_proves_the_engine(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['verify', str(bundle.path)]) == 0
    assert 'reproduces' in capsys.readouterr().out


def test_verify_writes_the_errors_of_raw_score_and_of_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = make_tiny_bundle(tmp_path / 'tiny', precisions=('fp32', 'cpu-int8'))
    wrong = {  # goldens of fp32, as if the engine rounded
        **{name: both.read(name) for name in both.manifest.digests},
        'goldens.cpu-int8.npz': both.read('goldens.fp32.npz'),
    }
    moved = write_bundle(tmp_path / 'moved', manifest=both.manifest.raw, files=wrong)
    file = tmp_path / 'parity.json'
    code = main(['verify', str(moved.path), '--json', str(file)])
    exact, rounded = json.loads(file.read_text())['parity']
    assert (exact['ok'], exact['goldens']) == (True, 3)
    assert exact['raw_score_error'] <= exact['tolerance']
    assert exact['score_error'] == pytest.approx(0.0, abs=0.006)  # a step is 1 / 200
    assert rounded['engine']['precision'] == 'cpu-int8'
    assert rounded['ok'] == (code == 0)
    assert rounded['raw_score_error'] > exact['raw_score_error']
    assert exact['map_error'] is exact['map_tolerance'] is None  # its goldens have no maps


def test_verify_writes_null_and_why_for_an_engine_that_gives_nan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = make_tiny_bundle(tmp_path / 'tiny')
    graph = onnx.load_from_string(whole.scorer())
    for stored in graph.graph.initializer:
        if stored.name == 'mean_0':
            value = np.full(tuple(stored.dims), np.nan, np.float32)
            stored.CopyFrom(numpy_helper.from_array(value, stored.name))
    files = {name: whole.read(name) for name in whole.manifest.digests}
    files['scorer.onnx'] = graph.SerializeToString()
    broken = write_bundle(tmp_path / 'nan', manifest=whole.manifest.raw, files=files)
    file = tmp_path / 'parity.json'
    assert main(['verify', str(broken.path), '--json', str(file)]) == 1
    assert 'fp32: raw_score is not finite' in capsys.readouterr().out
    (row,) = json.loads(file.read_text())['parity']
    assert (row['ok'], row['raw_score_error'], row['score_error']) == (False, None, None)
    assert 'raw_score is not finite' in row['failure']
    goldens = whole.goldens()
    files['scorer.onnx'] = whole.scorer()
    files['goldens.fp32.npz'] = Goldens(goldens.image, goldens.raw_score * np.nan).to_bytes()
    broken = write_bundle(tmp_path / 'no_goldens', manifest=whole.manifest.raw, files=files)
    assert main(['verify', str(broken.path), '--json', str(file)]) == 1
    assert 'does NOT reproduce' in capsys.readouterr().out
    (row,) = json.loads(file.read_text())['parity']
    assert (row['ok'], row['raw_score_error'], row['failure']) == (False, None, None)


def test_verify_writes_the_error_of_the_map(tmp_path: Path) -> None:
    made = make_tiny_bundle(tmp_path / 'tiny', maps=True)
    engine = open_engine(made)
    plain = made.goldens()
    maps = engine.infer(plain.image).patch_score
    assert maps is not None
    goldens = Goldens(plain.image, plain.raw_score, maps + np.float32(0.5))
    files = {name: made.read(name) for name in made.manifest.digests}
    files['goldens.fp32.npz'] = goldens.to_bytes()
    tolerance = {**made.manifest.raw['verify'], 'map_absolute': 0.1}
    moved = write_bundle(
        tmp_path / 'moved', manifest={**made.manifest.raw, 'verify': tolerance}, files=files
    )
    file = tmp_path / 'parity.json'
    assert main(['verify', str(moved.path), '--json', str(file)]) == 1
    (row,) = json.loads(file.read_text())['parity']
    assert row['map_error'] == pytest.approx(0.5, abs=1e-3)
    assert 0.1 <= row['map_tolerance'] < 0.2
    assert row['raw_score_error'] <= row['tolerance']


@pytest.mark.parametrize(
    'command',
    [
        'verify tiny --json',
        'bench tiny --json',
        'evaluate tiny bag --json',
        'calibrate tiny bag --false-alerts-per-hour 1 --out made --json',
        'benchmark --study tolerance-uniformity --data d --ood o --backbones b --out',
    ],
)
def test_a_result_that_cannot_be_written_is_refused_before_any_work(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    places = {'tiny': str(bundle.path), 'made': str(tmp_path / 'made')}
    words = [places.get(word, word) for word in command.split()]
    assert main([*words, '/proc/nope/x.json']) == 1
    told = capsys.readouterr()
    assert re.fullmatch(
        r'ood_monitor: error: cannot write file \(.* in /proc\): /proc/nope/x.json\n', told.err
    )
    assert not told.out


def test_doctor_opens_a_bundle(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['doctor', str(bundle.path)]) == 0
    out = capsys.readouterr().out
    assert 'engine onnxruntime' in out
    assert 'ms per frame' in out
    for group in doctor.PARTS.values():
        for part in group:
            (line,) = [line for line in out.splitlines() if line.split()[:1] == [part.module]]
            assert line.endswith(part.purpose)


def test_doctor_imports_and_tells_why_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = {
        'noisy_one': 'print("ok\\nok")',
        'broken_one': 'raise ImportError("libGL.so.1: cannot open\\nshared object file")',
        'half_one': 'import surely_not_installed',
        'fatal_one': 'import os; os._exit(3)',
        'fine_one': '',
    }
    for name, code in modules.items():
        (tmp_path / f'{name}.py').write_text(code)
    (tmp_path / 'space_one').mkdir()
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    absent = ['absent_one', 'absent_one.part', 'space_one.part']
    assert list(doctor.imports([*modules, *absent])) == [
        'ok',
        'fails: ImportError: libGL.so.1: cannot open shared object file',
        "fails: ModuleNotFoundError: No module named 'surely_not_installed'",
        'fails: import ended the interpreter',
        'ok',
        *3 * ['missing'],
    ]


def test_doctor_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'endless_one.py').write_text('import threading; threading.Event().wait()')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setattr(doctor, '_LIMIT_S', 1.0)
    assert list(doctor.imports(['endless_one', 'json'])) == [
        'fails: import took over 1 s',
        'ok',
    ]


def test_doctor_gives_every_module_its_own_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f'slow_{k}' for k in range(4)]
    for name in names:
        (tmp_path / f'{name}.py').write_text('import threading; threading.Event().wait(0.8)')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setattr(doctor, '_LIMIT_S', 2.5)
    assert list(doctor.imports(names)) == 4 * ['ok']


def test_a_refusal_is_one_line_and_exit_code_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['inspect', str(tmp_path / 'nowhere')]) == 1
    captured = capsys.readouterr()
    assert captured.out == ''
    assert captured.err.startswith('ood_monitor: error: bundle not found')
    assert captured.err.count('\n') == 1


def test_a_name_that_is_no_shipped_bundle_is_answered_with_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(['inspect', 'nosuch']) == 1
    said = capsys.readouterr().err
    assert 'the name of a shipped bundle (' in said
    assert 'lunar_orbit' in said
    assert said.endswith('got nothing there: nosuch\n')


@pytest.mark.parametrize(
    ('text', 'why'),
    [
        ('~no_such_user/b', 'Could not determine home directory.'),
        ('x' * 300, 'File name too long'),
    ],
)
def test_what_no_path_can_be_is_no_bundle(
    text: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['inspect', text]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f'ood_monitor: error: bundle not found: {why}: {text[:200]}'


def test_wrong_usage_is_exit_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(['no-such-verb'])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert 'invalid choice' in said
    assert said.count('\n') == 1


TRAIN = ['train', '--data', 'x', '--out', 'y']


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        ([*TRAIN, '--every', '0'], r"argument --every/--stride: .* at least 1, got '0'"),
        ([*TRAIN, '--steps', '-1'], "argument --steps: .* at least 0, got '-1'"),
        ([*TRAIN, '--alpha', '2'], "argument --alpha: expected a number between 0 and 1, got '2'"),
        ([*TRAIN, '--alpha', 'nan'], "argument --alpha: .* got 'nan'"),
        ([*TRAIN, '--threads', '0'], 'argument --threads: '),
        ([*TRAIN, '--seed', '1.5'], "argument --seed: expected a whole number .* got '1.5'"),
        (
            [*TRAIN, '--input-size', '16'],
            'argument --input-size: expected a whole number of at least 32',
        ),
        (['replay', 'b', 'bag', '--every', '0'], 'argument --every: '),
        (['bench', 'b', '--repeats', '0'], 'argument --repeats: '),
        (['evaluate', 'b', '--images', 'x', '--ood', 'y', '--seed', '-1'], 'argument --seed: '),
        (['lunar', 'render', '--out', 'x', '--frames', '0'], 'argument --frames: '),
        (['lunar', 'render', '--out', 'x', '--rate', '0'], 'argument --rate: .* over 0'),
        (['lunar', 'render', '--out', 'x', '--anomaly', 'ufo'], "argument --anomaly: .*'ufo'"),
    ],
)
def test_a_value_out_of_range_is_refused_in_one_line_that_names_the_option(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(said, line)


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['mark', 'x', '--note', 'y'], '--note belongs to a mark: expected --id or --ood with it'),
        (['evaluate', 'b', 'bag', '--images', 'x'], 'BAG is of bags: an evaluation takes either'),
        (['evaluate', 'b', 'bag', '--address', 'auto'], 'give --executor ray, too'),
        (['replay', 'b', 'bag', '--with-images'], 'give that, too'),
        (
            ['calibrate', 'b', 'bag', '--false-alerts-per-hour=1', '--out=x', '--logic=oracle'],
            "unknown alert logic: expected one of ['consecutive'",
        ),
    ],
)
def test_options_that_contradict_each_other_are_wrong_usage_in_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    verb = f'ood_monitor {words[0]}'
    assert line.startswith(f'{verb}: error: ')
    assert said in line
    assert line.endswith(f'; see {verb} --help')


@pytest.mark.parametrize(
    ('words', 'what'), [(['play', 'bag'], 'playing a bag'), (['demo'], 'the demonstration')]
)
def test_without_ros_it_is_said_how_to_have_it(words: list[str], what: str) -> None:
    code = (
        'import sys; sys.modules["rclpy"] = None\n'
        'from ros_ood_monitor.cli.main import main\n'
        f'sys.exit(main({words}))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f'ood_monitor: error: {what} needs ROS 2 (')
    assert 'source its setup.bash, or run make demo in the clone' in line


def test_the_anomalies_on_offer_are_those_there_are() -> None:
    from ros_ood_monitor.cli import lunar
    from ros_ood_monitor.lunar.anomalies import ANOMALIES

    assert lunar._ANOMALIES == ANOMALIES


def test_lunar_render_counts_in_the_singular_and_refuses_before_its_bar(tmp_path: Path) -> None:
    pytest.importorskip('pyvista')
    out = tmp_path / 'frames'
    # a process of its own: EGL's compiler and torch's do not bear each other
    first, again = (
        subprocess.run(
            [
                sys.executable,
                '-m',
                'ros_ood_monitor',
                'lunar',
                'render',
                '--out',
                out,
                '--frames',
                '1',
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).resolve().parents[2],
        )
        for _ in range(2)
    )
    assert (first.returncode, first.stdout) == (0, f'1 sequence of 1 frame: {out}\n')
    assert again.returncode == 1
    (line,) = again.stderr.splitlines()
    assert line.startswith('ood_monitor: error: output exists already')
