"""Commands on an engine of TensorRT, which runs on an emulated GPU."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest

pytest.importorskip('cuda.bindings', reason='cuda-bindings is not installed')
pytest.importorskip('onnx', reason='onnx is not installed')

from ros_ood_monitor.cli.main import main
from tests.emulated_gpu import emulate, Machine
from tests.tiny_bundle import make_tiny_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_tiny_bundle(tmp_path / 'tiny', maps=True).path


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    monkeypatch.setenv('OOD_MONITOR_ENGINES', str(tmp_path / 'engines'))
    return emulate(monkeypatch, 'tensorrt')


def test_an_engine_is_built_proven_and_verified_once_more(
    machine: Machine, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['build-engine', str(bundle)]) == 0
    said = capsys.readouterr().out
    assert 'tensorrt 10.3.0, fp32, for Emulated 0, 8.7' in said
    assert 'tensorrt 10.3.0 on Emulated 0: engine reproduces' in said
    assert main(['build-engine', str(bundle)]) == 0
    assert 'already' in capsys.readouterr().out
    assert len(list((tmp_path / 'engines').glob('timing.tensorrt-10.3.0-*.cache'))) == 1
    facts = tmp_path / 'facts.json'
    assert main(['verify', str(bundle), '--engine', 'tensorrt', '--json', str(facts)]) == 0
    (found,) = json.loads(facts.read_text())['parity']
    assert found['ok']
    assert found['engine']['device'] == 'Emulated 0'
    gc.collect()
    machine.check()


def test_a_built_engine_that_does_not_run_is_told_and_closed(
    machine: Machine, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['build-engine', str(bundle)]) == 0
    machine.fail_at(1 + machine.calls.index('cudaGraphLaunch'))
    machine.calls.clear()
    assert main(['build-engine', str(bundle), '--force']) != 0
    assert 'CUDA failed while running the engine' in capsys.readouterr().err
    gc.collect()
    machine.check()
