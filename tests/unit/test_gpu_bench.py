"""The command for a machine with a GPU: what fails there is written down and stops nothing."""

from __future__ import annotations

import json
from pathlib import Path
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines.cuda import find_device
from ros_ood_monitor.errors import EngineError
from tests.bench import gpu_parts
from tests.emulated_gpu import emulate
from tests.tiny_bundle import make_tiny_bundle

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / 'models' / 'lunar_orbit'


def test_parts_that_fail_are_told_with_their_reason_and_the_rest_is_measured(
    tmp_path: Path,
) -> None:
    try:
        find_device()
    except EngineError:
        pass
    else:
        pytest.skip('there is a GPU')
    only = ['tensorrt_rtx', 'machine']
    command = [sys.executable, '-m', 'tests.bench.gpu', str(SHIPPED), '--json', str(tmp_path)]
    done = subprocess.run(
        [*command, '--only', *only], cwd=ROOT, capture_output=True, text=True, check=True
    )
    parts = json.loads((tmp_path / 'gpu.json').read_text(encoding='utf-8'))['parts']
    assert list(parts) == only
    assert parts['machine']['ok']
    assert 'EngineError' in parts['machine']['found']['device: failure']
    assert parts['machine']['found']['onnxruntime']
    assert not parts['tensorrt_rtx']['ok']
    assert 'EngineError' in parts['tensorrt_rtx']['failure']
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ['tensorrt_rtx', 'FAILED'],
        ['machine', 'ok'],
    ]
    assert [path.name for path in tmp_path.iterdir()] == ['gpu.json']


@pytest.mark.parametrize('library', ['tensorrt', 'tensorrt_rtx'])
def test_what_is_measured_of_an_engine_is_whole_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    def bench_elsewhere(*_: Any, **__: Any) -> dict[str, Any]:
        return {}  # in a process of its own, which sees no emulation

    machine = emulate(monkeypatch, library)
    monkeypatch.setattr(gpu_parts, 'benchmark', bench_elsewhere)
    monkeypatch.setattr(gpu_parts, '_HOW_OFTEN', {'rounds': 2, 'burst': 1, 'warm_up': 1})
    monkeypatch.setattr(gpu_parts, '_ROUNDS', 2)
    monkeypatch.setattr(gpu_parts, '_CALLS', 3)
    bundle = make_tiny_bundle(tmp_path / 'tiny', maps=True)
    found = gpu_parts.Found(tmp_path / 'found.json')
    gpu_parts.PARTS[library].measure(found, bundle.path, tmp_path)
    assert not [key for key in found if 'failure' in key]
    assert {'fp32', 'fp16'} < found.keys()
    facts = found['fp32']
    assert facts['engine']['device'] == 'Emulated 0'
    assert facts['engine']['cuda_graph'] == 'yes'
    assert facts['parity']['ok']
    assert list(facts['execution']) == ['1', '8']
    assert all(own['gpu_ms'] > 0.0 for own in facts['execution'].values())
    machine.check()


def test_the_yardstick_computes_the_features_of_the_backbone() -> None:
    torch = pytest.importorskip('torch')
    pytest.importorskip('onnx')
    from tests.bench.gpu_parts import features
    from tests.bench.torch_graph import TorchGraph

    bundle = Bundle.load(SHIPPED)
    images = bundle.goldens().image[:2]
    made = TorchGraph(bundle.backbone(), device='cpu')(torch.from_numpy(images))
    for got, wanted in zip(made, features(bundle, images), strict=True):
        np.testing.assert_allclose(got.numpy(), wanted, atol=1e-4 * np.abs(wanted).max())
