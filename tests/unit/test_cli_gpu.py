"""Verbs that open built engines, on emulated GPUs: which they take, and what is said of others."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('onnx', reason='onnx is not installed')

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.cli import doctor
from ros_ood_monitor.cli.main import main
from ros_ood_monitor.engines.build import build_engine
from ros_ood_monitor.evaluation.speed import fresh
from tests.emulated_gpu import emulate
from tests.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp('bundle') / 'tiny'
    return make_tiny_bundle(folder, precisions=('fp32', 'fp16', 'cpu-int8'))


@pytest.fixture
def build(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return what builds engines for the second of two emulated GPUs."""
    emulate(monkeypatch, 'tensorrt', devices=2)
    cache = tmp_path / 'cache'

    def build_(*precisions: str) -> Path:
        for precision in precisions:
            build_engine(bundle, precision=precision, device=1, cache=cache)
        return cache

    return build_


def parities(file: Path) -> dict[str, Any]:
    rows = json.loads(file.read_text(encoding='utf-8'))['parity']
    return {row['engine']['precision']: row for row in rows}


def test_verify_takes_what_a_library_runs_and_was_built_in(
    bundle: Bundle,
    build: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / 'parity.json'
    command = ['verify', str(bundle.path), '--engine', 'tensorrt', '--device', '1']
    command += ['--json', str(file), '--cache', str(build('fp16'))]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'tensorrt, fp32: left out: no engine is built in it'
    assert lines[1] == 'tensorrt, cpu-int8: left out: does not run it'
    assert lines[2].startswith('tensorrt ')
    assert 'fp16: engine reproduces 3 goldens' in lines[2]
    assert parities(file)['fp16']['ok']
    assert main([*command, '--precision', 'cpu-int8']) == 1
    assert "tensorrt does not run 'cpu-int8'" in capsys.readouterr().out


def test_verify_goes_on_where_one_precision_does_not_open_and_writes_both(
    bundle: Bundle,
    build: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cache, file = build('fp32', 'fp16'), tmp_path / 'parity.json'
    for facts in cache.glob('*/facts.json'):
        if json.loads(facts.read_text())['precision'] == 'fp32':
            (facts.parent / 'backbone.plan').write_bytes(b'')
    command = ['verify', str(bundle.path), '--engine', 'tensorrt', '--device', '1']
    assert main([*command, '--cache', str(cache), '--json', str(file)]) == 1
    found = parities(file)
    assert (found['fp32']['ok'], found['fp16']['ok']) == (False, True)
    assert 'engine file is damaged' in found['fp32']['failure']
    assert f'--precision fp32 --device 1 --cache {cache} --force' in capsys.readouterr().out


def test_verify_of_a_library_for_which_nothing_is_built_names_the_command(
    bundle: Bundle, build: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    cache = build()
    command = ['verify', str(bundle.path), '--engine', 'tensorrt', '--cache', str(cache)]
    assert main([*command, '--device', '1']) == 1
    assert capsys.readouterr().err.endswith(
        f'build it: ood_monitor build-engine {bundle.path} --library tensorrt --device 1 '
        f'--cache {cache}\n'
    )
    assert main(['verify', str(bundle.path), '--engine', 'tensortr']) == 1
    assert "engine is unknown: expected one of ['auto'" in capsys.readouterr().err


def test_doctor_tells_the_gpu_what_is_built_and_what_auto_takes(
    bundle: Bundle,
    build: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # seconds each, and shown by another test
    monkeypatch.setattr(doctor, 'imports', lambda modules: iter(['ok'] * len(modules)))
    command = ['doctor', str(bundle.path), '--device', '1', '--cache', str(build('fp16'))]
    assert main(command) == 0
    said = capsys.readouterr().out
    lines = {line.split()[0]: line for line in said.splitlines() if line[:1].islower()}
    assert 'tensorrt 10.' in lines['built']
    assert ', fp16, for ' in lines['built']
    assert lines['engine'].startswith('engine      tensorrt 10.')
    assert lines['engine'].endswith(', fp16: auto')
    (gpu,) = [line for line in said.splitlines() if line.startswith('GPU 1 ')]
    assert 'compute capability' in gpu
    assert 'driver for CUDA' in gpu
    assert main(['doctor', str(bundle.path), '--device', '7', '--cache', str(build())]) == 0
    said = capsys.readouterr().out
    assert 'there is no GPU 7: expected one of [0, 1]' in said
    assert '\nengine      onnxruntime ' in said
    assert ': auto; not tensorrt: there is no GPU 7' in said


def test_bench_measures_on_the_gpu_and_in_the_folder_that_are_named(
    bundle: Bundle,
    build: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[tuple[str, ...]] = []
    run = fresh._run

    def run_here(code: str, *arguments: str) -> dict[str, Any]:
        asked.append(arguments)
        if code is not fresh._MONITOR:
            return run(code, *arguments)
        # another process has no emulated GPU
        memory = dict.fromkeys(('ready_mib', 'peak_mib', 'end_mib', 'ready_s'), 1.0)
        return {**memory, 'gpu_mib': 250.0, 'frames': 1, 'heavy': [], 'process_ms': 1.0}

    monkeypatch.setattr(fresh, '_run', run_here)
    file, cache = tmp_path / 'bench.json', build('fp16')
    command = ['bench', str(bundle.path), '--engine', 'tensorrt', '--quick', '--json', str(file)]
    assert main([*command, '--device', '1', '--cache', str(cache)]) == 0
    facts = json.loads(file.read_text(encoding='utf-8'))
    assert (facts['engine']['engine'], facts['engine']['precision']) == ('tensorrt', 'fp16')
    assert (facts['gpu']['index'], facts['process']['gpu_mib']) == (1, 250.0)
    (wanted,) = [json.loads(of[1]) for of in asked if len(of) == 4 and of[3] == 'true']
    assert wanted == {
        'engine': 'tensorrt',
        'precision': 'fp16',
        'device': 1,
        'cache': str(cache),
    }
